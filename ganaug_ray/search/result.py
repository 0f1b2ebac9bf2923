"""The result of a search: its record, a table of all trials, and one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.core.wording import format_count
from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.search.pbt import LATER_LR_KEY
from ganaug_ray.search.search_plan import BASELINE_TRIAL, SearchPlan
from ganaug_ray.search.search_space import Settings
from ganaug_ray.search.trial_log import IntermediateResult, Status, Trial

RESULT_FILE = "search.json"


def build_record(plan: SearchPlan, trials: Sequence[Trial], rows: int, seconds: float, at_once: int) -> Record:
    """Build the content of search.json from all trials, with the best of them.

    Args:
        plan: of the search.
        trials: in the order in which they were started; those that have not ended are listed as stopped.
        rows: training images.
        seconds: that the search took, in all its processes.
        at_once: trials side by side, at most.
    """
    budgets = None
    seeds = None
    if plan.space.kind == "gan":
        budgets = list(plan.list_budgets(rows))
    else:
        seeds = len(plan.split_seed_pairs)
    best = choose_trial(plan, trials)
    best_record = None
    if best is not None:
        best_trial, result = best
        best_record = _build_best_entry(plan, best_trial, result, rows)
    return {
        "hash": experiment_dir.compute_fingerprint(plan.compute_fingerprint(), [asdict(trial) for trial in trials]),
        "kind": plan.space.kind,
        "objective": plan.objective,
        "direction": plan.direction,
        "algorithm": plan.job.search.algorithm,
        "proposed_by": plan.algorithm.proposed_by,
        "curve_note": plan.algorithm.curve_note,
        "stop_early": plan.job.search.stop_early,
        "budgets": budgets,
        "seeds": seeds,
        "space": plan.space.build_record(),
        "trials": [_build_trial_entry(plan, trial) for trial in trials],
        "best": best_record,
        "baseline": BASELINE_TRIAL if plan.has_baseline else None,
        "concurrency": at_once,
        "steps": sum(trial.steps for trial in trials),
        "full_steps": plan.count_full_steps(rows) * len(trials),
        "seconds": round(seconds, 3),
        "sentence": compose_sentence(plan, trials, best),
    }


def choose_trial(plan: SearchPlan, trials: Sequence[Trial]) -> tuple[Trial, IntermediateResult] | None:
    """Return (best trial, its best measurement), or None.

    Any measurement of a GAN counts; of classifiers the last, if all are trained.
    """
    candidates = []
    for trial in trials:
        if plan.space.kind == "gan":
            result = trial.find_best(plan.direction)
        else:
            result = trial.looks[-1] if len(trial.looks) == len(plan.split_seed_pairs) else None
        if result is not None and trial.status != "failed":
            candidates.append((trial, result))
    sign = 1 if plan.direction == "min" else -1
    return min(candidates, key=lambda candidate: sign * candidate[1].value, default=None)


def derive_settings(plan: SearchPlan, trial: Trial, result: IntermediateResult, rows: int) -> Settings:
    """Return the settings of the job that reproduce a trial at its best, with the length of training at that point."""
    if plan.space.kind != "gan":
        return trial.settings
    if LATER_LR_KEY in trial.settings:  # its times are steps
        then = [later for later in trial.settings[LATER_LR_KEY] if later["after"] < result.at]
        return {**trial.settings, LATER_LR_KEY: then, "gan.steps": result.at}
    if plan.space.length is None:
        return {**trial.settings, "gan.steps": result.at}
    field = plan.space.length.partition(".")[2]
    for length in plan.space.budgets:
        steps = plan.job.gan.model_copy(update={"steps": None, "epochs": None, field: length}).count_steps(rows)
        if steps == result.at:
            return {**trial.settings, plan.space.length: length}
    return {**trial.settings, "gan.steps": result.at}  # it ended early, in between


def _build_best_entry(plan: SearchPlan, trial: Trial, result: IntermediateResult, rows: int) -> Record:
    """Build the entry of the best trial in search.json."""
    settings = derive_settings(plan, trial, result, rows)
    return {"trial": trial.trial, "settings": settings, "value": result.value, "at": result.at}


def _build_trial_entry(plan: SearchPlan, trial: Trial) -> Record:
    """Build the entry of a trial in search.json, with the measurement that it is judged by.

    That is the best one of a GAN, and the last one of classifiers.
    """
    deciding_result = trial.looks[-1] if trial.looks else None
    if plan.space.kind == "gan":
        deciding_result = trial.find_best(plan.direction)
    entry = asdict(trial) | {"value": None, "at": None}
    if deciding_result is not None:
        entry |= {"value": deciding_result.value, "at": deciding_result.at}
    if trial.status == "started":
        entry |= {"status": "stopped", "reason": "the time was up; the same command continues"}
    return entry


def build_table(trials: Sequence[Trial]) -> pa.Table:
    """Return a table with a row for each measurement of each trial; a trial without one has one row."""
    keys = sorted(set().union(*[trial.settings for trial in trials]))
    rows: list[dict[str, Any]] = []
    for trial in trials:
        facts = {
            "trial": trial.trial,
            "status": trial.status,
            "reason": trial.reason,
            "seconds": trial.seconds,
            "ended": trial.ended,
            "steps": trial.steps,
            **{key: _convert_cell(trials, key, trial.settings.get(key)) for key in keys},
        }
        results = [asdict(result) for result in trial.looks] or [{"at": None, "value": None, "score": None}]
        rows += [facts | result for result in results]
    return pa.Table.from_pylist(rows)


def _convert_cell(trials: Sequence[Trial], key: str, value: Any) -> Any:
    """Return a setting as its column can hold it: numbers as numbers, whatever else is mixed as text."""
    kinds = {type(trial.settings[key]) for trial in trials if key in trial.settings}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds <= {bool, str}):
        return value
    return None if value is None else str(value)


def compose_sentence(plan: SearchPlan, trials: Sequence[Trial], best: tuple[Trial, IntermediateResult] | None) -> str:
    """Say in one sentence which settings were best."""
    tally = Counter(trial.status for trial in trials)
    statuses: tuple[Status, ...] = ("finished", "stopped", "failed")
    counts = ", ".join(f"{tally[status]} {status}" for status in statuses if tally[status])
    if best is None:
        return f"{len(trials)} trials ({counts}): none gave a result"
    trial, result = best
    words = ", ".join(f"{key} {_format_value(value)}" for key, value in trial.settings.items())
    if plan.space.kind == "gan":
        return (
            f"best of {len(trials)} trials ({counts}): {words} at step {result.at}: {plan.objective} {result.value:.4f}"
        )
    metric = get_metric(plan.objective)
    value = metric.format_with_unit(result.value)
    baseline = next((other for other in trials if other.trial == BASELINE_TRIAL), None)
    if plan.space.kind == "mix" and trial.trial == BASELINE_TRIAL:
        return f"none of {len(trials) - 1} mixes ({counts}) did better on validation than no synthetic images: {value}"
    against = ""
    if baseline and baseline.looks:
        against = f"; without synthetic images {metric.format_with_unit(baseline.looks[-1].value)}"
    trainings = format_count(len(plan.split_seed_pairs), "training")
    sign = "minus" if metric.higher_is_better else "plus"
    score = f"{metric.name} on validation, {sign} its standard error over {trainings}"
    if len(plan.split_seed_pairs) == 1:
        score = f"{metric.name} on validation, of a single training each, which may be chance"
    return f"best of {len(trials)} trials ({counts}): {words or 'the job as it is'}: {value}{against} ({score})"


def _format_value(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):  # gan.then
        return ", ".join(f"{later['lr']:.3g} after {later['after']:g}" for later in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
