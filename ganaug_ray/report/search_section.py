"""The page of a search, and its section in the report: what was tried, the results, and the cost."""

from __future__ import annotations

from collections import Counter, defaultdict
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
    """Return the records of an experiment's finished searches, by kind."""
    records = {}
    for kind in SEARCH_TITLES:
        folder = root / f"search/{kind}"
        if folder.has_file(SEARCH_MARKER):
            records[kind] = folder.read_json(SEARCH_MARKER)
    return records


def render_search_page(record: Mapping[str, Any]) -> str:
    """Return search.html: one page that needs no other file.

    Args:
        record: search.json.
    """
    return template.render_template("search_page.html", search=build_section(record))


def build_section(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the template: the record, its trials in order, reasons of failures, and the pictures."""
    if record["kind"] == "gan":
        # A GAN's length is read off each trial's curve, which has a plot of its own: no trial has one length.
        varied = {key: rule for key, rule in record["space"].items() if key not in LENGTH_SETTINGS}
        record = {**record, "space": varied}
    trials = record["trials"]
    status_counts = Counter(trial["status"] for trial in trials)
    reasons: dict[str, list[str]] = defaultdict(list)
    for trial in trials:
        if trial["status"] == "failed":
            reasons[trial["reason"] or "no reason was given"].append(trial["trial"])
    return {
        **record,
        "title": SEARCH_TITLES[record["kind"]],
        "value_name": search_plots.describe_objective(record),
        "rows": [_format_row(record, trial) for trial in _sort_trials(record)[:MAX_LISTED_TRIALS]],
        "counts": {status: status_counts[status] for status in search_plots.STATUS_COLOURS if status_counts[status]},
        "colours": search_plots.STATUS_COLOURS,
        "reasons": dict(reasons),
        "saved": _count_saved_steps(record),
        "pictures": _draw_search(record) if trials else {},
    }


def _sort_trials(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The best trial first, then those with a value from good to bad, then the rest."""
    sign = 1 if record["direction"] == "min" else -1

    def rank(trial: Mapping[str, Any]) -> tuple[bool, bool, float]:
        value = trial["value"]
        return not search_plots.is_best(record, trial), value is None, sign * (value or 0.0)

    return sorted(record["trials"], key=rank)


def _count_saved_steps(record: Mapping[str, Any]) -> int:
    """Steps that the stopped trials did not take; what failed ones did not is no saving."""
    stopped = [trial["steps"] for trial in record["trials"] if trial["status"] == "stopped"]
    if not stopped:
        return 0
    return round(record["full_steps"] / len(record["trials"]) * len(stopped) - sum(stopped))


def _format_row(record: Mapping[str, Any], trial: Mapping[str, Any]) -> dict[str, Any]:
    settings = [_format_settings(trial["settings"], key) for key in record["space"]]
    value = "–"
    if trial["value"] is not None:
        form = ".2f" if record["objective"] in search_plots.SHARE_NAMES else ".4g"
        value = format(search_plots.scale_value(record, trial["value"]), form)
    return {**trial, "settings": settings, "value": value}


def _format_settings(settings: Mapping[str, Any], key: str) -> str:
    """A setting, the learning rate with those that followed it."""
    keys = (key, "gan.then") if key == "gan.lr" else (key,)
    return ", ".join(search_scales.format_setting(settings[name]) for name in keys if name in settings) or "–"


def _draw_search(record: Mapping[str, Any]) -> dict[str, Any]:
    trials = record["trials"]
    n = f"{len(trials)} trial{'s' * (len(trials) != 1)}"
    name = search_plots.describe_objective(record)
    ends = "none"
    if best := record["best"]:
        ends = f"the best is {search_plots.scale_value(record, best['value']):.4g} in trial {best['trial']}"
    costs = []
    for cost_key in ("seconds", "steps"):
        total = sum(trial[cost_key] for trial in trials)
        figure = search_plots.plot_cost(record, cost_key)
        costs.append(plots.encode_svg(figure, f"{cost_key} of {n}: {total:,.0f} in all"))
    drawn: dict[str, Any] = {"cost": costs}
    if record["space"]:
        about = f"Settings of {n} and their {name}; {ends}"
        drawn["parallel"] = plots.encode_svg(search_space_plots.plot_parallel(record), about)
    if not search_plots.list_valued_trials(record):
        return drawn
    figure = search_plots.plot_best_so_far(record)
    drawn["best_so_far"] = plots.encode_svg(figure, f"Best {name} so far over time; {ends}")
    drawn["slices"] = []
    for key in record["space"]:
        figure = search_space_plots.plot_slice(record, key)
        drawn["slices"].append(plots.encode_svg(figure, f"{name} over {key}, {n}"))
    if record["kind"] == "gan" and any(trial["looks"] for trial in trials):
        drawn["looks"] = plots.encode_svg(
            search_plots.plot_objective(record), f"{name} over optimizer steps, {n}; {ends}"
        )
    if record["kind"] == "mix" and search_plots.list_ratio_trials(record):
        drawn["ratio"] = plots.encode_svg(search_plots.plot_ratio(record), f"Mean {name} over the ratio, {n}; {ends}")
    return drawn
