"""The plots of the arms: each against the baseline, the chosen one class by class, and how a ratio matters."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ganaug_ray.augment.arm_titles import REAL_TITLE
from ganaug_ray.core.wording import shorten_text
from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.evaluate.plots import COLOURS, GRID_COLOUR, INK_COLOUR, PLOT_STYLE, VERDICT_COLOURS

MAX_BARS = 30  # classes that are drawn; beyond, those that changed most
ROLE_ORDER = ("chosen", "candidate", "control")


@mpl.rc_context(PLOT_STYLE)
def plot_forest(comparisons: Sequence[dict[str, Any]], titles: Mapping[str, str]) -> Figure:
    """Draw each comparison's mean difference and 95 % interval, and under it one ring a repeat; shares in points.

    The chosen arm stands first, its name bold; controls stand last, hollow. A ring is a split, or a seed where there is
    a single split.

    Args:
        comparisons: as in verdict.json; differences, mean and ci95 are shares in [-1, 1].
        titles: arm -> what its classifiers are trained on, in words.
    """
    ordered = sorted(comparisons, key=lambda comparison: ROLE_ORDER.index(comparison["role"]))
    figure = Figure(figsize=(4.2, 0.55 + (0.62 if len(ordered) <= 3 else 0.42) * len(ordered)), layout="constrained")
    axes = figure.subplots()
    for row, comparison in enumerate(reversed(ordered)):
        _draw_comparison(axes, row, comparison, titles[comparison["arm"]])
    axes.margins(x=0.08)
    axes.set_ylim(-0.5, len(ordered) - 0.4)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    _format_in_points(axes, "x")
    return figure


def _draw_comparison(axes: Axes, row: int, comparison: dict[str, Any], title: str) -> None:
    """Draw a row of the forest: the name, the interval with its mean, and the rings below."""
    colour = VERDICT_COLOURS[comparison["verdict"]]
    scale = get_metric(comparison["metric"]).scale
    line_width = 3.0
    hollow: dict[str, Any] = {}
    if comparison["role"] == "control":
        line_width = 1.2
        hollow = {"mfc": "none", "mew": 1.2}
    if comparison["ci95"]:
        axes.plot(
            _scale(comparison["ci95"], scale), [row, row], color=colour, linewidth=line_width, solid_capstyle="round"
        )
    axes.plot(scale * comparison["mean"], row, marker="D", markersize=6, color=colour, linestyle="none", **hollow)
    repeats = comparison["by_split"] if len(comparison["by_split"]) > 1 else comparison["differences"]
    rings = [row - 0.28] * len(repeats)
    axes.plot(
        _scale(repeats, scale), rings, marker="o", markersize=4, mfc="none", mec=INK_COLOUR, mew=0.8, linestyle="none"
    )
    name = f"{title} ({comparison['role']})"
    font_weight = "normal"
    if comparison["role"] == "chosen":
        name = title
        font_weight = "bold"
    beside = axes.get_yaxis_transform()  # across in shares of the width, up in rows
    axes.text(0, row + 0.22, name, transform=beside, fontweight=font_weight)
    axes.vlines(0, row - 0.5, row + 0.16, color=INK_COLOUR, linewidth=0.8, linestyle=(0, (3, 2)))


def _scale(values: Sequence[float], scale: int) -> list[float]:
    return [scale * value for value in values]


@mpl.rc_context(PLOT_STYLE)
def plot_classes(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw the change in F1 of each class as a bar with its 95 % interval, in points, coloured by the verdict.

    Args:
        rows: of one arm, as under ``classes`` in verdict.json. Of many, those that changed most are drawn.
    """
    by_size = sorted(rows, key=lambda row: abs(row["f1"]["mean"]), reverse=True)[:MAX_BARS]
    drawn = [row for row in rows if row in by_size]
    figure = Figure(figsize=(4.8, 0.7 + 0.26 * len(drawn)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(drawn)):
        colour = VERDICT_COLOURS[row["verdict"]]
        axes.barh(place, 100 * row["f1"]["mean"], height=0.62, color=colour, alpha=0.55, linewidth=0)
        axes.plot(100 * row["f1"]["mean"], place, "D", color=colour, markersize=4, zorder=3)  # no change has no bar
        if row["f1"]["ci95"]:
            axes.plot(_scale(row["f1"]["ci95"], 100), [place, place], color=colour, linewidth=1.6)
    axes.axvline(0, color=INK_COLOUR, linewidth=0.8)
    axes.set_yticks(range(len(drawn)), [_label_class(row) for row in reversed(drawn)])
    axes.set_ylim(-0.6, len(drawn) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title("change in F1, points", loc="left")
    axes.grid(axis="x", color=GRID_COLOUR, linewidth=0.4, alpha=0.4)
    _format_in_points(axes, "x")
    return figure


def _label_class(row: dict[str, Any]) -> str:
    name = shorten_text(row["class"], 30)
    return f"{name} (rare)" if row["rare"] else name


@mpl.rc_context(PLOT_STYLE)
def plot_ratios(kinds: dict[str, list[dict[str, Any]]], metric: str) -> Figure:
    """Draw the change of a metric over the ratio of synthetic to real images: a line with intervals a kind of arm.

    Args:
        kinds: kind -> its comparisons, as in verdict.json, each with its ``ratio``.
        metric: key of the metric.
    """
    compared = get_metric(metric)
    scale = compared.scale
    figure = Figure(figsize=(4.2, 2.1), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=INK_COLOUR, linewidth=0.8, linestyle=(0, (3, 2)))
    all_comparisons = itertools.chain.from_iterable(kinds.values())
    ratio_values = sorted({comparison["ratio"] for comparison in all_comparisons})
    # Side by side, so that intervals of kinds at one ratio do not hide each other.
    step = 0.008 * (ratio_values[-1] - ratio_values[0])
    for number, (kind, comparisons) in enumerate(kinds.items()):
        ordered = sorted(comparisons, key=lambda comparison: comparison["ratio"])
        x = [comparison["ratio"] + number * step for comparison in ordered]
        _draw_means(axes, x, ordered, COLOURS[number % len(COLOURS)], kind, scale)
    unit = f", {compared.change_unit}" if compared.change_unit else ""
    axes.set_title(f"change in test {compared.name}{unit}", loc="left", pad=18)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, borderpad=0.2)
    axes.set_xlabel("synthetic images per real one")
    axes.set_xticks(ratio_values, [f"{ratio:g}" for ratio in ratio_values])
    axes.margins(0.08)
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.4, alpha=0.4)
    _format_in_points(axes, "y")
    return figure


@mpl.rc_context(PLOT_STYLE)
def plot_sizes(size_record: dict[str, Any]) -> Figure:
    """Draw a metric over the number of real training images a class, with synthetic images and without, in percent.

    Args:
        size_record: as in sizes.json.
    """
    points = size_record["points"]
    numbers = [point["per_class"] for point in points]
    figure = Figure(figsize=(4.2, 2.6), layout="constrained")
    axes = figure.subplots()
    _draw_means(axes, numbers, [point["baseline"] for point in points], COLOURS[0], REAL_TITLE)
    beside = [1.015 * n for n in numbers]  # so that intervals do not hide each other
    _draw_means(axes, beside, [point["ours"] for point in points], COLOURS[1], "with the chosen arm's images")
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{n:,}" for n in numbers])
    axes.minorticks_off()
    axes.set_xlabel("real training images a class")
    axes.set_title(f"test {get_metric(size_record['metric']).title}", loc="left", pad=18)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, borderpad=0.2)
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.4, alpha=0.4)
    return figure


def _draw_means(
    axes: Axes, x: Sequence[float], estimates: Sequence[dict[str, Any]], colour: str, label: str, scale: int = 100
) -> None:
    """Draw a line through means, shares in points or percent, each with its interval where it has one."""
    for position, estimate in zip(x, estimates, strict=True):
        if estimate["ci95"]:
            ends = _scale(estimate["ci95"], scale)
            axes.plot([position, position], ends, color=colour, linewidth=2.5, alpha=0.5, solid_capstyle="round")
    means = [scale * estimate["mean"] for estimate in estimates]
    axes.plot(x, means, color=colour, linewidth=1.2, marker="D", markersize=5, label=label)


def _format_in_points(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(_format_tick)


def _format_tick(value: float, position: float) -> str:
    if not value:
        return "0"
    return f"{value:+g}".replace("-", "−")
