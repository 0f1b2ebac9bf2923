"""The plots of a search over time, steps, ratio and trials; ``search_space_plots`` has those over settings.

All of them take a search's record, search.json. Objectives that are shares are drawn in percent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from ganaug_ray.evaluate.metric_register import COMPARED
from ganaug_ray.evaluate.plots import COLOURS, GRID_COLOUR, INK_COLOUR, PLOT_STYLE, VERDICT_COLOURS
from ganaug_ray.report.search_scales import build_value_scale
from ganaug_ray.verdict import paired_statistics

Record = Mapping[str, Any]

STATUS_COLOURS = {"finished": COLOURS[0], "stopped": COLOURS[1], "failed": VERDICT_COLOURS["hurt"]}  # by status
SHARE_NAMES = {metric.key: metric.name for metric in COMPARED if metric.is_share}
SHARE_NAMES["cas"] = "classification accuracy score"
PLAIN_NAMES = {metric.key: metric.title for metric in COMPARED if not metric.is_share}
RATIO_KEY = "augment.ratio"
DASHED_LINE = (0, (3, 2))


def scale_value(record: Record, value: float) -> float:
    """Return a value of the objective as it is drawn: times 100 if it is a share."""
    return 100 * value if record["objective"] in SHARE_NAMES else value


def describe_objective(record: Record) -> str:
    """Return the name of the objective with its unit, for an axis."""
    objective = record["objective"]
    if objective in SHARE_NAMES:
        return f"validation {SHARE_NAMES[objective]}, %"
    if objective in PLAIN_NAMES:
        return f"validation {PLAIN_NAMES[objective]}"
    return str(objective.upper())


def list_candidates(record: Record) -> list[Record]:
    """List the trials that may be the best: those that were not stopped, in the order in which they ended.

    Where the search ended with none of them, the best is a stopped one.
    """
    candidate_trials = []
    for trial in list_valued_trials(record):
        if trial["status"] == "finished" or is_best(record, trial):
            candidate_trials.append(trial)
    return sorted(candidate_trials, key=lambda trial: trial["ended"])


def list_valued_trials(record: Record) -> list[Record]:
    """Return the trials that have a value."""
    return [trial for trial in record["trials"] if trial["value"] is not None]


def is_best(record: Record, trial: Record) -> bool:
    """Whether a trial is the best of its search."""
    return record["best"] is not None and trial["trial"] == record["best"]["trial"]


def list_ratio_trials(record: Record) -> list[Record]:
    """List the trials of a search for the mix that have a ratio above zero and at least one score."""
    return [trial for trial in record["trials"] if trial["settings"].get(RATIO_KEY) and _list_scores(trial)]


@mpl.rc_context(PLOT_STYLE)
def plot_best_so_far(record: Record) -> Figure:
    """Draw each trial's value at its end, and the best so far as a line; failed trials are at the bottom."""
    unit, seconds = _choose_time_unit(max(trial["ended"] for trial in record["trials"]))
    figure, axes = _make_wide_axes(f"best so far: {describe_objective(record)}", f"{unit} since the search began")
    valued_trials = list_valued_trials(record)
    for status, colour in STATUS_COLOURS.items():
        x, y = _place_trials(record, [trial for trial in valued_trials if trial["status"] == status], seconds)
        if x:
            axes.plot(x, y, "o", color=colour, markersize=4, label=status, **_style_status(status))
    _mark_failed(axes, [trial["ended"] / seconds for trial in record["trials"] if trial["status"] == "failed"])
    x, y = _place_trials(record, list_candidates(record), seconds)
    if x:
        better = np.minimum if record["direction"] == "min" else np.maximum
        best_so_far = better.accumulate(y)
        until = max(record["seconds"] / seconds, x[-1])
        axes.step([*x, until], [*best_so_far, best_so_far[-1]], where="post", color=INK_COLOUR, linewidth=1.4)
    _set_value_scale(axes, [scale_value(record, trial["value"]) for trial in valued_trials])
    _add_legend(axes)
    return figure


def _place_trials(record: Record, trials: Sequence[Record], seconds: float) -> tuple[list[float], list[float]]:
    """When trials ended, in units of so many seconds, and their values."""
    ends = [trial["ended"] / seconds for trial in trials]
    return ends, [scale_value(record, trial["value"]) for trial in trials]


def _style_status(status: str) -> dict[str, Any]:
    """Finished trials are full, others hollow and paler."""
    return {} if status == "finished" else {"mfc": "none", "alpha": 0.7}


@mpl.rc_context(PLOT_STYLE)
def plot_objective(record: Record) -> Figure:
    """Draw the objective over optimizer steps: a line a trial, pale if it was stopped, thick if it is the best.

    The diamond is the step at which the best trial was best; dotted lines are the steps at which trials are looked at.
    """
    figure, axes = _make_wide_axes(describe_objective(record), "optimizer step")
    best = record["best"]
    for step in record["budgets"] or ():
        axes.axvline(step, color=GRID_COLOUR, linewidth=0.5, linestyle=(0, (1, 2)))
    values: list[float] = []
    for trial in record["trials"]:
        points = [(result["at"], scale_value(record, result["value"])) for result in trial["looks"]]
        if not points:
            continue
        x, y = zip(*points, strict=True)
        width = 0.9
        alpha = 0.8 if trial["status"] == "finished" else 0.35
        if is_best(record, trial):
            width = 2.0
            alpha = 1.0
        axes.plot(x, y, color=STATUS_COLOURS[trial["status"]], linewidth=width, alpha=alpha, marker="o", markersize=2.5)
        values += y
    if best is not None:
        axes.plot(best["at"], scale_value(record, best["value"]), marker="D", markersize=7, mfc="none", mec=INK_COLOUR)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _set_value_scale(axes, values)
    return figure


@mpl.rc_context(PLOT_STYLE)
def plot_ratio(record: Record) -> Figure:
    """Draw each trial's mean score over its ratio, with a 95 % t interval over seeds, beside the baseline's."""
    figure, axes = _make_wide_axes(f"mean {describe_objective(record)}", "synthetic images per real one")
    ratio_trials = list_ratio_trials(record)
    ratio_values = sorted({trial["settings"][RATIO_KEY] for trial in ratio_trials})
    apart = 0.004 * ((ratio_values[-1] - ratio_values[0]) or 1)
    trials_at_ratio: Counter[float] = Counter()
    for trial in ratio_trials:
        ratio = trial["settings"][RATIO_KEY]
        x = ratio + apart * trials_at_ratio[ratio]  # side by side, so that intervals do not hide each other
        trials_at_ratio[ratio] += 1
        colour = STATUS_COLOURS[trial["status"]]
        estimate = _estimate_score(record, trial)
        if estimate.ci95:
            axes.plot([x, x], estimate.ci95, color=colour, linewidth=2.2, alpha=0.4, solid_capstyle="round")
        marker: dict[str, Any] = {"marker": "o", "markersize": 4}
        if is_best(record, trial):
            marker = {"marker": "D", "markersize": 6}
        axes.plot(x, estimate.mean, linestyle="none", color=colour, **marker)
    _draw_baseline(axes, record)
    axes.margins(0.06)
    if record["objective"] in SHARE_NAMES:  # an interval may reach beyond what there is, the axis does not
        axes.set_ylim(top=min(axes.get_ylim()[1], scale_value(record, 1.005)))
    return figure


def _draw_baseline(axes: Axes, record: Record) -> None:
    """Draw the baseline's mean score as a line across, with its interval."""
    for trial in record["trials"]:
        if trial["trial"] == record["baseline"] and _list_scores(trial):
            estimate = _estimate_score(record, trial)
            axes.axhline(estimate.mean, color=INK_COLOUR, linewidth=0.9, linestyle=DASHED_LINE)
            if estimate.ci95:
                axes.axhspan(*estimate.ci95, color=GRID_COLOUR, alpha=0.16, linewidth=0)


@mpl.rc_context(PLOT_STYLE)
def plot_cost(record: Record, cost_key: str) -> Figure:
    """Draw the cost of each trial as a bar, in the order of the trials, coloured by status.

    Args:
        record: of the search.
        cost_key: ``seconds`` or ``steps``.
    """
    trials = record["trials"]
    unit = "optimizer steps"
    size = 1
    if cost_key == "seconds":
        unit, size = _choose_time_unit(max(trial[cost_key] for trial in trials))
    heights = np.array([trial[cost_key] / size for trial in trials])
    statuses = np.array([trial["status"] for trial in trials])
    figure, axes = _make_wide_axes(unit, "trial", size=(3.6, 2.2))
    for status, colour in STATUS_COLOURS.items():
        places = np.flatnonzero(statuses == status)
        if len(places):
            axes.bar(places, heights[places], width=0.8, color=colour, linewidth=0, label=status)
    named = range(0, len(trials), -(-len(trials) // 8))
    axes.set_xticks(named, [trials[place]["trial"].lstrip("0") or "0" for place in named])
    axes.set_xlim(-1, len(trials))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    return figure


def _list_scores(trial: Record) -> list[float]:
    return [result["score"] for result in trial["looks"] if result["score"] is not None]


def _estimate_score(record: Record, trial: Record) -> paired_statistics.Estimate:
    scores = np.array([scale_value(record, score) for score in _list_scores(trial)])
    return paired_statistics.estimate_mean_over_repeats(scores[:, None])


def _choose_time_unit(seconds: float) -> tuple[str, int]:
    """A unit of time in which so many seconds are a handy number, and its seconds."""
    if seconds >= 7200:
        return "hours", 3600
    if seconds >= 120:
        return "minutes", 60
    return "seconds", 1


def _make_wide_axes(title: str, x: str, size: tuple[float, float] = (3.9, 2.6)) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", color=GRID_COLOUR, linewidth=0.4, alpha=0.4)
    return figure, axes


def _mark_failed(axes: Axes, x: Sequence[float]) -> None:
    """Mark trials without a value at the bottom."""
    if x:
        at_the_bottom = axes.get_xaxis_transform()
        axes.plot(
            x,
            [0.03] * len(x),
            "x",
            color=STATUS_COLOURS["failed"],
            markersize=5,
            transform=at_the_bottom,
            label="failed",
        )


def _set_value_scale(axes: Axes, values: Sequence[float]) -> None:
    if values and build_value_scale(values).log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.minorticks_off()


def _add_legend(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0, borderpad=0.2)
    axes.set_title(axes.get_title("left"), loc="left", pad=18)
