"""Draws the dataset card's figures in the colours of a light or a dark page, as PNG."""

import io
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from PIL import Image

# Mid-tones that can be told apart on white and on near-black, also by colour-blind eyes.
SPLIT_COLOURS = {"train": "#4a86d8", "val": "#e07b26", "test": "#8d6cc9", "unused": "#9aa1ab"}
TILE_GAP_PX = 4  # pixels between tiles
FIGURE_DPI = 200


@dataclass(frozen=True)
class Theme:
    """The text colour and the background colour of the page that a figure is shown on."""

    ink: str
    page: str


LIGHT_THEME = Theme("#1f2227", "#ffffff")
DARK_THEME = Theme("#e5e7ea", "#1c1f23")

# Class names come in all scripts, and matplotlib's own font has no Chinese. What is installed of these helps out.
_FALLBACK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei",
            "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Arial Unicode MS")  # fmt: skip


def encode_figure(draw: Callable[[], Figure], theme: Theme = LIGHT_THEME) -> bytes:
    """Draw a figure in a page's colours and encode it as PNG; equal figures give equal bytes."""
    installed = set(font_manager.get_font_names())
    style: Any = {
        "font.family": ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)],
        "font.size": 8,
        "text.parse_math": False,  # a class may be called $x$
        "axes.titlesize": 8,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.frameon": False,
        "legend.handlelength": 1,
        "legend.handleheight": 1,
        "figure.facecolor": theme.page,
        "axes.facecolor": theme.page,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), theme.ink),
    }
    sink = io.BytesIO()
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box is drawn instead
        figure = draw()
        fit = "tight" if figure.get_layout_engine() is None else None  # where names stick out, make room for them
        figure.savefig(sink, format="png", dpi=FIGURE_DPI, bbox_inches=fit, metadata={"Software": None})
    return sink.getvalue()


def draw_class_bars(rows: Sequence[tuple[str, Mapping[str, int] | None]]) -> Figure:
    """Draw a bar for each class, in which its splits are stacked.

    Args:
        rows: (class, split -> images), from the top down; None in place of the images is a row of words.
    """
    figure = Figure(figsize=(6.4, 0.8 + 0.19 * len(rows)), layout="constrained")
    axes = figure.subplots()
    heights = np.arange(len(rows))[::-1]
    left = np.zeros(len(rows))
    for split, colour in SPLIT_COLOURS.items():
        widths = np.array([(split_counts or {}).get(split, 0) for _, split_counts in rows])
        if widths.any():
            axes.barh(heights, widths, 0.72, left, color=colour, label=split)
        left += widths
    labels = []
    for height, total, (name, split_counts) in zip(heights, left, rows, strict=True):
        if split_counts is None:
            labels.append(name)
            continue
        labels.append(shorten_name(name))
        axes.annotate(f"{int(total):,}", (total, height), (3, 0), textcoords="offset points", va="center")
    axes.set_yticks(heights, labels)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.margins(x=0.09)
    axes.set_xlabel("images")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2, columnspacing=1.2)
    return figure


def draw_sizes(widths: np.ndarray, heights: np.ndarray, stored_size: int) -> Figure:
    """Draw a heat map of the images' native widths and heights, with the size that is stored."""
    figure, axes = _create_small_figure("width and height, pixels", pad=17)
    ends = min(widths.min(), heights.min(), stored_size) / 1.15, max(widths.max(), heights.max(), stored_size) * 1.15
    edges = np.geomspace(*ends, 49)
    counts, _, _ = np.histogram2d(widths, heights, bins=(edges, edges))
    shares = np.sqrt(counts.T / counts.max())  # the root lifts rare sizes into sight
    axes.pcolormesh(edges, edges, np.where(shares > 0, shares, np.nan), cmap=_create_shades(), vmin=0, vmax=1)
    axes.plot(ends, ends, color=SPLIT_COLOURS["unused"], linewidth=0.6, linestyle=(0, (4, 3)), label="square")
    axes.plot(
        stored_size,
        stored_size,
        "s",
        color=SPLIT_COLOURS["val"],
        markersize=4,
        label=f"stored, {stored_size} × {stored_size}",
    )
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=7, borderaxespad=0.1, columnspacing=1)
    ticks = [2**power for power in range(17) if ends[0] <= 2**power <= ends[1]]
    ticks = ticks[:: 1 + len(ticks) // 7]
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal", xlabel="width", ylabel="height")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_minor_locator(NullLocator())
    return figure


def draw_aspect_ratios(widths: np.ndarray, heights: np.ndarray) -> Figure:
    """Draw a histogram of the images' aspect ratios; those beyond 4 to 1 are counted as 4 to 1."""
    figure, axes = _create_small_figure("width : height")
    axes.hist(
        np.clip(np.log2(widths / heights), -2, 2),
        np.linspace(-2.0625, 2.0625, 34).tolist(),
        color=SPLIT_COLOURS["train"],
    )
    ratios = {"1:4": -2.0, "1:2": -1.0, "2:3": np.log2(2 / 3), "1:1": 0.0, "3:2": np.log2(1.5), "2:1": 1.0, "4:1": 2.0}
    axes.set_xticks(list(ratios.values()), list(ratios))
    axes.set(xlim=(-2.1, 2.1), ylabel="images")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
    return figure


def _create_small_figure(title: str, pad: int = 6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.4, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, pad=pad)
    return figure, axes


def _create_shades() -> ListedColormap:
    opacity = np.linspace(0.3, 1, 64)
    return ListedColormap(np.column_stack([np.tile(to_rgb(SPLIT_COLOURS["train"]), (64, 1)), opacity]))


def draw_samples(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Figure:
    """Draw a row of tiles for each class, behind its name."""
    tiles = [class_tiles for _, class_tiles in rows]
    columns = max([len(class_tiles) for class_tiles in tiles] + [1])
    figure, axes, step = _draw_mosaic(tiles, columns, TILE_GAP_PX, inches=0.6)
    middles = [(row + 0.5) * step for row in range(len(rows))]
    axes.set_yticks(middles, [shorten_name(name) for name, _ in rows])
    return figure


def draw_class_means(tiles: Sequence[tuple[str, Image.Image]], columns: int = 6, longest: int = 16) -> Figure:
    """Draw a tile for each class, with its name below, cut to ``longest`` characters."""
    images = [tile for _, tile in tiles]
    rows = [images[start : start + columns] for start in range(0, len(images), columns)]
    below = max([image.height for image in images], default=1) // 4
    figure, axes, step = _draw_mosaic(rows, columns, below, inches=0.95)
    for number, (name, tile) in enumerate(tiles):
        row, column = divmod(number, columns)
        middle = column * (tile.width + TILE_GAP_PX) + tile.width / 2
        anchor = (middle, row * step + tile.height)
        axes.annotate(
            shorten_name(name, longest), anchor, (0, -3), textcoords="offset points", ha="center", va="top", fontsize=6
        )
    return figure


def _draw_mosaic(
    rows: Sequence[Sequence[Image.Image]], columns: int, below: int, inches: float
) -> tuple[Figure, Axes, int]:
    """Lay out square tiles of one size, transparent between them; also return how far apart the rows are."""
    side = max([tile.height for tile in itertools.chain.from_iterable(rows)], default=1)
    step = side + below
    canvas = Image.new("RGBA", (columns * (side + TILE_GAP_PX), max(1, len(rows)) * step))
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            canvas.paste(tile, (column * (side + TILE_GAP_PX), number * step))
    figure = Figure(figsize=(canvas.width * inches / side, canvas.height * inches / side))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(canvas, interpolation="none", extent=(0, canvas.width, canvas.height, 0))
    axes.set_xticks([])
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure, axes, step


def shorten_name(name: str, max_chars: int = 26) -> str:
    """Cut a name to ``max_chars`` characters, and put it on one line."""
    name = " ".join(name.split())
    return name if len(name) <= max_chars else name[: max_chars - 1] + "…"
