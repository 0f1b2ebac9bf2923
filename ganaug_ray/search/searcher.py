"""Which settings are tried next: Optuna's samplers behind Tune's interface, and the ledger as their only memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from ray.tune.search import Searcher

from ganaug_ray.core import rng
from ganaug_ray.search import trainable
from ganaug_ray.search.pbt import Course
from ganaug_ray.search.search_plan import BASELINE, Plan
from ganaug_ray.search.search_space import Dimension, Settings
from ganaug_ray.search.tracking import Tracker
from ganaug_ray.search.trial_log import Ledger, Trial

TRIES = 50  # for settings that were not tried yet, before they are looked for one by one
MOST = 10_000  # combinations that are looked at for that
_STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


class Chooser(Searcher):
    """Suggests settings, and writes down what came of them.

    First come trials that an earlier process left unfinished, then for a mix the baseline, then new ones.

    Args:
        plan: of the search.
        ledger: of its trials.
        most: new and old trials in all, without the baseline; None: as long as it lasts.
        ended: called with every trial that has ended.
        trackers: told of all of it.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        most: int | None,
        ended: Callable[[Trial], None],
        trackers: Sequence[Tracker] = (),
    ) -> None:
        super().__init__(metric="value", mode=plan.direction)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan, self._ledger, self._most, self._ended = plan, ledger, most, ended
        self._trackers = trackers
        self._waiting = list(ledger.unfinished)
        self._running: dict[str, tuple[Trial, optuna.Trial | None]] = {}
        self._grid = list(plan.space.combinations()) if plan.job.search.algorithm == "grid" else None
        self._study = optuna.create_study(
            direction="minimize" if plan.direction == "min" else "maximize", sampler=self._sampler()
        )
        for trial in ledger.ended:
            if trial.trial != BASELINE:
                self._study.add_trial(self._frozen(trial))

    def _sampler(self) -> BaseSampler:
        # What has been tried is part of the seed: a search that goes on must not draw the same settings again.
        seed = rng.number(self._plan.job.seed, "search", len(self._ledger.trials)) % 2**32
        if self._plan.job.search.algorithm == "tpe":
            return TPESampler(seed=seed, multivariate=True, group=True)
        return RandomSampler(seed)

    def suggest(self, trial_id: str) -> Any:
        """The next trial's number and settings, or that there are no more."""
        trial, asked = self._next()
        if trial is None:
            return Searcher.FINISHED
        self._running[trial_id] = trial, asked
        for tracker in self._trackers:
            tracker.started(trial.trial, trial.settings)
        return {"trial": trial.trial, "settings": trial.settings}

    def _next(self) -> tuple[Trial | None, optuna.Trial | None]:
        if self._waiting:
            return self._waiting.pop(0), None
        known = self._ledger.trials
        if self._plan.space.kind == "mix" and BASELINE not in known:
            return self._start(BASELINE, {"augment.ratio": 0.0}), None
        if self._most is not None and len(known.keys() - {BASELINE}) >= self._most:
            return None, None
        tried = [trial.settings for trial in known.values()]
        if self._grid is not None:
            left = [settings for settings in self._grid if settings not in tried]
            return (self._start(self._ledger.next_number(), left[0]) if left else None), None
        for _ in range(TRIES):
            asked = self._study.ask()
            settings = self._draw(asked)
            if self._plan.is_population or settings not in tried:  # members of one rate part ways
                return self._start(self._ledger.next_number(), settings), asked
            self._study.tell(asked, state=TrialState.FAIL)  # the same seeds would give the same again
        left = self._untried(tried)
        if not left:
            return None, None
        settings = left[rng.number(self._plan.job.seed, "untried", len(tried)) % len(left)]
        return self._start(self._ledger.next_number(), settings), None

    def _untried(self, tried: list[Settings]) -> list[Settings]:
        """What is left of a space of choices alone; of others nothing is counted."""
        space = self._plan.space
        if any(each.distribution != "choice" for each in space.dimensions):
            return []
        return [settings for settings in itertools.islice(space.combinations(), MOST) if settings not in tried]

    def _start(self, number: str, settings: Settings) -> Trial:
        trial = Trial(number, settings)
        self._ledger.add(trial)
        return trial

    def _draw(self, asked: optuna.Trial) -> Settings:
        settings: Settings = {}
        for each in self._plan.space.dimensions:
            if each.applies(settings):
                settings[each.key] = _suggest(each, asked)
        return settings

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        used = [each for each in self._plan.space.dimensions if each.key in trial.settings]
        state, best = _STATES[trial.status], trial.best(self._plan.direction)
        return optuna.trial.create_trial(
            state=state,
            value=best.value if best and state == TrialState.COMPLETE else None,
            params={each.key: _parameter(each, trial.settings[each.key]) for each in used},
            distributions={each.key: distribution(each) for each in used},
            intermediate_values={look.at: look.value for look in trial.looks},
        )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the trackers of a look."""
        if "value" in result:
            for tracker in self._trackers:
                tracker.look(self._running[trial_id][0].trial, result["at"], result["value"], {})

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Write down how a trial ended, and let it count for what is tried next."""
        trial, asked = self._running.pop(trial_id)
        trial = outcome(self._plan, trial, self._ledger.seconds, error, (result or {}).get("time_total_s", 0.0))
        self._ledger.add(trial)
        if asked is not None:
            for look in trial.looks:
                asked.report(look.value, look.at)
            best, state = trial.best(self._plan.direction), _STATES[trial.status]
            self._study.tell(asked, best.value if best and state == TrialState.COMPLETE else None, state)
        elif trial.trial != BASELINE:
            self._study.add_trial(self._frozen(trial))
        for tracker in self._trackers:
            tracker.ended(trial.trial, trial.status, trial.reason)
        self._ended(trial)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles what it is given, to go on from it some day; a search goes on from its ledger."""
        return {}

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing, see above."""


def outcome(plan: Plan, trial: Trial, now: float, lost: bool, seconds: float) -> Trial:
    """How a trial stands that nobody works on any more, by what its folder holds.

    Args:
        plan: of the search.
        trial: as it was started.
        now: seconds of searching so far.
        lost: whether its process was lost time and again.
        seconds: that it took, where it did not get as far as to say so itself.
    """
    folder = plan.trial_folder(trial.trial)
    found = tuple(trainable.looks(plan, folder))
    if folder.has(trainable.MARKER):
        told = folder.read_json(trainable.MARKER)
        status, reason, seconds = told["status"], told["reason"], told["seconds"]
        if status == "finished" and not found:
            status, reason = "failed", "there was no look at it"
    elif lost:
        status, reason = "failed", "its process was lost time and again: killed, or out of memory"
    elif found and found[-1].at >= plan.marks(plan.rows())[-1]:
        status, reason = "finished", None  # it was stopped where it would have ended
    else:
        last = f" after {found[-1].at}" if found else ""
        status, reason = "stopped", f"fell behind the others{last}"
    course = Course.of(folder)
    return replace(
        trial,
        settings=course.settings() if course else trial.settings,
        status=status,
        reason=reason,
        looks=found,
        seconds=round(seconds, 3),
        ended=round(now, 3),
        steps=trainable.steps(plan, folder),
    )


def distribution(each: Dimension) -> BaseDistribution:
    """Optuna's words for a dimension. A choice is one of so many numbers, since its values may be of any type."""
    if each.distribution == "choice":
        return CategoricalDistribution(range(len(each.values)))
    low, high = each.values
    if each.distribution == "integers":
        return IntDistribution(low, high)
    return FloatDistribution(float(low), float(high), log=each.distribution == "log_uniform")


def _suggest(each: Dimension, asked: optuna.Trial) -> Any:
    if each.distribution == "choice":
        return each.values[asked.suggest_categorical(each.key, range(len(each.values)))]
    low, high = each.values
    if each.distribution == "integers":
        return asked.suggest_int(each.key, low, high)
    return asked.suggest_float(each.key, float(low), float(high), log=each.distribution == "log_uniform")


def _parameter(each: Dimension, value: Any) -> Any:
    return each.values.index(value) if each.distribution == "choice" else value
