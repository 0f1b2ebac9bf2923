"""Proposes settings that Optuna's samplers draw, none twice as long as there are untried ones."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from ganaug_ray.core import rng
from ganaug_ray.search.search_space import Dimension, SearchSpace, Settings
from ganaug_ray.search.trial_log import Trial

MAX_DRAWS = 50  # for settings that were not tried yet, before the untried ones are listed
MAX_LISTED = 10_000  # combinations that are listed for that
_STATES = {"finished": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}


class SamplingProposer:
    """Proposes the settings that an Optuna sampler draws.

    Args:
        sampler: of Optuna.
        space: what is searched.
        direction: which way is better.
        seed: of the job.
        repeats: whether settings that were tried before may be proposed again.
    """

    def __init__(
        self, sampler: BaseSampler, space: SearchSpace, direction: Literal["min", "max"], seed: int, repeats: bool
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study_direction = StudyDirection.MINIMIZE if direction == "min" else StudyDirection.MAXIMIZE
        self._study = optuna.create_study(direction=study_direction, sampler=sampler)
        self._space = space
        self._direction = direction
        self._seed = seed
        self._repeats = repeats
        self._under_way: dict[str, optuna.Trial] = {}  # those that the sampler drew, by number

    def propose(self, number: str, tried: list[Settings]) -> Settings | None:
        """Return settings that the sampler draws or, if it draws nothing new, any untried ones; else None."""
        for _ in range(MAX_DRAWS):
            drawn = self._study.ask()
            settings = self._draw_settings(drawn)
            if self._repeats or settings not in tried:
                self._under_way[number] = drawn
                return settings
            self._study.tell(drawn, state=TrialState.FAIL)  # the same seeds would give the same again
        untried = self._list_untried(tried)
        if not untried:
            return None
        return untried[rng.hash_to_number(self._seed, "untried", len(tried)) % len(untried)]

    def record_outcome(self, trial: Trial) -> None:
        """Report a trial that has ended to the sampler."""
        drawn = self._under_way.pop(trial.trial, None)
        if drawn is None:  # of an earlier process, or not drawn by the sampler
            self._study.add_trial(self._describe_to_optuna(trial))
            return
        for result in trial.looks:
            drawn.report(result.value, result.at)
        self._study.tell(drawn, self._find_final_value(trial), _STATES[trial.status])

    def _draw_settings(self, drawn: optuna.Trial) -> Settings:
        settings: Settings = {}
        for dimension in self._space.dimensions:
            if dimension.is_applicable(settings):
                settings[dimension.key] = _draw_value(dimension, drawn)
        return settings

    def _list_untried(self, tried: list[Settings]) -> list[Settings]:
        """Return what is left of a space of choices alone; with a range there is no end to list."""
        if any(dimension.distribution != "choice" for dimension in self._space.dimensions):
            return []
        combinations = itertools.islice(self._space.iterate_combinations(), MAX_LISTED)
        return [settings for settings in combinations if settings not in tried]

    def _describe_to_optuna(self, trial: Trial) -> optuna.trial.FrozenTrial:
        searched = [dimension for dimension in self._space.dimensions if dimension.key in trial.settings]
        return optuna.trial.create_trial(
            state=_STATES[trial.status],
            value=self._find_final_value(trial),
            params={dimension.key: _encode(dimension, trial.settings[dimension.key]) for dimension in searched},
            distributions={dimension.key: distribution(dimension) for dimension in searched},
            intermediate_values={result.at: result.value for result in trial.looks},
        )

    def _find_final_value(self, trial: Trial) -> float | None:
        """Return the best value of a trial that came to its end; any other has none."""
        if trial.status != "finished":
            return None
        best = trial.find_best(self._direction)
        return best.value if best else None


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return Optuna's distribution for a dimension. A choice is drawn by its index, since values may be of any type."""
    if dimension.distribution == "choice":
        return CategoricalDistribution(range(len(dimension.values)))
    low, high = dimension.values
    if dimension.distribution == "integers":
        return IntDistribution(low, high)
    return FloatDistribution(float(low), float(high), log=dimension.distribution == "log_uniform")


def _draw_value(dimension: Dimension, drawn: optuna.Trial) -> Any:
    if dimension.distribution == "choice":
        return dimension.values[drawn.suggest_categorical(dimension.key, range(len(dimension.values)))]
    low, high = dimension.values
    if dimension.distribution == "integers":
        return drawn.suggest_int(dimension.key, low, high)
    return drawn.suggest_float(dimension.key, float(low), float(high), log=dimension.distribution == "log_uniform")


def _encode(dimension: Dimension, value: Any) -> Any:
    """Return a value as Optuna knows it: a choice by its index."""
    return dimension.values.index(value) if dimension.distribution == "choice" else value
