"""The plots of a search over its settings: parallel coordinates of all, and a slice for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ganaug_ray.evaluate.plots import COLOURS, GRID, INK, STYLE
from ganaug_ray.report import search_scales
from ganaug_ray.report.search_plots import COLOUR, name, scaled
from ganaug_ray.report.search_scales import Scale

Record = Mapping[str, Any]

_BY_VALUE = LinearSegmentedColormap.from_list("value", [COLOURS[1], COLOURS[2], COLOURS[0]])  # the worst to the best
_UNSET = -0.16  # where lines pass the axis of a setting that a trial does not have
_SPREAD = 0.05  # of a choice's place, over which its trials are spread so that their lines can be told apart


def scales(record: Record) -> dict[str, Scale]:
    """Return the scale of each setting in the space."""
    return {
        key: search_scales.of_setting(
            rule, [one["settings"][key] for one in record["trials"] if one["settings"].get(key) is not None]
        )
        for key, rule in record["space"].items()
    }


@mpl.rc_context(STYLE)
def parallel(record: Record) -> Figure:
    """Draw a line a trial through an axis a setting and, at the right, one of the objective.

    The best colour is blue and the worst orange. Stopped trials are pale, failed ones red and dashed; a line passes
    below the axis of a setting that its trial does not have.
    """
    axes_of = scales(record)
    values = _values(record)
    result = search_scales.of_values(list(values.values())) if values else None
    figure = Figure(figsize=(max(5.6, 1.25 * (len(axes_of) + 1)), 3.1), layout="constrained")
    axes = figure.subplots()
    best = record["best"]["trial"] if record["best"] else None
    for number, one in enumerate(record["trials"]):
        places = [_place(scale, one["settings"].get(key), number) for key, scale in axes_of.items()]
        at = result.place(values[one["trial"]]) if result and one["trial"] in values else None
        style: dict[str, Any] = {"color": COLOUR["failed"], "linestyle": (0, (3, 2)), "linewidth": 0.9, "alpha": 0.8}
        if at is not None:
            good = 1 - at if record["direction"] == "min" else at
            pale = one["status"] != "finished"
            width = 2.4 if one["trial"] == best else 1.0
            style = {"color": _BY_VALUE(good), "linewidth": width, "alpha": 0.3 if pale else 0.9}
        axes.plot(range(len(places) + 1), [*places, _UNSET if at is None else at], solid_capstyle="round", **style)
    columns = [*axes_of.items(), *([(name(record), result)] if result else [])]
    axes.vlines(range(len(axes_of) + 1), 0, 1, color=INK, linewidth=0.7)
    for x, (title, scale) in enumerate(columns):
        for y, label in scale.ticks() if scale else ():
            axes.text(x + 0.04, y, search_scales.short(label), va="center", fontsize=7)
        # Long names of neighbours would meet: every other one stands a line higher.
        axes.text(x, 1.06 + 0.09 * (x % 2), title, ha="center", fontweight="bold", fontsize=7.5)
    if any(key not in one["settings"] for one in record["trials"] for key in axes_of):
        axes.text(-0.06, _UNSET, "not set", va="center", ha="right", fontsize=7)
    axes.set_xlim(-0.45, len(axes_of) + 0.5)
    axes.set_ylim(_UNSET - 0.06, 1.24)
    axes.set_axis_off()
    return figure


@mpl.rc_context(STYLE)
def part(record: Record, key: str) -> Figure:
    """Draw the value of each trial over one setting: a slice.

    Finished trials are full, stopped ones hollow; failed ones are marked at the bottom and the best with a diamond.
    """
    scale, values = scales(record)[key], _values(record)
    figure = Figure(figsize=(3.1, 2.3), layout="constrained")
    axes = figure.subplots()
    best = record["best"]["trial"] if record["best"] else None
    for number, one in enumerate(record["trials"]):
        if key not in one["settings"] or scale.place(one["settings"][key]) is None:
            continue
        x, colour = _place(scale, one["settings"][key], number), COLOUR[one["status"]]
        if one["trial"] not in values:
            axes.plot(x, 0.03, "x", color=colour, markersize=5, transform=axes.get_xaxis_transform())
        else:
            hollow: dict[str, Any] = {} if one["status"] == "finished" else {"mfc": "none", "alpha": 0.7}
            chosen = one["trial"] == best
            y, size = values[one["trial"]], 7 if chosen else 4
            axes.plot(x, y, marker="D" if chosen else "o", markersize=size, color=colour, linestyle="none", **hollow)
    ticks = scale.ticks()
    wide = sum(len(search_scales.short(label)) for _, label in ticks) > 34
    labels = [search_scales.short(label) for _, label in ticks]
    axes.set_xticks([place for place, _ in ticks], labels, rotation=30 if wide else 0, ha="right" if wide else "center")
    axes.set_xlim(-0.06, 1.06)
    if values and search_scales.of_values(list(values.values())).log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    axes.set_title(key, loc="left")
    axes.grid(axis="y", color=GRID, linewidth=0.4, alpha=0.4)
    return figure


def _values(record: Record) -> dict[str, float]:
    """Trial -> its value as it is drawn, of those that have one and did not fail."""
    return {
        one["trial"]: scaled(record, one["value"])
        for one in record["trials"]
        if one["value"] is not None and one["status"] != "failed"
    }


def _place(scale: Scale, value: Any, number: int) -> float:
    place = None if value is None else scale.place(value)
    if place is None:
        return _UNSET
    if isinstance(scale, search_scales.Choices):
        # The golden ratio's multiples: neighbours in number lie apart, and equal searches give equal pages.
        place += _SPREAD * ((number * 0.618034) % 1 - 0.5) / max(1, len(scale.values) / 8)
    return place
