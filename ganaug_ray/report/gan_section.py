"""The report's section on the GAN: its figures, and real beside generated images, step after step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganaug_ray.augment import synthetic_pools
from ganaug_ray.augment.synthetic_sources import GanSource
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.metrics_log import read_metrics
from ganaug_ray.core.records import DatasetRecord, GanRecord, ModelRecord, StageRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.evaluate import plots
from ganaug_ray.gan import image_grid
from ganaug_ray.report import published
from ganaug_ray.report.picture_tiles import encode_tiles

MAX_SNAPSHOTS = 12
GRID_COLUMNS = 4  # real images of a class, and as many generated ones
_GAN_KEYS = ("steps", "images_seen", "size", "conditional", "quality", "chosen", "memorization")


def collect_gan(
    run: experiment_dir.Run, job: Job, facts: DatasetRecord, markers: Mapping[str, StageRecord]
) -> experiment_dir.Record | None:
    """Collect the figures of the first GAN that the arms use; None where none was trained."""
    gan = _find_gan(run, job, markers)
    if gan is None:
        return None
    record = GanRecord.read(gan.folder)
    content = record.to_json()
    gan_figures = {key: content[key] for key in _GAN_KEYS}
    rows = read_metrics(gan.folder)
    images = facts.count_train_images()
    live: Counter[str] = Counter()
    for marker in markers.values():
        if isinstance(marker, ModelRecord) and marker.tally:
            live.update(marker.tally)
    pool: experiment_dir.Record = {"images": 0, "counts": {}, "screened": {}, "not_drawn": []}
    pools = [pool for pool in synthetic_pools.list_pools(job, run) if pool.source.folder == gan.folder]
    name = _name_pool([pool.folder.name for pool in pools])
    if pool_marker := markers.get(name):
        pool |= pool_marker.to_json()
        used = next((shown for shown in pools if shown.folder.name == name), None)
        for key in ("not_drawn", "unjudged"):  # of an older run's pool, which has classes that no arm uses
            pool[key] = used.select_used(pool.get(key, [])) if used else pool.get(key, [])
    reasons = set().union(*pool["screened"].values())
    return {
        **gan_figures,
        "folder": gan.folder.name,
        "beside_held_out": record.beside_held_out and record.beside_held_out.model_dump(),
        "ended_early": record.ended_early,
        "published": job.published and published.compare_published(job.published, rows, job.gan, images),
        "synthetic_images": pool["images"],
        "kept": pool["counts"],
        "screened": pool["screened"],
        "reasons": sorted(reasons),
        "not_drawn": pool["not_drawn"],
        "unjudged": pool.get("unjudged", []),
        "live": dict(live),
    }


def _find_gan(run: experiment_dir.Run, job: Job, markers: Mapping[str, StageRecord]) -> GanSource | None:
    for gan in synthetic_pools.list_gans(job, run):
        if gan.folder.name in markers:
            return gan
    return None


def _name_pool(pools: Sequence[str]) -> str:
    """Name the pool of a GAN's images that is shown: that of the augment section, or the first arm's."""
    return pools[0] if pools and "synthetic" not in pools else "synthetic"


def collect_images(
    gan: Folder, record: experiment_dir.Record, classes: Sequence[str], image_size: int
) -> dict[str, Any]:
    """Return data URIs of the pictures in a GAN's folder, None or nothing for each that is missing.

    Args:
        gan: the folder, perhaps of an older version.
        record: ``size`` of the images, whether it is ``conditional``, and the ``chosen`` step.
        classes: all of them.
        image_size: side in pixels of the stored real images.

    Returns:
        real, snapshots: real images, and for some of the steps (step, generated images), the same latents in each; the
            first rows of both are those of the first classes.
        snapshot_rows: names of the rows; empty where these cannot be known.
        shown_step, shown_number: the chosen step, else the last one, and its place among the snapshots.
        real_rows: number of rows.
        interpolation, interpolation_rows: between two latents a row.
        closest_pairs: generated images and the training images they are nearest to.
    """
    size = record["size"]
    chosen = record["chosen"]["step"]
    grids = _read_sample_grids(gan / "samples", size, chosen)
    real = None
    rows = 0
    step = 0
    if grids:
        step = chosen if chosen in grids else max(grids)
        rows = len(grids[step][0])
        real = encode_tiles(grids[step][1], GRID_COLUMNS)
    interpolation, interpolation_rows = _clear_gaps(gan, "interpolation.png", size)
    closest_pairs, _ = _clear_gaps(gan, "closest_pairs.png", image_size)
    return {
        "real": real,
        "snapshots": [(step, encode_tiles(drawn, GRID_COLUMNS)) for step, (drawn, _) in grids.items()],
        "snapshot_rows": _name_rows(rows, classes) if record["conditional"] else [],
        "shown_step": step,
        "shown_number": list(grids).index(step) if grids else 0,
        "real_rows": rows,
        "interpolation": interpolation,
        "interpolation_rows": _name_rows(interpolation_rows, classes) if record["conditional"] else [],
        "closest_pairs": closest_pairs,
    }


def _read_sample_grids(samples: Folder, size: int, chosen: int) -> dict[int, list[np.ndarray]]:
    """Step -> generated and real images of some of the snapshots, the last and the chosen one among them.

    All have equally many rows. Few are opened: each takes a moment, and a long training leaves hundreds.
    """
    names = {int(name.removeprefix("step-").removesuffix(".png")): name for name in samples.list_files(".png")}
    if not names:
        return {}
    steps = sorted(names)
    numbers = np.linspace(0, len(steps) - 1, MAX_SNAPSHOTS).round().astype(int)
    shown = {steps[number] for number in numbers} | ({chosen} & names.keys())
    grids = {}
    for step in sorted(shown):
        cut = image_grid.cut_grids(samples.read_bytes(names[step]), size, count=2)
        if cut:
            grids[step] = cut
    return {step: cut for step, cut in grids.items() if cut[0].shape == grids[max(grids)][0].shape}


def _clear_gaps(gan: Folder, name: str, size: int) -> tuple[str | None, int]:
    """A picture of a grid without its white gaps, and the number of its rows; as it is where it is no such grid."""
    if not gan.has_file(name):
        return None, 0
    picture = gan.read_bytes(name)
    grids = image_grid.cut_grids(picture, size)
    if not grids:
        return plots.encode_uri(picture), 0
    return encode_tiles(grids[0], grids[0].shape[1]), len(grids[0])


def _name_rows(rows: int, classes: Sequence[str]) -> list[str]:
    """Names of a grid's rows, which are the first classes; but a class without an image at hand is skipped."""
    first = list(classes[: image_grid.MAX_CLASS_ROWS])
    return first if len(first) == rows else []
