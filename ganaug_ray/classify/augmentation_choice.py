"""The augmentation that ``classifier.augment: auto`` means in an experiment, once two trials have decided it.

The trials are models as the baseline has them, on the first split, of a seed that is not compared.
"""

from __future__ import annotations

from ganaug_ray.config import ClassifierConfig, Job
from ganaug_ray.config.job import AUGMENT_TRIALS
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import AugmentationRecord, ModelRecord


def needs_choice(job: Job) -> bool:
    """Whether the job leaves the augmentation of a classifier to be chosen."""
    return any(config.augment == "auto" for config in (job.classifier, *job.models.values()))


def list_missing_trials(job: Job, run: Run | None) -> list[str]:
    """List the names of the trials that the job needs and its folder lacks; without a folder, all that it needs."""
    if not needs_choice(job):
        return []
    return [name for name in AUGMENT_TRIALS if run is None or ModelRecord.find(run.locate_model(name, 0)) is None]


def find_choice(run: Run) -> AugmentationRecord | None:
    """Return the choice of the experiment that a run belongs to; None before it is made."""
    return AugmentationRecord.find(Run(run.experiment).models)


def apply_choice(job: Job, run: Run) -> Job:
    """Return the job with the chosen augmentation in place of auto; as it is where nothing is to choose, or not yet."""
    choice = find_choice(run) if needs_choice(job) else None
    if choice is None:
        return job
    models = {name: _settle(config, choice.chosen) for name, config in job.models.items()}
    return job.model_copy(update={"classifier": _settle(job.classifier, choice.chosen), "models": models})


def _settle(config: ClassifierConfig, chosen: str) -> ClassifierConfig:
    return config.model_copy(update={"augment": chosen}) if config.augment == "auto" else config
