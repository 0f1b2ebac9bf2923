"""Turns a job back into settings of a file: arms and models have what differs from the sections they follow."""

from typing import Any

from ganaug_ray.config.augment import drop_equal_settings, drop_implied_settings
from ganaug_ray.config.classifier import merge_model_settings
from ganaug_ray.config.job import Job


def dump_job_settings(job: Job) -> dict[str, Any]:
    """Dump all settings of a job, those with their default too."""
    return job.model_dump(exclude_none=True) | {"arms": _dump_arms(job)}


def dump_given_settings(job: Job, exclude_defaults: bool = False) -> dict[str, Any]:
    """Dump the settings that a job gives.

    Args:
        job: as it was loaded.
        exclude_defaults: whether settings with their default are left out, also where the job gives them.
    """
    content = job.model_dump(exclude_unset=True, exclude_defaults=exclude_defaults)
    if job.arms:
        content["arms"] = _dump_arms(job)
    if job.models:
        implied = merge_model_settings(job.classifier.model_dump(exclude_unset=True), {})
        content["models"] = {
            name: drop_equal_settings(implied, model.model_dump(exclude_unset=True))
            for name, model in job.models.items()
        }
    return content


def _dump_arms(job: Job) -> dict[str, dict[str, Any]]:
    """Dump each arm with what differs from the augment section, which may change."""
    augment = job.augment.model_dump()
    return {name: drop_implied_settings(augment, name, arm.model_dump()) for name, arm in job.arms.items()}
