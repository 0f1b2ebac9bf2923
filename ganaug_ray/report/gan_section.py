"""The pictures of the report's section on the GAN: real beside generated images, and these at one step after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.storage import Folder
from ganaug_ray.evaluate import plots
from ganaug_ray.gan import image_grid
from ganaug_ray.report.picture_tiles import encode_tiles

PAIR_IMAGES = 4  # real ones of a class, and as many generated ones
MAX_SNAPSHOTS = 12
SNAPSHOT_COLUMNS = 6
SNAPSHOT_SIDE_PX = 48


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
        pairs: for each of the first classes its name (empty where that cannot be known), ``real`` and ``drawn``
            images, at pairs_step: the chosen step, else the last one.
        snapshots: (step, picture) of some of the steps, the same latents in each; a row for each of snapshot_rows.
        interpolation, interpolation_rows: between two latents a row.
        closest_pairs: generated images and the training images they are nearest to.
    """
    size = record["size"]
    chosen = record["chosen"]["step"]
    grids = _read_sample_grids(gan / "samples", size, chosen)
    pairs: list[dict[str, str]] = []
    names: list[str] = []
    step = 0
    if grids:
        step = chosen if chosen in grids else max(grids)
        drawn, real = grids[step]
        names = _name_rows(len(drawn), classes) if record["conditional"] else [""] * len(drawn)
        for name, real_row, drawn_row in zip(names, real, drawn, strict=True):
            real_uri, drawn_uri = (encode_tiles([row], PAIR_IMAGES) for row in (real_row, drawn_row))
            pairs.append({"class": name, "real": real_uri, "drawn": drawn_uri})
    interpolation, rows = _clear_gaps(gan, "interpolation.png", size)
    closest_pairs, _ = _clear_gaps(gan, "closest_pairs.png", image_size)
    return {
        "pairs": pairs,
        "pairs_step": step,
        "snapshots": _draw_snapshots(grids),
        "snapshot_rows": names if any(names) else [],
        "interpolation": interpolation,
        "interpolation_rows": _name_rows(rows, classes) if record["conditional"] else [],
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


def _draw_snapshots(grids: dict[int, list[np.ndarray]]) -> list[tuple[int, str]]:
    if len(grids) < 2:
        return []
    return [(step, encode_tiles(drawn, SNAPSHOT_COLUMNS, SNAPSHOT_SIDE_PX)) for step, (drawn, _) in grids.items()]


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
    return first if len(first) == rows else [""] * rows
