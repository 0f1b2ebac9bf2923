"""A search's page, and its section in the report: what was tried, what came of it, and what it cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ganaug_ray.core.storage import Folder
from ganaug_ray.evaluate import plots
from ganaug_ray.report import search_plots, search_scales, search_space_plots, template

TITLES = {"gan": "Search: the GAN", "mix": "Search: the mix", "classifier": "Search: the classifier"}
MARKER = "search.json"
LISTED = 50  # trials in the table
READ_OFF = ("gan.steps", "gan.epochs")


def found(root: Folder) -> dict[str, dict[str, Any]]:
    """Return the records of the finished searches of a run, by kind."""
    folders = {kind: root / f"search/{kind}" for kind in TITLES}
    return {kind: folder.read_json(MARKER) for kind, folder in folders.items() if folder.has(MARKER)}


def page(record: Mapping[str, Any]) -> str:
    """Return search.html: one page that needs nothing else.

    Args:
        record: search.json.
    """
    return template.render("search_page.html", search=section(record))


def section(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the template lays out: the record, its trials in order, reasons of failures, and the pictures."""
    # A GAN's length is read off each trial's curve, which has a plot of its own: no trial has one length.
    varied = {key: rule for key, rule in record["space"].items() if key not in READ_OFF or record["kind"] != "gan"}
    record = {**record, "space": varied}
    trials = record["trials"]
    best = record["best"]["trial"] if record["best"] else None
    down = record["direction"] == "min"

    def rank(one: Mapping[str, Any]) -> tuple[bool, bool, float]:
        value = one["value"]
        return one["trial"] != best, value is None, 0.0 if value is None else value if down else -value

    reasons: dict[str, list[str]] = defaultdict(list)
    for one in trials:
        if one["status"] == "failed":
            reasons[one["reason"] or "no reason was given"].append(one["trial"])
    return {
        **record,
        "title": TITLES[record["kind"]],
        "value_name": search_plots.name(record),
        "rows": [_row(record, one) for one in sorted(trials, key=rank)[:LISTED]],
        "counts": {s: n for s in search_plots.COLOUR if (n := sum(one["status"] == s for one in trials))},
        "colours": search_plots.COLOUR,
        "reasons": dict(reasons),
        "saved": _saved(record),
        "pictures": _draw(record) if trials else {},
    }


def _saved(record: Mapping[str, Any]) -> int:
    """Steps that the stopped trials did not take; what failed ones did not is no saving."""
    stopped = [one["steps"] for one in record["trials"] if one["status"] == "stopped"]
    return round(record["full_steps"] / len(record["trials"]) * len(stopped) - sum(stopped)) if stopped else 0


def _row(record: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Any]:
    settings = [_words(one["settings"], key) for key in record["space"]]
    form = ".2f" if record["objective"] in search_plots.SHARES else ".4g"
    value = "–" if one["value"] is None else format(search_plots.scaled(record, one["value"]), form)
    return {**one, "settings": settings, "value": value}


def _words(settings: Mapping[str, Any], key: str) -> str:
    """A setting, the learning rate with those that followed it."""
    keys = (key, "gan.then") if key == "gan.lr" else (key,)
    return ", ".join(search_scales.words(settings[own]) for own in keys if own in settings) or "–"


def _draw(record: Mapping[str, Any]) -> dict[str, Any]:
    trials, best = record["trials"], record["best"]
    n = f"{len(trials)} trial{'s' * (len(trials) != 1)}"
    name = search_plots.name(record)
    ends = f"the best is {search_plots.scaled(record, best['value']):.4g} in trial {best['trial']}" if best else "none"
    drawn: dict[str, Any] = {
        "cost": [
            plots.svg(search_plots.cost(record, what), f"{what} of {n}: {sum(one[what] for one in trials):,.0f} in all")
            for what in ("seconds", "steps")
        ],
    }
    if record["space"]:
        about = f"Settings of {n} and their {name}; {ends}"
        drawn["parallel"] = plots.svg(search_space_plots.parallel(record), about)
    if all(one["value"] is None for one in trials):
        return drawn
    drawn["best_so_far"] = plots.svg(search_plots.best_so_far(record), f"Best {name} so far over time; {ends}")
    drawn["slices"] = [
        plots.svg(search_space_plots.part(record, key), f"{name} over {key}, {n}") for key in record["space"]
    ]
    if record["kind"] == "gan" and any(one["looks"] for one in trials):
        drawn["looks"] = plots.svg(search_plots.looks(record), f"{name} over optimizer steps, {n}; {ends}")
    if record["kind"] == "mix" and search_plots.ratios(record):
        drawn["ratio"] = plots.svg(search_plots.ratio(record), f"Mean {name} over the ratio, {n}; {ends}")
    return drawn
