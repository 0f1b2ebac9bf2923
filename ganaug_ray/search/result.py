"""What came of a search: its record, a table of all trials, and one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.search.pbt import THEN
from ganaug_ray.search.search_plan import BASELINE, Plan
from ganaug_ray.search.search_space import Settings
from ganaug_ray.search.trial_log import Look, Status, Trial

FILE = "search.json"


def record(plan: Plan, trials: Sequence[Trial], rows: int, seconds: float, at_once: int) -> Record:
    """Put the trials together, with the best of them.

    Args:
        plan: of the search.
        trials: in the order in which they were started; those that have not ended are told of as stopped.
        rows: training images.
        seconds: that the search took, in all its processes.
        at_once: trials side by side, at most.
    """
    is_gan = plan.space.kind == "gan"
    best = choose(plan, trials)
    return {
        "hash": experiment_dir.fingerprint(plan.fingerprint(), [asdict(trial) for trial in trials]),
        "kind": plan.space.kind,
        "objective": plan.objective,
        "direction": plan.direction,
        "algorithm": plan.job.search.algorithm,
        "proposed_by": plan.algorithm.proposed_by,
        "curve_note": plan.algorithm.curve_note,
        "stop_early": plan.job.search.stop_early,
        "budgets": list(plan.budgets(rows)) if is_gan else None,
        "seeds": None if is_gan else len(plan.fits),
        "space": plan.space.record(),
        "trials": [_entry(plan, trial) for trial in trials],
        "best": _best(plan, *best, rows) if best else None,
        "baseline": BASELINE if plan.space.kind == "mix" else None,
        "concurrency": at_once,
        "steps": sum(trial.steps for trial in trials),
        "full_steps": plan.full_steps(rows) * len(trials),
        "seconds": round(seconds, 3),
        "sentence": sentence(plan, trials, best),
    }


def choose(plan: Plan, trials: Sequence[Trial]) -> tuple[Trial, Look] | None:
    """Return the best trial and where it was best: any look at a GAN, the last one at classifiers that are complete."""
    candidates = []
    for trial in trials:
        if plan.space.kind == "gan":
            look = trial.best(plan.direction)
        else:
            look = trial.looks[-1] if len(trial.looks) == len(plan.fits) else None
        if look is not None and trial.status != "failed":
            candidates.append((trial, look))
    sign = 1 if plan.direction == "min" else -1
    return min(candidates, key=lambda candidate: sign * candidate[1].value, default=None)


def settings_of(plan: Plan, trial: Trial, look: Look, rows: int) -> Settings:
    """Return the job's keys that give this trial's best again, with the length that was read off."""
    if plan.space.kind != "gan":
        return trial.settings
    if THEN in trial.settings:  # its times are steps
        then = [later for later in trial.settings[THEN] if later["after"] < look.at]
        return {**trial.settings, THEN: then, "gan.steps": look.at}
    if plan.space.length is None:
        return {**trial.settings, "gan.steps": look.at}
    field = plan.space.length.partition(".")[2]
    for length in plan.space.budgets:
        steps = plan.job.gan.model_copy(update={"steps": None, "epochs": None, field: length}).total_steps(rows)
        if steps == look.at:
            return {**trial.settings, plan.space.length: length}
    return {**trial.settings, "gan.steps": look.at}  # it ended early, in between


def _best(plan: Plan, trial: Trial, look: Look, rows: int) -> Record:
    settings = settings_of(plan, trial, look, rows)
    return {"trial": trial.trial, "settings": settings, "value": look.value, "at": look.at}


def _entry(plan: Plan, trial: Trial) -> Record:
    best = trial.looks[-1] if trial.looks else None
    if plan.space.kind == "gan":
        best = trial.best(plan.direction)
    entry = asdict(trial) | {"value": best.value if best else None, "at": best.at if best else None}
    if trial.status == "started":
        entry |= {"status": "stopped", "reason": "the time was up; the same command goes on"}
    return entry


def table(trials: Sequence[Trial]) -> pa.Table:
    """Return a table with a row for each look of each trial; a trial without looks has one row."""
    keys = sorted({key for trial in trials for key in trial.settings})
    rows: list[dict[str, Any]] = []
    for trial in trials:
        facts = {
            "trial": trial.trial,
            "status": trial.status,
            "reason": trial.reason,
            "seconds": trial.seconds,
            "ended": trial.ended,
            "steps": trial.steps,
            **{key: _cell(trials, key, trial.settings.get(key)) for key in keys},
        }
        looks = [asdict(look) for look in trial.looks] or [{"at": None, "value": None, "score": None}]
        rows += [facts | look for look in looks]
    return pa.Table.from_pylist(rows)


def _cell(trials: Sequence[Trial], key: str, value: Any) -> Any:
    """Return a setting as its column can hold it: numbers as numbers, whatever else is mixed as text."""
    kinds = {type(trial.settings[key]) for trial in trials if key in trial.settings}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {bool, str}):
        return value
    return None if value is None else str(value)


def sentence(plan: Plan, trials: Sequence[Trial], best: tuple[Trial, Look] | None) -> str:
    """Say what was found, in plain words."""
    tally = Counter(trial.status for trial in trials)
    statuses: tuple[Status, ...] = ("finished", "stopped", "failed")
    counts = ", ".join(f"{tally[status]} {status}" for status in statuses if tally[status])
    if best is None:
        return f"{len(trials)} trials ({counts}): none gave a result"
    trial, look = best
    words = ", ".join(f"{key} {_short(value)}" for key, value in trial.settings.items())
    if plan.space.kind == "gan":
        return f"best of {len(trials)} trials ({counts}): {words} at step {look.at}: {plan.objective} {look.value:.4f}"
    value = f"{100 * look.value:.1f} %"
    baseline = next((other for other in trials if other.trial == BASELINE), None)
    if plan.space.kind == "mix" and trial.trial == BASELINE:
        return f"no mix of {len(trials) - 1} ({counts}) did better on validation than no synthetic images: {value}"
    against = ""
    if baseline and baseline.looks:
        against = f", {100 * baseline.looks[-1].value:.1f} % without synthetic images"
    what = f"{plan.objective.replace('_', '-')} on validation, less its standard error over {len(plan.fits)} trainings"
    return f"best of {len(trials)} trials ({counts}): {words or 'the job as it is'}: {value}{against} ({what})"


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):  # gan.then
        return ", ".join(f"{later['lr']:.3g} after {later['after']:g}" for later in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
