"""The plan of a comparison: how many splits and seeds, where the job leaves both open.

Where images are few, testing every one of them says more than training once more on the same split: five splits
without a common test image test five times as many images, and cover the chance of the GAN and of the training images
too. Where images are many, their number makes the test sharp by itself, and a GAN for each split would be the cost.
"""

from __future__ import annotations

import itertools

import yaml

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.config.compare import CompareConfig
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.wording import format_count
from ganaug_ray.data import sources
from ganaug_ray.data.sources.raw import PART_IMAGES

MANY_IMAGES = 5_000
MANY_PARTS = MANY_IMAGES // PART_IMAGES
SPLITS, SEEDS = 5, 2
SEEDS_OF_ONE_SPLIT = 5


def plan_comparison(job: Job, run: Run) -> Job:
    """Return the job with its number of splits and seeds: its own, those the experiment has, or planned ones.

    Args:
        job: as it was loaded.
        run: the experiment's folder; what was planned for it before stands.

    Raises:
        UserError: there is no such source.
    """
    if not job.compared_arms or job.compare.model_fields_set & {"splits", "seeds"}:
        return job
    planned = _read_plan(run) or _choose_plan(job)
    return job.model_copy(update={"compare": job.compare.model_copy(update=planned)})


def _read_plan(run: Run) -> dict[str, int] | None:
    stored = read_stored_compare_config(run)
    if stored is None:
        return None
    seeds = stored.seeds
    if stored.looks > 1:  # seeds were added since: the plan is what it began with
        seeds = SEEDS if stored.splits == SPLITS else SEEDS_OF_ONE_SPLIT
    return {"splits": stored.splits, "seeds": seeds}


def read_stored_compare_config(run: Run) -> CompareConfig | None:
    """Read the section compare of the job.yaml in an experiment's folder; None of one that has not begun."""
    if not run.root.has_file("job.yaml"):
        return None
    return CompareConfig.model_validate(yaml.safe_load(run.root.read_bytes("job.yaml"))["compare"])


def _choose_plan(job: Job) -> dict[str, int]:
    splits = min(SPLITS, job.data.count_possible_splits())
    if splits < SPLITS or has_many_images(job):
        return {"splits": 1, "seeds": SEEDS_OF_ONE_SPLIT}
    return {"splits": splits, "seeds": SEEDS}


def has_many_images(job: Job) -> bool:
    """Say whether the source has more than about MANY_IMAGES images, without reading any.

    A part of a source has PART_IMAGES of them at most, and a tar archive, which cannot be listed, is a single part.
    """
    parts = sources.list_parts(job.data.source, job.data.label_from, job.data.columns)
    return sum(1 for _ in itertools.islice(parts, MANY_PARTS + 1)) > MANY_PARTS


def describe_plan(job: Job) -> str:
    """Say how often what is trained, and whether every image is tested."""
    splits, seeds = job.compare.splits, job.compare.seeds
    trainings = splits * len(arms.list_pairs(job))
    text = (
        f"{format_count(splits, 'split')} with {format_count(seeds, 'seed')}: {format_count(trainings, 'classifier')}"
    )
    if job.needs_gan:
        text += f", {format_count(splits, 'GAN')}"
    if splits * job.data.split.test >= 1 - 1e-9:
        text += "; every image is tested once"
    return text
