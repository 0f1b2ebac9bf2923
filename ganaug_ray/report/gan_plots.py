"""The plots of a GAN's training: how far its images are from real ones, and the losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup

from ganaug_ray.core.records.gan import HeldOutComparison, HeldOutFigure
from ganaug_ray.evaluate import plots
from ganaug_ray.evaluate.plots import COLOURS, INK_COLOUR, PLOT_STYLE, VERDICT_COLOURS
from ganaug_ray.gan.generator_verdict import find_kid_limit
from ganaug_ray.report import gan_figures

DASHES = (0, (3, 2))  # of what held-out real images reach
GOOD_COLOUR = VERDICT_COLOURS["helped"]
Rows = Sequence[dict[str, Any]]

SPLITS = {"val": "against validation images", "train": "against training images"}
TRAINING_PLOTS = (
    ("loss", {"loss_g": "generator", "loss_d": "discriminator"}),
    ("discriminator's score", {"real_score": "real images", "fake_score": "generated images"}),
    ("discriminator's overfitting", {"real_sign": "sign on training images", "val_gap": "gap to validation"}),
)


def draw_quality(rows: Rows, beside: HeldOutComparison | None = None, chosen_step: int | None = None) -> list[Markup]:
    """Draw over steps how close the generated images come to real ones: KID, and the figures that are shares.

    Args:
        rows: of the GAN's metrics.jsonl.
        beside: the kept generator's images beside held-out real ones, whose figures are drawn as dashed lines; None:
            they were not compared, and KID has the line of its expected value, 0.
        chosen_step: of the kept generator; a diamond marks its figures in that comparison.
    """
    kid = _draw_kid(rows, beside)
    shares = _draw_shares(rows, beside, chosen_step)
    return [plot for plot in (kid, shares) if plot is not None]


@mpl.rc_context(PLOT_STYLE)
def _draw_kid(rows: Rows, beside: HeldOutComparison | None) -> Markup | None:
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
    name, held_out = "other real images", 0.0
    if beside is not None and beside.kid is not None:
        name, held_out = "held-out real images", beside.kid.held_out
    axes.axhline(held_out, color=INK_COLOUR, linewidth=0.9, linestyle=DASHES, label=name)
    alt = f"{title}, over steps: ends at {values[-1]:.3f}; {name}: {held_out:.3g}"
    limit = None if beside is None else find_kid_limit(beside)
    if limit is not None:
        axes.axhline(limit, color=GOOD_COLOUR, linewidth=0.9, linestyle=(0, (1, 1.5)), label="good: below this")
        alt += f"; good: below {limit:.3g}"
    plots.add_legend(axes)
    return plots.encode_svg(figure, alt)


@mpl.rc_context(PLOT_STYLE)
def _draw_shares(rows: Rows, beside: HeldOutComparison | None, chosen_step: int | None) -> Markup | None:
    logged = _collect_keys(rows)
    groups = []
    references = []
    for metric, colour in zip(("coverage", "recall", "agreement", "cas"), COLOURS, strict=False):
        key = gan_figures.find_key(logged, metric, "val") or gan_figures.find_key(logged, metric, "train")
        if key:
            curve = [(step, 100 * share) for step, share in plots.extract_curve(rows, key)]
            name = gan_figures.find_metric(metric).name
            groups.append(plots.CurveGroup(name, [curve], colour))
            if beside is not None and (reached := _find_reference(beside, metric)):
                references.append((name, colour, reached))
    if not groups:
        return None
    title = "shares, %"
    figure = plots.plot_curves(groups, title, legend=True)
    (axes,) = figure.axes
    alt = plots.describe_ends(groups, title)
    for name, colour, reached in references:
        axes.axhline(100 * reached.held_out, color=colour, linewidth=0.9, linestyle=DASHES)
        if chosen_step is not None:
            axes.plot(chosen_step, 100 * reached.generated, marker="D", markersize=4.5, color=colour, clip_on=False)
        alt += f"; {name} of held-out real images: {100 * reached.held_out:.1f}, of the kept generator's"
        alt += f" in the same comparison: {100 * reached.generated:.1f}"
    return plots.encode_svg(figure, alt)


def _find_reference(beside: HeldOutComparison, metric: str) -> HeldOutFigure | None:
    """Find a share of the kept generator's images beside that of held-out real ones; None: it was not compared."""
    if metric in ("coverage", "recall"):
        figure: HeldOutFigure | None = getattr(beside, metric)
        return figure
    judged = [recognition for recognition in beside.classes.values() if recognition.images]
    if metric != "agreement" or not judged:
        return None
    weights = [recognition.images for recognition in judged]
    generated = np.average([recognition.generated for recognition in judged], weights=weights)
    held_out = np.average([recognition.held_out for recognition in judged], weights=weights)
    return HeldOutFigure(generated=float(generated), held_out=float(held_out))


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
