"""Chooses the next trial, behind Ray Tune's interface; the log of trials is the only memory of a search.

The sampler is Optuna's. Ray's own ``OptunaSearch`` is not used, since a search must go on from its log with what it
would have proposed: it restores itself by unpickling, tells Optuna of a trial that was stopped early as of a finished
one, and proposes settings again that were tried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ray.tune.search import Searcher

from ganaug_ray.search import trainable
from ganaug_ray.search.pbt import LrSchedule
from ganaug_ray.search.search_plan import BASELINE_TRIAL, SearchPlan
from ganaug_ray.search.search_space import Settings
from ganaug_ray.search.tracking import Tracker
from ganaug_ray.search.trial_log import IntermediateResult, Ledger, Status, Trial


class OptunaSearcher(Searcher):
    """Proposes settings to Ray Tune, and logs the trials.

    First come trials that an earlier process left unfinished, then for a mix the baseline, then new ones.

    Args:
        plan: of the search.
        ledger: of its trials.
        max_trials: new and old trials in all, without the baseline; None: as long as it lasts.
        on_end: called with every trial that has ended.
        trackers: told of all of it.
    """

    def __init__(
        self,
        plan: SearchPlan,
        ledger: Ledger,
        max_trials: int | None,
        on_end: Callable[[Trial], None],
        trackers: Sequence[Tracker] = (),
    ) -> None:
        super().__init__(metric="value", mode=plan.direction)
        self._plan = plan
        self._ledger = ledger
        self._max_trials = max_trials
        self._on_end = on_end
        self._trackers = trackers
        self._waiting = list(ledger.unfinished_trials)
        self._running: dict[str, Trial] = {}
        self._proposer = plan.algorithm.create_proposer(plan.space, plan.direction, plan.job.seed, len(ledger.trials))
        for trial in ledger.ended_trials:
            self._record_outcome(trial)

    def suggest(self, trial_id: str) -> Any:
        """Return the number and settings of the next trial, or FINISHED if there are no more."""
        trial = self._choose_next()
        if trial is None:
            return Searcher.FINISHED
        self._running[trial_id] = trial
        for tracker in self._trackers:
            tracker.start_trial(trial.trial, trial.settings)
        return {"trial": trial.trial, "settings": trial.settings}

    def _choose_next(self) -> Trial | None:
        if self._waiting:
            return self._waiting.pop(0)
        trials = self._ledger.trials
        if self._plan.has_baseline and BASELINE_TRIAL not in trials:
            return self._start_trial(BASELINE_TRIAL, {"augment.ratio": 0.0})
        if self._max_trials is not None and len(trials.keys() - {BASELINE_TRIAL}) >= self._max_trials:
            return None
        number = self._ledger.allocate_number()
        settings = self._proposer.propose(number, [trial.settings for trial in trials.values()])
        return None if settings is None else self._start_trial(number, settings)

    def _start_trial(self, number: str, settings: Settings) -> Trial:
        trial = Trial(number, settings)
        self._ledger.write_trial(trial)
        return trial

    def _record_outcome(self, trial: Trial) -> None:
        """Let a trial that has ended count for what is proposed next; the baseline was not proposed."""
        if trial.trial != BASELINE_TRIAL:
            self._proposer.record_outcome(trial)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass a measurement on to the trackers; a result without a value, of a waiting rank, is left out."""
        if "value" not in result:
            return
        number = self._running[trial_id].trial
        for tracker in self._trackers:
            tracker.log_result(number, result["at"], result["value"], {})

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Log how a trial ended, and learn from it for the next proposals."""
        started = self._running.pop(trial_id)
        seconds = (result or {}).get("time_total_s", 0.0)
        trial = determine_outcome(self._plan, started, self._ledger.seconds, error, seconds)
        self._ledger.write_trial(trial)
        self._record_outcome(trial)
        for tracker in self._trackers:
            tracker.end_trial(trial.trial, trial.status, trial.reason)
        self._on_end(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles what it is given, to go on from it some day; a search does from its ledger."""
        return {}

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Write nothing, as a search goes on from its log of trials."""


def determine_outcome(plan: SearchPlan, trial: Trial, now: float, lost: bool, seconds: float) -> Trial:
    """Return the trial with its status and measurements, after it has ended, from the content of its folder.

    Args:
        plan: of the search.
        trial: as it was started.
        now: seconds of searching so far.
        lost: whether its process was lost time and again.
        seconds: that it took, where it did not get as far as to say so itself.
    """
    folder = plan.locate_trial(trial.trial)
    results = tuple(trainable.read_results(plan, folder))
    ending = None
    if folder.has_file(trainable.TRIAL_MARKER):
        ending = folder.read_json(trainable.TRIAL_MARKER)
        seconds = ending["seconds"]
    status, reason = _judge_ending(plan, results, ending, lost)
    settings = trial.settings
    schedule = LrSchedule.from_folder(folder)
    if schedule is not None:
        settings = schedule.build_settings()
    return replace(
        trial,
        settings=settings,
        status=status,
        reason=reason,
        looks=results,
        seconds=round(seconds, 3),
        ended=round(now, 3),
        steps=trainable.count_steps(plan, folder),
    )


def _judge_ending(
    plan: SearchPlan, results: Sequence[IntermediateResult], ending: dict[str, Any] | None, lost: bool
) -> tuple[Status, str | None]:
    """How a trial ended, and why: by what it has written down itself, if it got as far as that."""
    if ending is not None and ending["status"] == "finished" and not results:
        return "failed", "it ended before it was measured"
    if ending is not None:
        return ending["status"], ending["reason"]
    if lost:
        return "failed", "its process was lost again and again: killed, or out of memory"
    if results and results[-1].at >= plan.list_marks(plan.count_rows())[-1]:
        return "finished", None  # it was stopped where it would have ended
    last = f" after {results[-1].at}" if results else ""
    return "stopped", f"fell behind the others{last}"
