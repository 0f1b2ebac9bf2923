"""The pictures of the report's section on the GAN: real beside generated images, step after step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.storage import Folder
from ganaug_ray.evaluate import plots
from ganaug_ray.gan import image_grid
from ganaug_ray.report.picture_tiles import encode_tiles

MAX_SNAPSHOTS = 12
GRID_COLUMNS = 4  # real images of a class, and as many generated ones


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
        "snapshots": [(at, encode_tiles(drawn, GRID_COLUMNS)) for at, (drawn, _) in grids.items()],
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
    """Names of a grid's rows, which are the first classes; but a class without an image at hand is passed over."""
    first = list(classes[: image_grid.MAX_CLASS_ROWS])
    return first if len(first) == rows else []
