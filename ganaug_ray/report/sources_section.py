"""The report's section on synthetic images that this job did not make itself: files, and a shared generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ganaug_ray.augment import synthetic_pools
from ganaug_ray.augment.arm_titles import name_arms
from ganaug_ray.augment.synthetic_sources import locate_source
from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Record, Run, read_marker
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest.known_copies import describe_reason
from ganaug_ray.data.loading import image_store
from ganaug_ray.evaluate import plots
from ganaug_ray.gan import image_grid

GRID_COLUMNS = 8  # images of a class
MAX_READ_IMAGES = 4096


def collect_sources(run: Run, job: Job) -> list[Record]:
    """Collect what is known of each such source in the first split, from what its stages left."""
    titles = name_arms(job)
    sources = []
    for name, config in job.augment.sources.items():
        arms = {arm: settings for arm, settings in job.all_arms.items() if settings.source == name}
        if not arms:
            continue
        first = next(iter(arms.values()))
        source = locate_source(run, first)
        record = source.find_record()
        if record is None:
            continue
        pool = read_marker(synthetic_pools.plan_pool(job, run, first).folder, "synthetic.json") or {}
        used = {used for arm in arms.values() for used in synthetic_pools.plan_pool(job, run, arm).used}
        content = record.to_json()
        judged = pool if source.is_imported else content
        sources.append(
            {
                "name": name,
                "address": config.address,
                "arms": list(arms),
                "titles": [titles[arm] for arm in arms],
                "is_imported": source.is_imported,
                "hash": record.hash,
                "pack": record.inputs.get("pack"),
                "counts": content.get("counts"),
                "rejected": content.get("rejected", {}),
                "undrawn": content.get("undrawn", []),
                "quality": judged.get("quality", {}),
                "memorization": judged.get("memorization"),
                "left_out": {describe_reason(reason): n for reason, n in pool.get("left_out", {}).items()},
                "kept": pool.get("counts", {}),
                "images": pool.get("images", 0),
                "screened": pool.get("screened", {}),
                "not_drawn": [name for name in pool.get("not_drawn", []) if name in used],
                "unjudged": [name for name in pool.get("unjudged", []) if name in used],
            }
        )
    return sources


def draw_sources(run: Run, job: Job, sources: Sequence[Record], classes: Sequence[str]) -> dict[str, Any]:
    """Draw for each source its screened images, a row a class, and those that are nearest to training images.

    Returns:
        Name of the source -> ``samples`` with ``rows`` (the classes), and ``closest_pairs``: data URIs or None.
    """
    pictures = {}
    for source in sources:
        arm = job.all_arms[source["arms"][0]]
        pool = synthetic_pools.plan_pool(job, run, arm)
        grid, rows = _draw_grid(pool.folder, classes) if source["images"] else (None, [])
        closest_folder = pool.folder if source["is_imported"] else pool.source.folder
        closest = None
        if closest_folder.has_file("closest_pairs.png"):
            closest = closest_folder.read_bytes("closest_pairs.png")
        pictures[source["name"]] = {
            "samples": plots.encode_uri(grid),
            "rows": rows,
            "closest_pairs": plots.encode_uri(closest),
        }
    return pictures


def _draw_grid(folder: Folder, classes: Sequence[str]) -> tuple[bytes, list[str]]:
    """Draw the first images of the first classes that have any; return the PNG and the names of its rows."""
    images = image_store.read_images(folder, MAX_READ_IMAGES)
    rows: list[np.ndarray] = []
    names = []
    for label, name in enumerate(classes):
        of_class = images.images[images.labels == label]
        if len(of_class) and len(rows) < image_grid.MAX_CLASS_ROWS:
            rows.append(np.resize(of_class[:GRID_COLUMNS], (GRID_COLUMNS, *of_class.shape[1:])))
            names.append(name)
    return image_grid.encode_png(image_grid.arrange_grid(rows)), names
