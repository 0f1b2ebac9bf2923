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
    """Draw losses, scores and every KID of a GAN's training log over steps."""
    svg_plots = []
    for title, keys in (
        ("loss", {"loss_g": "generator", "loss_d": "discriminator"}),
        ("discriminator's score", {"real_score": "real images", "fake_score": "generated images"}),
    ):
        groups = [
            plots.CurveGroup(name, [curve], colour)
            for (key, name), colour in zip(keys.items(), plots.COLOURS, strict=False)
            if (curve := plots.extract_curve(rows, key))
        ]
        if groups:
            ends = ", ".join(f"{group.name} ends at {group.compute_mean()[-1][1]:.3f}" for group in groups)
            svg_plots.append(
                plots.encode_svg(plots.plot_curves(groups, title, legend=True), f"{title} over steps: {ends}")
            )
    names = {key for row in rows for key in row if "kid_" in key and not key.endswith("_std")}
    for name in sorted(names):
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
    names, chosen_name = samples.list_files(".png"), f"step-{record['chosen']['step']:08d}.png"
    shown_name = chosen_name if chosen_name in names else names[-1] if names else None
    grid, interpolation_png = (
        samples.read_bytes(shown_name) if shown_name else None,
        _read_image(gan, "interpolation.png"),
    )
    film = _read_image(gan, "film.gif") if len(names) > 1 else None
    strip = None
    if len(names) > 1 and (film is None or len(film) > MAX_FILM_BYTES):
        chosen = np.linspace(0, len(names) - 1, min(len(names), STRIP_FRAMES)).round().astype(int)
        film, strip = None, image_grid.build_film_strip([samples.read_bytes(names[i]) for i in chosen], record["size"])
    return {
        "gan_samples": plots.encode_uri(grid),
        "gan_samples_step": int(shown_name.removeprefix("step-").removesuffix(".png")) if shown_name else 0,
        "gan_rows": _name_grid_rows(grid, record["size"], classes),
        "film": plots.encode_uri(film, "gif"),
        "film_strip": plots.encode_uri(strip),
        "film_strip_columns": min(len(names), STRIP_FRAMES),
        "interpolation": plots.encode_uri(interpolation_png),
        "interpolation_rows": _name_grid_rows(interpolation_png, record["size"], classes)
        if record["conditional"]
        else [],
        "closest_pairs": plots.encode_uri(_read_image(gan, "closest_pairs.png")),
    }


def _read_image(gan: Folder, name: str) -> bytes | None:
    return gan.read_bytes(name) if gan.has_file(name) else None


def _name_grid_rows(grid: bytes | None, size: int, classes: Sequence[str]) -> list[str]:
    """Names of a grid's rows, which are the first classes; but a class without an image at hand is passed over."""
    first = list(classes[: image_grid.MAX_CLASS_ROWS])
    return first if grid is not None and image_grid.count_grid_rows(grid, size) == len(first) else []
