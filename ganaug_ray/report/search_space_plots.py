"""The plots of a search over its settings: parallel coordinates of all, and a scatter plot for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ganaug_ray.evaluate.plots import COLOURS, GRID_COLOUR, INK_COLOUR, PLOT_STYLE
from ganaug_ray.report import search_scales
from ganaug_ray.report.search_plots import STATUS_COLOURS, describe_objective, is_best, list_valued_trials, scale_value
from ganaug_ray.report.search_scales import Scale

Record = Mapping[str, Any]

_VALUE_COLOURS = LinearSegmentedColormap.from_list(
    "value", [COLOURS[1], COLOURS[2], COLOURS[0]]
)  # the worst to the best
_UNSET_PLACE = -0.16  # where lines pass the axis of a setting that a trial does not have
_CHOICE_SPREAD = 0.05  # of a choice's place, over which its trials are spread so that their lines can be told apart


def build_scales(record: Record) -> dict[str, Scale]:
    """Build the axis of each setting in the space, by key."""
    scales = {}
    for key, rule in record["space"].items():
        values = [trial["settings"].get(key) for trial in record["trials"]]
        scales[key] = search_scales.build_setting_scale(rule, [value for value in values if value is not None])
    return scales


@mpl.rc_context(PLOT_STYLE)
def plot_parallel(record: Record) -> Figure:
    """Draw each trial as a line through one axis a setting and, at the right, the axis of the objective.

    The best colour is blue and the worst orange. Stopped trials are pale, failed ones red and dashed; a line passes
    below the axis of a setting that its trial does not have.
    """
    scales = build_scales(record)
    values = _collect_values(record)
    value_scale = search_scales.build_value_scale(list(values.values())) if values else None
    figure = Figure(figsize=(max(5.6, 1.25 * (len(scales) + 1)), 3.1), layout="constrained")
    axes = figure.subplots()
    for number, trial in enumerate(record["trials"]):
        places = [_locate_trial(scale, trial["settings"].get(key), number) for key, scale in scales.items()]
        value_place = None
        if value_scale is not None and trial["trial"] in values:
            value_place = value_scale.locate_value(values[trial["trial"]])
        places.append(_UNSET_PLACE if value_place is None else value_place)
        style = _style_line(record, trial, value_place)
        axes.plot(range(len(places)), places, solid_capstyle="round", **style)
    columns: list[tuple[str, Scale]] = list(scales.items())
    if value_scale is not None:
        columns.append((describe_objective(record), value_scale))
    axes.vlines(range(len(scales) + 1), 0, 1, color=INK_COLOUR, linewidth=0.7)
    for x, (title, scale) in enumerate(columns):
        for y, label in scale.list_ticks():
            axes.text(x + 0.04, y, search_scales.shorten_label(label), va="center", fontsize=7)
        # Long names of neighbours would meet: every other one stands a line higher.
        axes.text(x, 1.06 + 0.09 * (x % 2), title, ha="center", fontweight="bold", fontsize=7.5)
    if any(scales.keys() - trial["settings"].keys() for trial in record["trials"]):
        axes.text(-0.06, _UNSET_PLACE, "not set", va="center", ha="right", fontsize=7)
    axes.set_xlim(-0.45, len(scales) + 0.5)
    axes.set_ylim(_UNSET_PLACE - 0.06, 1.24)
    axes.set_axis_off()
    return figure


def _style_line(record: Record, trial: Record, value_place: float | None) -> dict[str, Any]:
    """Colour, width and opacity of a trial's line, by where its value lies."""
    if value_place is None:
        return {"color": STATUS_COLOURS["failed"], "linestyle": (0, (3, 2)), "linewidth": 0.9, "alpha": 0.8}
    goodness = 1 - value_place if record["direction"] == "min" else value_place
    width = 2.4 if is_best(record, trial) else 1.0
    opacity = 0.9 if trial["status"] == "finished" else 0.3
    return {"color": _VALUE_COLOURS(goodness), "linewidth": width, "alpha": opacity}


@mpl.rc_context(PLOT_STYLE)
def plot_slice(record: Record, key: str) -> Figure:
    """Draw the value of each trial over one setting, as a scatter plot.

    Finished trials are full, stopped ones hollow; failed ones are marked at the bottom and the best with a diamond.
    """
    scale = build_scales(record)[key]
    values = _collect_values(record)
    figure = Figure(figsize=(3.1, 2.3), layout="constrained")
    axes = figure.subplots()
    for number, trial in enumerate(record["trials"]):
        if key not in trial["settings"] or scale.locate_value(trial["settings"][key]) is None:
            continue
        x = _locate_trial(scale, trial["settings"][key], number)
        colour = STATUS_COLOURS[trial["status"]]
        if trial["trial"] not in values:
            axes.plot(x, 0.03, "x", color=colour, markersize=5, transform=axes.get_xaxis_transform())
            continue
        style: dict[str, Any] = {} if trial["status"] == "finished" else {"mfc": "none", "alpha": 0.7}
        style |= {"marker": "D", "markersize": 7} if is_best(record, trial) else {"marker": "o", "markersize": 4}
        axes.plot(x, values[trial["trial"]], color=colour, linestyle="none", **style)
    places = [place for place, _ in scale.list_ticks()]
    labels = [search_scales.shorten_label(label) for _, label in scale.list_ticks()]
    if sum(map(len, labels)) > 34:
        axes.set_xticks(places, labels, rotation=30, ha="right")
    else:
        axes.set_xticks(places, labels)
    axes.set_xlim(-0.06, 1.06)
    if values and search_scales.build_value_scale(list(values.values())).log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    axes.set_title(key, loc="left")
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.4, alpha=0.4)
    return figure


def _collect_values(record: Record) -> dict[str, float]:
    """Trial -> its value as it is drawn, of those that have one and did not fail."""
    values = {}
    for trial in list_valued_trials(record):
        if trial["status"] != "failed":
            values[trial["trial"]] = scale_value(record, trial["value"])
    return values


def _locate_trial(scale: Scale, value: Any, number: int) -> float:
    place = None if value is None else scale.locate_value(value)
    if place is None:
        return _UNSET_PLACE
    if isinstance(scale, search_scales.ChoiceScale):
        # The golden ratio's multiples: neighbours in number lie apart, and equal searches give equal pages.
        place += _CHOICE_SPREAD * ((number * 0.618034) % 1 - 0.5) / max(1, len(scale.values) / 8)
    return place
