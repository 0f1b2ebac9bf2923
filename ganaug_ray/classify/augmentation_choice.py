"""The augmentation that ``classifier.augment: auto`` means: the better one of two trials, judged on validation.

The trials are models as the baseline has them, on the first split, of a seed that is not compared. They are all that
is kept: the choice is read off their records, once both are finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ganaug_ray.config import ClassifierConfig, Job
from ganaug_ray.config.job import AUGMENT_TRIALS
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import ModelRecord


@dataclass(frozen=True)
class AugmentationChoice:
    """What was chosen, and from which trials.

    Attributes:
        trials: the models by their augmentation, light and strong.
    """

    trials: Mapping[str, ModelRecord]

    @property
    def chosen(self) -> str:
        """The augmentation of the model with the lower cross-entropy on validation."""
        return min(self.trials, key=lambda name: self.trials[name].val_loss)

    def to_json(self) -> dict[str, Any]:
        """Return the choice with the trials' figures, for the report."""
        figures = {name: {"val_loss": r.val_loss, "val_accuracy": r.val_accuracy} for name, r in self.trials.items()}
        return {"chosen": self.chosen, "trials": figures, "sentence": self.describe()}

    def describe(self) -> str:
        """Return the choice and the figures that it goes by, in a sentence."""
        chosen = self.trials[self.chosen]
        (other,) = self.trials.keys() - {self.chosen}
        return (
            f"{self.chosen} augmentation: on validation its cross-entropy is {chosen.val_loss:.3f} "
            f"({other}: {self.trials[other].val_loss:.3f}) and its accuracy {chosen.val_accuracy:.3f} "
            f"({other}: {self.trials[other].val_accuracy:.3f})"
        )


def needs_choice(job: Job) -> bool:
    """Whether the job leaves the augmentation of a classifier to be chosen."""
    return any(config.augment == "auto" for config in (job.classifier, *job.models.values()))


def list_missing_trials(job: Job, run: Run | None) -> list[str]:
    """List the names of the trials that the job needs and its folder lacks; without a folder, all that it needs."""
    if not needs_choice(job):
        return []
    return [name for name in AUGMENT_TRIALS if run is None or _find_trial(run, name) is None]


def find_choice(run: Run) -> AugmentationChoice | None:
    """Return the choice of the experiment that a run belongs to, or None while a trial is missing."""
    trials = {}
    for name, policy in AUGMENT_TRIALS.items():
        record = _find_trial(run, name)
        if record is None:
            return None
        trials[policy] = record
    return AugmentationChoice(trials)


def _find_trial(run: Run, name: str) -> ModelRecord | None:
    return ModelRecord.find(Run(run.experiment).locate_model(name, 0))


def apply_choice(job: Job, run: Run) -> Job:
    """Return the job with the chosen augmentation in place of auto; as it is where nothing is to choose, or not yet."""
    if not needs_choice(job):
        return job
    choice = find_choice(run)
    if choice is None:
        return job
    models = {name: _settle(config, choice.chosen) for name, config in job.models.items()}
    return job.model_copy(update={"classifier": _settle(job.classifier, choice.chosen), "models": models})


def _settle(config: ClassifierConfig, chosen: str) -> ClassifierConfig:
    return config.model_copy(update={"augment": chosen}) if config.augment == "auto" else config
