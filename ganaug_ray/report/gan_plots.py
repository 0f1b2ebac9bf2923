"""The plots of a GAN's training: how far its images are from real ones, and the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup

from ganaug_ray.evaluate import plots
from ganaug_ray.evaluate.plots import COLOURS, INK_COLOUR, PLOT_STYLE
from ganaug_ray.report import gan_figures

Rows = Sequence[dict[str, Any]]

SPLITS = {"val": "against validation images", "train": "against training images"}
TRAINING_PLOTS = (
    ("loss", {"loss_g": "generator", "loss_d": "discriminator"}),
    ("discriminator's score", {"real_score": "real images", "fake_score": "generated images"}),
    ("discriminator's overfitting", {"real_sign": "sign on training images", "val_gap": "gap to validation"}),
)


def draw_quality(rows: Rows) -> list[Markup]:
    """Draw over steps how close the generated images come to real ones: KID, and the figures that are shares.

    Args:
        rows: of the GAN's metrics.jsonl.
    """
    return [plot for plot in (_draw_kid(rows), _draw_shares(rows)) if plot is not None]


@mpl.rc_context(PLOT_STYLE)
def _draw_kid(rows: Rows) -> Markup | None:
    logged = _collect_keys(rows)
    keys = {split: key for split in SPLITS if (key := gan_figures.find_key(logged, "kid", split))}
    curves = {split: plots.extract_curve(rows, key) for split, key in keys.items()}
    if not curves:
        return None
    first = next(iter(curves))
    title = f"KID {SPLITS[first]}"
    figure, axes = plots.make_small_axes(title)
    key = keys[first]
    steps, values = np.array(curves[first]).T
    spreads = np.array([row.get(f"{key}_std") or 0.0 for row in rows if row.get(key) is not None])
    axes.fill_between(steps, values - spreads, values + spreads, color=COLOURS[0], alpha=0.2, linewidth=0)
    axes.plot(steps, values, color=COLOURS[0], linewidth=1.6, marker="o", markersize=3, label="generated")
    if len(curves) > 1:
        axes.plot(*zip(*curves["train"], strict=True), color=COLOURS[1], linewidth=0.9, label="on training images")
    axes.axhline(0, color=INK_COLOUR, linewidth=0.9, linestyle=(0, (3, 2)), label="other real images")
    plots.add_legend(axes)
    return plots.encode_svg(figure, f"{title}, over steps: ends at {values[-1]:.3f}; other real images: 0")


def _draw_shares(rows: Rows) -> Markup | None:
    logged = _collect_keys(rows)
    groups = []
    for metric, colour in zip(("coverage", "recall", "agreement", "cas"), COLOURS, strict=False):
        key = gan_figures.find_key(logged, metric, "val") or gan_figures.find_key(logged, metric, "train")
        if key:
            curve = [(step, 100 * share) for step, share in plots.extract_curve(rows, key)]
            groups.append(plots.CurveGroup(gan_figures.find_metric(metric).name, [curve], colour))
    if not groups:
        return None
    title = "shares, %"
    return plots.encode_svg(plots.plot_curves(groups, title, legend=True), plots.describe_ends(groups, title))


def _collect_keys(rows: Rows) -> dict[str, None]:
    """Every key that any row has, in the order in which they appear."""
    return dict.fromkeys(key for row in rows for key, value in row.items() if value is not None)


def draw_training(rows: Rows) -> list[Markup]:
    """Draw losses, scores and the discriminator's overfitting over steps.

    Args:
        rows: of the GAN's metrics.jsonl.
    """
    drawn = []
    for title, keys in TRAINING_PLOTS:
        groups = []
        for (key, name), colour in zip(keys.items(), COLOURS, strict=False):
            curve = plots.extract_curve(rows, key)
            if curve:
                groups.append(plots.CurveGroup(name, [curve], colour))
        if groups:
            figure = plots.plot_curves(groups, title, legend=True)
            drawn.append(plots.encode_svg(figure, plots.describe_ends(groups, title)))
    return drawn
