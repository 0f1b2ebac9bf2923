"""The search algorithms: which spaces each accepts, how many trials it makes, and how it proposes settings.

A new algorithm is a class here, a line in ALGORITHMS, and its name in ``config.search``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from ganaug_ray.config import Job
from ganaug_ray.config.search import DEFAULT_TRIALS, AlgorithmName
from ganaug_ray.core import rng
from ganaug_ray.errors import UserError
from ganaug_ray.search.pbt import LR_KEY
from ganaug_ray.search.search_space import SearchSpace, Settings
from ganaug_ray.search.trial_log import Trial

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

Direction = Literal["min", "max"]


class Proposer(Protocol):
    """The interface of an object that proposes the settings of the next trial, and learns from ended ones."""

    def propose(self, number: str, tried: list[Settings]) -> Settings | None:
        """Return settings for the trial of this number, or None when there are no more to try.

        Args:
            number: of the trial.
            tried: settings of all trials so far, also of those under way.
        """

    def record_outcome(self, trial: Trial) -> None:
        """Learn from a trial that has ended, even if another process proposed it."""


class Algorithm:
    """Base class of the search algorithms; its methods do what most algorithms do.

    Attributes:
        name: in the job.
        proposed_by: its name on the page of a search.
        curve_note: a sentence on the page below the curves of the trials; empty: none.
        may_stop_early: whether trials that fall behind may be stopped.
        is_population: whether trials pause where they are measured, and the worst go on from the best.
    """

    name: ClassVar[AlgorithmName]
    proposed_by: ClassVar[str]
    curve_note: ClassVar[str] = ""
    may_stop_early: ClassVar[bool] = True
    is_population: ClassVar[bool] = False

    def check_space(self, path: Path, space: SearchSpace, job: Job) -> None:
        """Raise UserError if the algorithm cannot search this space; the base class accepts any.

        Args:
            path: of the space file, for the message.
            space: what would be searched.
            job: that it would be searched for.

        Raises:
            UserError: the algorithm cannot search this space, or not for this job.
        """

    def count_trials(self, trials: int | None, space: SearchSpace) -> int:
        """Return the number of trials that are made at most.

        Args:
            trials: that the job asks for; None: it leaves it open.
            space: what is searched.
        """
        return trials or DEFAULT_TRIALS

    def create_proposer(self, space: SearchSpace, direction: Direction, seed: int, n_tried: int) -> Proposer:
        """Create the object that proposes settings, for one process of the search.

        Args:
            space: what is searched.
            direction: which way is better.
            seed: of the job.
            n_tried: trials so far. It is part of the sampler's seed: a search that goes on must not draw the same
                settings again.
        """
        # Optuna is slow to import, and a finished search needs none of it.
        from ganaug_ray.search.sampling import SamplingProposer

        sampler = self.create_sampler(rng.hash_to_number(seed, "search", n_tried) % 2**32)
        return SamplingProposer(sampler, space, direction, seed, repeats=self.is_population)

    def create_sampler(self, seed: int) -> BaseSampler:
        """Create the Optuna sampler that draws settings; here at random."""
        from optuna.samplers import RandomSampler

        return RandomSampler(seed)


class Random(Algorithm):
    """Random search: every setting is drawn at random."""

    name = "random"
    proposed_by = "chance"


class TPE(Algorithm):
    """Tree-structured Parzen estimator: settings are drawn near those that did well (Bergstra et al. 2011)."""

    name = "tpe"
    proposed_by = "TPE"

    def create_sampler(self, seed: int) -> BaseSampler:
        """Create Optuna's tree-structured Parzen estimator."""
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, multivariate=True, group=True)


class Grid(Algorithm):
    """Grid search: every combination of the choices is tried, in the order of the space file."""

    name = "grid"
    proposed_by = "grid"

    def check_space(self, path: Path, space: SearchSpace, job: Job) -> None:
        """Raise UserError if the space has a range, which has no combinations to count."""
        for dimension in space.dimensions:
            if dimension.distribution != "choice":
                raise UserError(
                    f"{path}: {dimension.key}: search.algorithm grid needs a choice, found {dimension.distribution}"
                )

    def count_trials(self, trials: int | None, space: SearchSpace) -> int:
        """Return the number of combinations, or the number that the job asks for if that is smaller."""
        size = sum(1 for _ in space.iterate_combinations())
        return min(trials or size, size)

    def create_proposer(self, space: SearchSpace, direction: Direction, seed: int, n_tried: int) -> Proposer:
        """Create the object that proposes one combination after another."""
        return GridProposer(space)


class PopulationBasedTraining(Algorithm):
    """Population based training: the worst trials copy the best, at another learning rate (Jaderberg et al. 2017)."""

    name = "pbt"
    proposed_by = "chance, then a population"
    curve_note = (
        "There the worst trials took over the networks of the best, at another learning rate. "
        "Each line shows the networks that its trial has now."
    )
    may_stop_early = False
    is_population = True

    def check_space(self, path: Path, space: SearchSpace, job: Job) -> None:
        """Raise UserError unless the space has the GAN's learning rate alone, and the job no schedule for it."""
        other_keys = [dimension.key for dimension in space.dimensions if dimension.key != LR_KEY]
        if space.kind != "gan" or other_keys or not space.dimensions:
            problem = f"search {space.kind}" if space.kind != "gan" else ", ".join(other_keys) or "no gan.lr"
            raise UserError(
                f"{path}: search.algorithm pbt changes gan.lr while GANs train, and nothing else; found {problem}"
            )
        if job.gan.then:
            raise UserError("gan.then: search.algorithm pbt finds it; leave it out")


class GridProposer:
    """Proposes the first combination of a grid that was not tried yet.

    Args:
        space: of choices alone.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._combinations = list(space.iterate_combinations())

    def propose(self, number: str, tried: list[Settings]) -> Settings | None:
        """Return the next combination, or None when all were tried."""
        untried = (settings for settings in self._combinations if settings not in tried)
        return next(untried, None)

    def record_outcome(self, trial: Trial) -> None:
        """Do nothing, as a grid does not depend on outcomes."""


ALGORITHMS: dict[AlgorithmName, Algorithm] = {
    algorithm.name: algorithm for algorithm in (TPE(), Random(), Grid(), PopulationBasedTraining())
}
"""Name in the job -> the algorithm."""
