"""The plots of one model: reliability, ROC and precision-recall curves, and its features in two dimensions."""

import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ganaug_ray.core.wording import shorten_text
from ganaug_ray.evaluate.metric_register import ACCURACY
from ganaug_ray.evaluate.plots import COLOURS, GRID_COLOUR, INK_COLOUR, PLOT_STYLE

SQUARE_SIZE_IN = (3.1, 3.1)
# Ten that can be told apart; with more classes they come again.
CLASS_COLOURS = (
    "#4a86d8",
    "#e07b26",
    "#2f9e8f",
    "#c75b8e",
    "#8d6cc9",
    "#8a8f3c",
    "#d9534f",
    "#5aa9c7",
    "#9c6b4a",
    "#7f8793",
)
MAX_NAMED_CLASSES = 20


@mpl.rc_context(PLOT_STYLE)
def plot_reliability(bins: Sequence[dict[str, Any]]) -> Figure:
    """Draw accuracy over confidence, one point a bin; perfect calibration is the diagonal.

    Args:
        bins: of ``metrics.bin_reliability``; one with rows at least. A point's size grows with the bin's share of rows.
    """
    figure, axes = _make_square_axes("reliability", "confidence", "accuracy")
    axes.plot([0, 1], [0, 1], color=GRID_COLOUR, linewidth=0.8, linestyle=(0, (4, 3)))
    filled_bins = [confidence_bin for confidence_bin in bins if confidence_bin["rows"]]

    def collect(key: str) -> np.ndarray:
        return np.array([confidence_bin[key] for confidence_bin in filled_bins])

    x = collect("confidence")
    y = collect("accuracy")
    rows = collect("rows")
    axes.plot(x, y, color=COLOURS[0], linewidth=1.2)
    axes.scatter(x, y, s=8 + 150 * rows / rows.sum(), color=COLOURS[0], alpha=0.75, linewidths=0)
    return figure


@mpl.rc_context(PLOT_STYLE)
def plot_roc(curves: dict[str, Any]) -> Figure:
    """Draw the ROC curve of two classes; the dashed diagonal is chance.

    Args:
        curves: of ``metrics.compute_curves``.
    """
    figure, axes = _make_square_axes("ROC curve", "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=GRID_COLOUR, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(*zip(*curves["roc"], strict=True), color=COLOURS[0], linewidth=1.6)
    return figure


@mpl.rc_context(PLOT_STYLE)
def plot_precision_recall(curves: dict[str, Any]) -> Figure:
    """Draw the precision-recall curve of two classes; the dashed line is chance.

    Args:
        curves: of ``metrics.compute_curves``.
    """
    figure, axes = _make_square_axes("precision-recall curve", "recall", "precision")
    axes.axhline(curves["positive_share"], color=GRID_COLOUR, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(*zip(*curves["precision_recall"], strict=True), color=COLOURS[0], linewidth=1.6)
    return figure


def _make_square_axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SQUARE_SIZE_IN, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set(xlabel=x, ylabel=y, xlim=(-0.03, 1.03), ylim=(-0.03, 1.05), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.grid(color=GRID_COLOUR, linewidth=0.4, alpha=0.4)
    return figure, axes


@mpl.rc_context(PLOT_STYLE)
def plot_models(rows: Sequence[dict[str, Any]]) -> Figure:
    """Draw compared models as test accuracy over seconds of training: mean, 95 % interval, and one ring a seed.

    Args:
        rows: ``models`` of board.json.
    """
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for row, colour in zip(rows, itertools.cycle(CLASS_COLOURS)):
        x = row["train_seconds"]
        accuracy = row[ACCURACY.key]
        if accuracy["ci95"]:
            ends = [100 * end for end in accuracy["ci95"]]
            axes.plot([x, x], ends, color=colour, linewidth=2.5, solid_capstyle="round")
        points = [100 * value for value in accuracy["seeds"]]
        axes.plot(
            [x] * len(points), points, marker="o", markersize=4, mfc="none", mec=INK_COLOUR, mew=0.8, linestyle="none"
        )
        mean = 100 * accuracy["mean"]
        axes.plot(x, mean, marker="D", markersize=6, color=colour, linestyle="none", label=row["model"])
    axes.set_title(f"test {ACCURACY.title}", loc="left", pad=18)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(rows), borderaxespad=0, borderpad=0.2)
    axes.set_xscale("log")
    axes.margins(0.12)
    axes.set_xlabel("seconds of training")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(color=GRID_COLOUR, linewidth=0.4, alpha=0.4)
    return figure


@mpl.rc_context(PLOT_STYLE)
def plot_embedding(points_N2: np.ndarray, labels: np.ndarray, kinds: np.ndarray, classes: Sequence[str]) -> Figure:
    """Draw images as points: dots for real ones, crosses for synthetic ones, a ring round each mistake.

    Args:
        points_N2: coordinates, float [N, 2].
        labels: class numbers, int64 [N], which give the colours.
        kinds: ``real``, ``synthetic`` or ``mistake``, str [N].
        classes: K names. Up to 20, each is written at the median of its real images.
    """
    figure = Figure(figsize=(7.0, 5.2), layout="constrained")
    axes = figure.subplots()
    colours = np.array(CLASS_COLOURS)[labels % len(CLASS_COLOURS)]
    fake = kinds == "synthetic"
    wrong = kinds == "mistake"
    x, y = points_N2.T
    dots: Any = {"s": 14, "alpha": 0.75, "rasterized": True}
    axes.scatter(x[fake], y[fake], c=colours[fake], marker="x", linewidths=0.8, **dots)
    axes.scatter(x[~fake], y[~fake], c=colours[~fake], linewidths=0, **dots)
    axes.scatter(x[wrong], y[wrong], s=60, facecolors="none", edgecolors=INK_COLOUR, linewidths=0.9)
    if len(classes) <= MAX_NAMED_CLASSES:
        for label in np.unique(labels[~fake]):
            middle_x, middle_y = np.median(points_N2[~fake & (labels == label)], 0)
            name = shorten_text(classes[label], 14)
            axes.text(middle_x, middle_y, name, fontweight="bold", fontsize=9, ha="center", va="center")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure


def plot_embedding_table(points: pa.Table, classes: Sequence[str]) -> Figure:
    """Draw the table of ``insights.embed_images`` with ``plot_embedding``.

    Args:
        points: table with the columns x, y, label and kind.
        classes: K names.
    """
    xy = np.stack([points["x"].to_numpy(), points["y"].to_numpy()], 1)
    return plot_embedding(xy, points["label"].to_numpy(), np.array(points["kind"].to_pylist()), classes)
