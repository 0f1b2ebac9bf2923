"""The plots of the arms: each against the baseline, the chosen one class by class, and how much a ratio matters."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.evaluate.plots import COLOURS, GRID_COLOUR, INK_COLOUR, PLOT_STYLE, VERDICT_COLOURS

MAX_BARS = 30  # classes that are drawn; beyond, those that changed most
ROLE_ORDER = ("chosen", "candidate", "control")


@mpl.rc_context(PLOT_STYLE)
def plot_forest(comparisons: Sequence[dict[str, Any]]) -> Figure:
    """Draw each comparison's mean difference and 95 % interval, and under it one ring a repeat; in points.

    The chosen arm stands first, its name bold; controls stand last, hollow. A ring is a split, or a seed where there is
    a single split.

    Args:
        comparisons: as in verdict.json; differences, mean and ci95 are shares in [-1, 1].
    """
    ordered = sorted(comparisons, key=lambda c: ROLE_ORDER.index(c["role"]))
    figure = Figure(figsize=(4.2, 0.55 + 0.62 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    for row, comparison in enumerate(reversed(ordered)):
        colour, control = VERDICT_COLOURS[comparison["verdict"]], comparison["role"] == "control"
        several = len(comparison["by_split"]) > 1
        points = [100 * value for value in comparison["by_split" if several else "differences"]]
        mean = 100 * comparison["mean"]
        if comparison["ci95"]:
            low, high = (100 * end for end in comparison["ci95"])
            axes.plot([low, high], [row, row], color=colour, linewidth=1.2 if control else 3, solid_capstyle="round")
        hollow: dict[str, Any] = {"mfc": "none", "mew": 1.2} if control else {}
        axes.plot(mean, row, marker="D", markersize=6, color=colour, linestyle="none", **hollow)
        rings = [row - 0.28] * len(points)
        axes.plot(points, rings, marker="o", markersize=4, mfc="none", mec=INK_COLOUR, mew=0.8, linestyle="none")
        beside = axes.get_yaxis_transform()  # across in shares of the width, up in rows
        chosen = comparison["role"] == "chosen"
        name = comparison["arm"] if chosen else f"{comparison['arm']} ({comparison['role']})"
        axes.text(0, row + 0.22, name, transform=beside, fontweight="bold" if chosen else "normal")
        axes.vlines(0, row - 0.5, row + 0.16, color=INK_COLOUR, linewidth=0.8, linestyle=(0, (3, 2)))
    axes.margins(x=0.08)
    axes.set_ylim(-0.5, len(ordered) - 0.4)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    _format_in_points(axes, "x")
    return figure


@mpl.rc_context(PLOT_STYLE)
def plot_classes(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw the change in F1 of each class as a bar with its 95 % interval, in points, coloured by the verdict.

    Args:
        rows: of one arm, as under ``classes`` in verdict.json. Of many, those that changed most are drawn.
    """
    by_size = sorted(rows, key=lambda row: abs(row["f1"]["mean"]), reverse=True)[:MAX_BARS]
    drawn = [row for row in rows if row in by_size]
    figure = Figure(figsize=(5.6, 0.7 + 0.26 * len(drawn)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(drawn)):
        colour = VERDICT_COLOURS[row["verdict"]]
        axes.barh(place, 100 * row["f1"]["mean"], height=0.62, color=colour, alpha=0.55, linewidth=0)
        axes.plot(100 * row["f1"]["mean"], place, "D", color=colour, markersize=4, zorder=3)  # no change has no bar
        if row["f1"]["ci95"]:
            axes.plot([100 * end for end in row["f1"]["ci95"]], [place, place], color=colour, linewidth=1.6)
    axes.axvline(0, color=INK_COLOUR, linewidth=0.8)
    names = [f"{row['class'][:24]}{' (rare)' if row['rare'] else ''}" for row in reversed(drawn)]
    axes.set_yticks(range(len(drawn)), names)
    axes.set_ylim(-0.6, len(drawn) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title("change in F1, points", loc="left")
    axes.grid(axis="x", color=GRID_COLOUR, linewidth=0.4, alpha=0.4)
    _format_in_points(axes, "x")
    return figure


@mpl.rc_context(PLOT_STYLE)
def plot_ratios(kinds: dict[str, list[dict[str, Any]]], metric: str) -> Figure:
    """Draw the change of a metric over the ratio of synthetic to real images: a line a kind of arm, with intervals.

    Args:
        kinds: kind -> its comparisons, as in verdict.json, each with its ``ratio``.
        metric: what the title calls it.
    """
    figure = Figure(figsize=(5.6, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(0, color=INK_COLOUR, linewidth=0.8, linestyle=(0, (3, 2)))
    ratio_values = sorted({comparison["ratio"] for comparisons in kinds.values() for comparison in comparisons})
    for number, (kind, comparisons) in enumerate(kinds.items()):
        colour, ordered = COLOURS[number % len(COLOURS)], sorted(comparisons, key=lambda c: c["ratio"])
        # Side by side, so that intervals of kinds at one ratio do not hide each other.
        x = [comparison["ratio"] + 0.008 * number * (ratio_values[-1] - ratio_values[0]) for comparison in ordered]
        for at, comparison in zip(x, ordered, strict=True):
            if comparison["ci95"]:
                ends = [100 * end for end in comparison["ci95"]]
                axes.plot([at, at], ends, color=colour, linewidth=2.5, alpha=0.5, solid_capstyle="round")
        y = [100 * comparison["mean"] for comparison in ordered]
        axes.plot(x, y, color=colour, linewidth=1.2, marker="D", markersize=5, label=kind)
    axes.set_title(f"change in test {metric}, points", loc="left", pad=18)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0, borderpad=0.2)
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
    figure = Figure(figsize=(5.6, 2.8), layout="constrained")
    axes = figure.subplots()
    for number, (key, label) in enumerate(
        (("baseline", size_record["baseline"]), ("ours", "with the chosen arm's images"))
    ):
        colour = COLOURS[number]
        x = [n * (1 + 0.015 * number) for n in numbers]  # side by side, so that intervals do not hide each other
        for at, point in zip(x, points, strict=True):
            if point[key]["ci95"]:
                ends = [100 * end for end in point[key]["ci95"]]
                axes.plot([at, at], ends, color=colour, linewidth=2.5, alpha=0.5, solid_capstyle="round")
        means = [100 * point[key]["mean"] for point in points]
        axes.plot(x, means, color=colour, linewidth=1.2, marker="D", markersize=5, label=label)
    axes.set_xscale("log")
    axes.set_xticks(numbers, [f"{n:,}" for n in numbers])
    axes.minorticks_off()
    axes.set_xlabel("real training images a class")
    axes.set_title(f"test {get_metric(size_record['metric']).title}", loc="left", pad=18)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, borderpad=0.2)
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.4, alpha=0.4)
    return figure


def _format_in_points(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")
