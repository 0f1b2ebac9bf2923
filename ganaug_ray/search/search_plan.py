"""The plan of a search, as plain data that can be sent to any process: objective, budgets, and folders of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

from ganaug_ray.classify import augmentation_choice
from ganaug_ray.config import Job, TrainingConfig
from ganaug_ray.config.loader import apply_settings
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.evaluate.metric_register import get_choice_metric, get_metric
from ganaug_ray.search.algorithms import ALGORITHMS, Algorithm
from ganaug_ray.search.search_space import SearchSpace, Settings

BASELINE_TRIAL = "0000"
"""The trial of a search for the mix that has no synthetic images; it is always there."""


@dataclass(frozen=True)
class SearchPlan:
    """The plan of a search: its job, its space and the experiment that it belongs to.

    Attributes:
        job: as it is without what is searched.
        space: what is searched.
        out: folder of the experiment whose data, teacher and GAN the trials use.
    """

    job: Job
    space: SearchSpace
    out: str

    @property
    def run(self) -> Run:
        """The experiment that the search belongs to."""
        return Run(Folder.from_uri(self.out))

    @property
    def folder(self) -> Folder:
        """The folder of the search."""
        return self.run.root / "search" / self.space.kind

    def locate_trial(self, trial: str) -> Folder:
        """Return the folder of a trial."""
        return self.folder / "trials" / trial

    @property
    def objective(self) -> str:
        """The name of the metric that is optimised: of the GAN, or of classifiers on validation images.

        Of classifiers it is what arms are chosen by, which for accuracy is a smoother score.
        """
        if self.space.kind == "gan":
            return self.job.search.objective
        return get_choice_metric(self.job.compare.metric)

    @property
    def direction(self) -> Literal["min", "max"]:
        """Whether lower (``min``) or higher (``max``) values of the objective are better."""
        if self.space.kind == "gan":
            return "min" if self.objective == "kid" else "max"
        return "max" if get_metric(self.objective).higher_is_better else "min"

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm that proposes settings."""
        return ALGORITHMS[self.job.search.algorithm]

    @property
    def training_config(self) -> TrainingConfig:
        """The settings of the trainings in a trial: the section gan or classifier."""
        return self.job.gan if self.space.kind == "gan" else self.job.classifier

    @property
    def has_baseline(self) -> bool:
        """Whether there is a trial without synthetic images that the others are compared with."""
        return self.space.kind == "mix"

    @property
    def max_trials(self) -> int | None:
        """The number of trials, without the one that others are compared with; None where a time is given instead."""
        if self.job.search.hours is not None:
            return None
        return self.algorithm.count_trials(self.job.search.trials, self.space)

    def list_budgets(self, rows: int) -> tuple[int, ...]:
        """Return the numbers of optimizer steps at which a GAN is measured, rising; the last one ends it.

        Args:
            rows: training images.
        """
        job = self.job.gan
        if self.space.length is None:
            steps = job.count_steps(rows)
            return tuple(sorted({math.ceil(steps * share) for share in (0.25, 0.5, 0.75, 1.0)}))
        field = self.space.length.partition(".")[2]
        steps_of_lengths = set()
        for length in self.space.budgets:
            gan = job.model_copy(update={"steps": None, "epochs": None, field: length})
            steps_of_lengths.add(gan.count_steps(rows))
        return tuple(sorted(steps_of_lengths))

    def build_job(self, settings: Settings) -> Job:
        """Return the job with a trial's settings. Raises UserError if they do not fit together."""
        job = augmentation_choice.apply_choice(apply_settings(self.job, settings, "this trial"), self.run)
        if augmentation_choice.needs_choice(job):
            raise UserError("classifier.augment: auto cannot be searched for; give {choice: [light, strong]}")
        return job

    @property
    def split_seed_pairs(self) -> list[tuple[int, int]]:
        """The (split, seed) of each classifier that a trial trains, in order: all splits with the first seed first."""
        pairs = []
        for seed in range(self.job.search.seeds):
            pairs += [(split, seed) for split in range(self.job.compare.splits)]
        return pairs

    def list_marks(self, rows: int) -> tuple[int, ...]:
        """Return the points at which a trial is measured: steps of a GAN, or numbers of trained classifiers.

        Args:
            rows: training images.
        """
        if self.space.kind == "gan":
            return self.list_budgets(rows)
        return tuple(range(1, len(self.split_seed_pairs) + 1))

    def count_rows(self) -> int:
        """Return the number of training images of the first split."""
        return DatasetRecord.read(self.run.dataset).count_train_images()

    def count_full_steps(self, rows: int) -> int:
        """Return the number of optimizer steps of a trial that is not stopped."""
        if self.space.kind == "gan":
            return self.list_budgets(rows)[-1]
        return len(self.split_seed_pairs) * self.job.classifier.count_steps(rows)

    def compute_fingerprint(self) -> str:
        """Return a hash of all that decides a trial's result; how many trials there are does not."""
        job = self.job.model_dump(exclude={"search", "arms", "models", "published", "about", "tracking"})
        how = self.job.search.model_dump(exclude={"trials", "hours", "tracking", "algorithm", "stop_early", "workers"})
        extras = ["population"] if self.algorithm.is_population else []
        if self.space.kind != "gan":  # what a search for a GAN goes by is among its settings
            extras.append(self.objective)
        return experiment_dir.compute_fingerprint(job, how, self.space.build_record(), *extras)


def compute_cautious_mean(scores: Sequence[float], direction: Literal["min", "max"]) -> float:
    """Return the mean of scores, worse by its standard error, so that luck in one training does not win a search.

    Args:
        scores: at least one.
        direction: whether lower (``min``) or higher (``max``) scores are better.

    >>> compute_cautious_mean([0.8, 0.9], "max"), compute_cautious_mean([0.8, 0.9], "min")
    (0.8, 0.9)
    """
    if len(scores) == 1:
        return scores[0]
    error = stdev(scores) / math.sqrt(len(scores))
    worse = error if direction == "min" else -error
    return round(mean(scores) + worse, 12)
