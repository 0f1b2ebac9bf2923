"""A search's page, and its section in the report: what was tried, what came of it, and what it cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ganaug_ray.core.storage import Folder
from ganaug_ray.evaluate import plots
from ganaug_ray.report import search_plots, search_scales, search_space_plots, template

SEARCH_TITLES = {"gan": "Search: the GAN", "mix": "Search: the mix", "classifier": "Search: the classifier"}
SEARCH_MARKER = "search.json"
MAX_LISTED_TRIALS = 50  # trials in the table
LENGTH_SETTINGS = ("gan.steps", "gan.epochs")


def read_searches(root: Folder) -> dict[str, dict[str, Any]]:
    """Return the records of the finished searches of a run, by kind."""
    folders = {kind: root / f"search/{kind}" for kind in SEARCH_TITLES}
    return {kind: folder.read_json(SEARCH_MARKER) for kind, folder in folders.items() if folder.has_file(SEARCH_MARKER)}


def render_search_page(record: Mapping[str, Any]) -> str:
    """Return search.html: one page that needs nothing else.

    Args:
        record: search.json.
    """
    return template.render_template("search_page.html", search=build_section(record))


def build_section(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template lays out: the record, its trials in order, reasons of failures, and the pictures."""
    # A GAN's length is read off each trial's curve, which has a plot of its own: no trial has one length.
    varied = {
        key: rule for key, rule in record["space"].items() if key not in LENGTH_SETTINGS or record["kind"] != "gan"
    }
    record = {**record, "space": varied}
    trials = record["trials"]
    best = record["best"]["trial"] if record["best"] else None
    is_minimized = record["direction"] == "min"

    def rank(trial: Mapping[str, Any]) -> tuple[bool, bool, float]:
        value = trial["value"]
        return trial["trial"] != best, value is None, 0.0 if value is None else value if is_minimized else -value

    reasons: dict[str, list[str]] = defaultdict(list)
    for trial in trials:
        if trial["status"] == "failed":
            reasons[trial["reason"] or "no reason was given"].append(trial["trial"])
    return {
        **record,
        "title": SEARCH_TITLES[record["kind"]],
        "value_name": search_plots.describe_objective(record),
        "rows": [_format_row(record, trial) for trial in sorted(trials, key=rank)[:MAX_LISTED_TRIALS]],
        "counts": {s: n for s in search_plots.STATUS_COLOURS if (n := sum(trial["status"] == s for trial in trials))},
        "colours": search_plots.STATUS_COLOURS,
        "reasons": dict(reasons),
        "saved": _count_saved_steps(record),
        "pictures": _draw_search(record) if trials else {},
    }


def _count_saved_steps(record: Mapping[str, Any]) -> int:
    """Steps that the stopped trials did not take; what failed ones did not is no saving."""
    stopped = [trial["steps"] for trial in record["trials"] if trial["status"] == "stopped"]
    return round(record["full_steps"] / len(record["trials"]) * len(stopped) - sum(stopped)) if stopped else 0


def _format_row(record: Mapping[str, Any], trial: Mapping[str, Any]) -> dict[str, Any]:
    settings = [_format_settings(trial["settings"], key) for key in record["space"]]
    form = ".2f" if record["objective"] in search_plots.SHARE_NAMES else ".4g"
    value = "–" if trial["value"] is None else format(search_plots.scale_value(record, trial["value"]), form)
    return {**trial, "settings": settings, "value": value}


def _format_settings(settings: Mapping[str, Any], key: str) -> str:
    """A setting, the learning rate with those that followed it."""
    keys = (key, "gan.then") if key == "gan.lr" else (key,)
    return ", ".join(search_scales.format_setting(settings[name]) for name in keys if name in settings) or "–"


def _draw_search(record: Mapping[str, Any]) -> dict[str, Any]:
    trials, best = record["trials"], record["best"]
    n = f"{len(trials)} trial{'s' * (len(trials) != 1)}"
    name = search_plots.describe_objective(record)
    ends = (
        f"the best is {search_plots.scale_value(record, best['value']):.4g} in trial {best['trial']}"
        if best
        else "none"
    )
    drawn: dict[str, Any] = {
        "cost": [
            plots.encode_svg(
                search_plots.plot_cost(record, what),
                f"{what} of {n}: {sum(trial[what] for trial in trials):,.0f} in all",
            )
            for what in ("seconds", "steps")
        ],
    }
    if record["space"]:
        about = f"Settings of {n} and their {name}; {ends}"
        drawn["parallel"] = plots.encode_svg(search_space_plots.plot_parallel(record), about)
    if all(trial["value"] is None for trial in trials):
        return drawn
    drawn["best_so_far"] = plots.encode_svg(
        search_plots.plot_best_so_far(record), f"Best {name} so far over time; {ends}"
    )
    drawn["slices"] = [
        plots.encode_svg(search_space_plots.plot_slice(record, key), f"{name} over {key}, {n}")
        for key in record["space"]
    ]
    if record["kind"] == "gan" and any(trial["looks"] for trial in trials):
        drawn["looks"] = plots.encode_svg(
            search_plots.plot_objective(record), f"{name} over optimizer steps, {n}; {ends}"
        )
    if record["kind"] == "mix" and search_plots.list_ratio_trials(record):
        drawn["ratio"] = plots.encode_svg(search_plots.plot_ratio(record), f"Mean {name} over the ratio, {n}; {ends}")
    return drawn
