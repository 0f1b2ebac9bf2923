"""The report's section on the GAN: plots of its training log, and the pictures in its folder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.storage import Folder
from ganaug_ray.evaluate import plots
from ganaug_ray.gan import image_grid

MAX_FILM_BYTES = 2_000_000  # bytes; of a larger one the page has a strip
STRIP_FRAMES = 10


def draw_curves(rows: Sequence[experiment_dir.Record]) -> list[Markup]:
    """Draw losses, scores, the discriminator's overfitting and every KID of a GAN's training log over steps."""
    svg_plots = []
    for title, keys in (
        ("loss", {"loss_g": "generator", "loss_d": "discriminator"}),
        ("discriminator's score", {"real_score": "real images", "fake_score": "generated images"}),
        ("discriminator's overfitting", {"real_sign": "sign on training images", "val_gap": "gap to validation"}),
    ):
        groups = []
        for (key, name), colour in zip(keys.items(), plots.COLOURS, strict=False):
            curve = plots.extract_curve(rows, key)
            if curve:
                groups.append(plots.CurveGroup(name, [curve], colour))
        if groups:
            figure = plots.plot_curves(groups, title, legend=True)
            svg_plots.append(plots.encode_svg(figure, plots.describe_ends(groups, title)))
    logged_names = set().union(*rows)
    for name in sorted(name for name in logged_names if "kid_" in name and not name.endswith("_std")):
        curve = plots.extract_curve(rows, name)
        spreads = [row.get(f"{name}_std") or 0.0 for row in rows if row.get(name) is not None]
        figure = plots.plot_curve_with_spread(curve, spreads, name)
        svg_plots.append(plots.encode_svg(figure, f"{name} over steps: ends at {curve[-1][1]:.4f}"))
    return svg_plots


def collect_images(gan: Folder, record: experiment_dir.Record, classes: Sequence[str]) -> dict[str, Any]:
    """Return data URIs of the pictures in a GAN's folder, None for each that is missing.

    Args:
        gan: the folder, perhaps of an older version.
        record: ``size`` of the images and the ``chosen`` step.
        classes: all of them.

    Returns:
        gan_samples: the grid at the chosen step, else the last one, and gan_samples_step.
        gan_rows: the classes of the grid's rows; empty where that cannot be known.
        film, film_strip: the grids of all steps as a GIF, or where that is too large the first column at some of
            them, which are film_strip_columns.
        interpolation, interpolation_rows: between two latents a row.
        closest_pairs: generated images and the training images they are nearest to.
    """
    samples = gan / "samples"
    names = samples.list_files(".png")
    grid = None
    step = 0
    if names:
        chosen_name = f"step-{record['chosen']['step']:08d}.png"
        shown_name = chosen_name if chosen_name in names else names[-1]
        grid = samples.read_bytes(shown_name)
        step = int(shown_name.removeprefix("step-").removesuffix(".png"))
    film, strip = _read_film(gan, samples, names, record["size"])
    interpolation_png = _read_image(gan, "interpolation.png")
    interpolation_rows = []
    if record["conditional"]:
        interpolation_rows = _name_grid_rows(interpolation_png, record["size"], classes)
    return {
        "gan_samples": plots.encode_uri(grid),
        "gan_samples_step": step,
        "gan_rows": _name_grid_rows(grid, record["size"], classes),
        "film": plots.encode_uri(film, "gif"),
        "film_strip": plots.encode_uri(strip),
        "film_strip_columns": min(len(names), STRIP_FRAMES),
        "interpolation": plots.encode_uri(interpolation_png),
        "interpolation_rows": interpolation_rows,
        "closest_pairs": plots.encode_uri(_read_image(gan, "closest_pairs.png")),
    }


def _read_film(gan: Folder, samples: Folder, names: Sequence[str], size: int) -> tuple[bytes | None, bytes | None]:
    """The film of the grids; where it is absent or too large, a strip of some of them instead."""
    if len(names) < 2:
        return None, None
    film = _read_image(gan, "film.gif")
    if film is not None and len(film) <= MAX_FILM_BYTES:
        return film, None
    chosen = np.linspace(0, len(names) - 1, min(len(names), STRIP_FRAMES)).round().astype(int)
    grids = [samples.read_bytes(names[number]) for number in chosen]
    return None, image_grid.build_film_strip(grids, size)


def _read_image(gan: Folder, name: str) -> bytes | None:
    return gan.read_bytes(name) if gan.has_file(name) else None


def _name_grid_rows(grid: bytes | None, size: int, classes: Sequence[str]) -> list[str]:
    """Names of a grid's rows, which are the first classes; but a class without an image at hand is passed over."""
    first = list(classes[: image_grid.MAX_CLASS_ROWS])
    if grid is None or image_grid.count_grid_rows(grid, size) != len(first):
        return []
    return first
