"""Plots for the report: inline SVG that takes its text colour from the page, so that light and dark pages both work."""

import base64
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter
from PIL import Image

from ganaug_ray.core.wording import shorten_text

# Mid-tones with enough contrast on white and on near-black; blue and orange first, which colour-blind eyes tell apart.
COLOURS = ("#4a86d8", "#e07b26", "#8d6cc9", "#2f9e8f", "#c75b8e", "#8a8f3c")
VERDICT_COLOURS = {
    "helped": "#2f9e63",
    "no worthwhile gain": "#6b7785",
    "unclear": "#c08a1a",
    "hurt": "#d9534f",
    "not enough repeats": "#c08a1a",
}
INK_COLOUR = "#012345"  # stands for the page's text colour: replaced by currentColor
GRID_COLOUR = "#8a919c"
CELL_COLOUR = "#3a6fc4"  # white can be read on it

MAX_COUNTED_CLASSES = 20  # beyond, a confusion matrix has colours only: its numbers would be too small to read
MAX_PNG_BYTES = 500_000  # bytes; a picture above that is sent as JPEG
SMALL_SIZE_IN = (3.1, 2.3)  # inches of 72 units; three stand side by side on the page

PLOT_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "svg.hashsalt": "ganaug",  # equal figures give equal bytes
    "text.parse_math": False,  # a class may be called $x$
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": INK_COLOUR,
    "axes.edgecolor": INK_COLOUR,
    "text.color": INK_COLOUR,
    "xtick.color": INK_COLOUR,
    "ytick.color": INK_COLOUR,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "legend.fontsize": 8,
}

Curve = list[tuple[int, float]]  # (step, value), in order of steps


@dataclass(frozen=True)
class CurveGroup:
    """Curves that are drawn in one colour and line style, with their mean: one curve a seed.

    Attributes:
        name: in the legend.
        curves: points (step, value) of each, in order of steps.
        colour: hex, such as ``#4a86d8``.
        dashed: whether the mean is drawn as a dashed line.
    """

    name: str
    curves: list[Curve]
    colour: str
    dashed: bool = False

    def compute_mean(self) -> Curve:
        """Return the mean curve: at each step the mean over those curves that have a value there.

        >>> CurveGroup("two seeds", [[(0, 1.0), (5, 2.0)], [(0, 3.0)]], "#4a86d8").compute_mean()
        [(0, 2.0), (5, 2.0)]
        """
        values: dict[int, list[float]] = {}
        for step, value in itertools.chain.from_iterable(self.curves):
            values.setdefault(step, []).append(value)
        return [(step, float(np.mean(values[step]))) for step in sorted(values)]


def describe_ends(groups: Sequence[CurveGroup], title: str) -> str:
    """Say where each group's mean ends, for those who cannot see the plot.

    Args:
        groups: those of the plot; each has a curve with a point at least.
        title: what the values are.

    Returns:
        A clause, without a full stop.

    >>> describe_ends([CurveGroup("real", [[(0, 1.0), (5, 2.0)]], "#4a86d8")], "loss")
    'loss over steps: real ends at 2.000'
    """
    ends = [f"{group.name} ends at {group.compute_mean()[-1][1]:.3f}" for group in groups]
    return f"{title} over steps: {', '.join(ends)}"


def extract_curve(rows: Sequence[Mapping[str, Any]], key: str) -> Curve:
    """Return one value of a log as a curve; rows without it are left out.

    Args:
        rows: of metrics.jsonl; each has ``step``.
        key: of the value.

    >>> extract_curve([{"step": 0, "loss": 1.5}, {"step": 1}, {"step": 2, "loss": 0.5}], "loss")
    [(0, 1.5), (2, 0.5)]
    """
    return [(row["step"], row[key]) for row in rows if row.get(key) is not None]


@overload
def encode_uri(picture: bytes, kind: str = "png") -> str: ...
@overload
def encode_uri(picture: None, kind: str = "png") -> None: ...
def encode_uri(picture: bytes | None, kind: str = "png") -> str | None:
    """Encode a picture as a data URI for the ``src`` of an HTML image; None stays None.

    Args:
        picture: content of an image file. A PNG above 500,000 bytes (``MAX_PNG_BYTES``) is sent as JPEG.
        kind: format, as in ``image/<kind>``.

    >>> encode_uri(b"abc")
    'data:image/png;base64,YWJj'
    """
    if picture is None:
        return None
    if kind == "png" and len(picture) > MAX_PNG_BYTES:
        kind = "jpeg"
        sink = io.BytesIO()
        Image.open(io.BytesIO(picture)).convert("RGB").save(sink, "JPEG", quality=88)
        picture = sink.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def encode_svg(figure: Figure, alt: str) -> Markup:
    """Encode a figure as an SVG element for an HTML page.

    Args:
        figure: drawn with ``PLOT_STYLE``; ``INK_COLOUR`` becomes the page's text colour.
        alt: description for those who cannot see it.
    """
    sink = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context(PLOT_STYLE):
        figure.savefig(sink, format="svg", transparent=True, metadata=nothing)
    text = sink.getvalue()
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None, "matplotlib gives every SVG a view box"
    body = text[text.index(">", text.index("<svg")) + 1 :]
    # Ids that only number the parts would stand twice on a page of many plots, and a style would hold for all of it.
    body = re.sub(r"<!--.*?-->|<style.*?</style>|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="\w+_\d+">', "<g>", body).replace(INK_COLOUR, "currentColor")
    return Markup(f'<svg class="plot" role="img" aria-label="{escape(alt)}" viewBox="{box[1]}">') + Markup(body)


def encode_png(figure: Figure) -> bytes:
    """Encode a figure as a PNG file on white at 160 dpi; equal figures give equal bytes.

    Args:
        figure: drawn with ``PLOT_STYLE``.

    Returns:
        The content of the file.
    """
    sink = io.BytesIO()
    with mpl.rc_context({**PLOT_STYLE, "savefig.facecolor": "white"}):
        figure.savefig(sink, format="png", dpi=160, metadata={"Software": None})
    return sink.getvalue()


@mpl.rc_context(PLOT_STYLE)
def plot_curves(groups: Sequence[CurveGroup], title: str, legend: bool = False) -> Figure:
    """Draw values over steps: a thin line for each curve and a thick one for each group's mean.

    Args:
        groups: each in its colour and line style.
        title: what the values are.
        legend: whether to name the groups; False where the page does so for several plots at once.
    """
    figure, axes = make_small_axes(title)
    for group in groups:
        if len(group.curves) > 1:
            for curve in group.curves:
                _draw_line(axes, curve, color=group.colour, linewidth=0.6, alpha=0.55)
        style = (0, (3, 1.5)) if group.dashed else "-"
        _draw_line(axes, group.compute_mean(), color=group.colour, linewidth=1.6, label=group.name, linestyle=style)
    if legend:
        add_legend(axes)
    return figure


def add_legend(axes: Axes) -> None:
    """Name the lines between the title and the axes, where they cannot hide any."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, borderpad=0.2, columnspacing=1.2)
    rows = -(-len(axes.get_legend_handles_labels()[0]) // 2)
    axes.set_title(axes.get_title("left"), loc="left", pad=6 + 12 * rows)


def make_small_axes(title: str) -> tuple[Figure, Axes]:
    """Make a small figure with steps across, for curves of a training."""
    figure = Figure(figsize=SMALL_SIZE_IN, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.4, alpha=0.4)
    return figure, axes


def _draw_line(axes: Axes, curve: Curve, **style: Any) -> None:
    steps, values = zip(*curve, strict=True)
    marker = "o" if len(curve) == 1 else None  # a line does not show the one point of a short training
    axes.plot(steps, values, marker=marker, markersize=3, **style)


@mpl.rc_context(PLOT_STYLE)
def plot_confusion(counts: np.ndarray, classes: Sequence[str], in_percent: bool = False) -> Figure:
    """Draw a confusion matrix, true class down and predicted class across, shaded by the share of the true class.

    Args:
        counts: int64 [K, K]. Above 20 classes (``MAX_COUNTED_CLASSES``) the cells are shaded only.
        classes: K names.
        in_percent: whether to write the share of the true class into the cells rather than the count.
    """
    size = len(classes)
    counted = size <= MAX_COUNTED_CLASSES
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    # The shade is an opacity, so that an empty cell is the page itself. The root lifts a few mistakes into sight.
    cells = np.empty((size, size, 4))
    cells[..., :3] = to_rgb(CELL_COLOUR)
    cells[..., 3] = np.sqrt(shares)
    side = min(7.0, max(3.4, 0.36 * size + 1.2))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(cells, interpolation="none")
    font = min(8.0, 72 * 0.8 * side / size)
    names = [shorten_text(name, 14) for name in classes]
    axes.set_xticks(range(size), names, rotation=90, fontsize=font)
    axes.set_yticks(range(size), names, fontsize=font)
    if all(len(name) <= 2 for name in classes):
        axes.tick_params(axis="x", labelrotation=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    edges = np.arange(size + 1) - 0.5
    if counted:
        axes.hlines(edges, -0.5, size - 0.5, color=GRID_COLOUR, linewidth=0.3, alpha=0.6)
        axes.vlines(edges, -0.5, size - 0.5, color=GRID_COLOUR, linewidth=0.3, alpha=0.6)
        for true, predicted in np.argwhere(counts):
            share = shares[true, predicted]
            text = _format_percent(share) if in_percent else str(counts[true, predicted])
            ink = "white" if share > 0.75 else INK_COLOUR
            label = axes.text(predicted, true, text, ha="center", va="center", color=ink)
            label.set_fontsize(min(font, 7.5))
    return figure


def _format_percent(share: float) -> str:
    percent = 100 * share
    return f"{percent:.0f}" if percent >= 0.5 else "<1"
