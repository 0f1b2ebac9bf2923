"""The plot of the pairs: the ratio of each with its spread, and what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from ganaug_ray.evaluate import plots
from tests.benchmarks.rounds import Result, Spread

# A file of its own needs them; inside a page it does not.
NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
OURS_COLOUR, ASKED_COLOUR = plots.COLOURS[:2]


def draw_ratios(results: Sequence[Result]) -> str:
    """Return an SVG file: a line a pair from its least to its largest ratio, its median, and what is asked."""
    shown = [result for result in results if not result.failure]
    with mpl.rc_context(plots.PLOT_STYLE):
        figure = Figure(figsize=(6, 0.8 + 0.25 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        for row, result in enumerate(shown):
            ratio, pair = Spread.of(result.ratios), result.pair
            axes.plot([ratio.least, ratio.most], [row, row], color=OURS_COLOUR, linewidth=2)
            axes.plot(ratio.median, row, "o", color=OURS_COLOUR)
            asked = pair.most if pair.least is None else pair.least
            if asked is not None:
                axes.plot(asked, row, ">" if pair.least is not None else "<", color=ASKED_COLOUR)
        axes.set_xscale("log")
        axes.axvline(1, color=plots.GRID_COLOUR, linewidth=0.6)
        axes.set_yticks(range(len(shown)), [result.pair.name for result in shown])
        axes.invert_yaxis()
        axes.set_xlabel("ours over the peer's: median and spread; orange: at least (▸) or at most (◂) is asked")
        svg = plots.encode_svg(
            figure, "; ".join(f"{one.pair.name} {Spread.of(one.ratios).median:.2f}" for one in shown)
        )
    return str(svg).replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ', 1
    )
