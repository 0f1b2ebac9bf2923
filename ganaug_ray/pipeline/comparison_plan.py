"""The plan of a comparison: how many splits and seeds, where the job leaves both open.

Where images are few, testing every one of them says more than training once more on the same split: five splits
without a common test image test five times as many images, and cover the chance of the GAN and of the training images
too. Where images are many, their number makes the test sharp by itself, and a GAN for each split would be the cost.
A job that says what the plan is for (AIMS) gets a rung of ``plan_ladder`` instead.
"""

from __future__ import annotations

from collections.abc import Callable

import yaml

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.config.compare import AIMS, CompareConfig
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.raw import PART_IMAGES
from ganaug_ray.errors import TooManySplits, UserError
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.plan_ladder import Plan, choose_rung, describe_missed_gain, describe_shortfall

MANY_IMAGES = 5_000
MANY_PARTS = MANY_IMAGES // PART_IMAGES
SPLITS = 5
SEEDS = 2
SEEDS_OF_FIRST_LOOK = 1  # where more are added until the answer is firm
SEEDS_OF_ONE_SPLIT = 5
SET_BY = {"budget_minutes": ", which --minutes sets"}  # the option of the command line, for messages


def plan_comparison(
    job: Job, run: Run, facts: JobFacts | None = None, notice: Callable[[str], None] = lambda text: None
) -> Job:
    """Return the job with its number of splits and seeds: its own, those the experiment has, or planned ones.

    Args:
        job: as it was loaded.
        run: the experiment's folder; what was planned for it before stands, as long as the job has the same aims.
        facts: of the job; absent: found out where the plan needs them.
        notice: called with sentences on a plan that is made now: what it waits for, how long it takes, and where it
            fails an aim.

    Raises:
        UserError: there is no such source, or the job gives splits or seeds and an aim that would choose them.
    """
    given_keys = sorted(job.compare.model_fields_set & {"splits", "seeds"})
    if given_keys:
        _refuse_aims(job.compare, given_keys)
    if given_keys or not job.compared_arms:
        return job
    plan = _read_plan(run, job.compare)
    if plan is not None:
        return plan.apply_to(job)
    facts = facts or JobFacts(job)
    has_budget = job.compare.budget_minutes is not None
    if has_budget:
        notice("reads the images and times some steps of each training, for compare.budget_minutes")
    planned = _choose_plan(job, facts, run).apply_to(job)
    if has_budget:
        notice(facts.estimate(planned).describe())
    if shortfall := describe_shortfall(planned, facts, run=run):
        notice(shortfall)
    return planned


def fit_plan_to_images(job: Job, facts: JobFacts, notice: Callable[[str], None] = lambda text: None) -> Job:
    """Return the job with as many splits as its images allow, where they were planned; the images are read.

    Args:
        job: with its plan.
        facts: of the job.
        notice: called with a sentence on a plan that is lowered.

    Raises:
        TooManySplits: the job itself asks for more splits than its images allow, or not even one can be made.
    """
    splits = job.compare.splits
    if splits == 1:
        return job
    from ganaug_ray.data.ingest.scan import refuse_many_splits

    try:
        refuse_many_splits(job.data.derive_fold(0, splits), facts.survey)
    except TooManySplits as error:
        if job.compare.planned_splits is None or not error.possible:
            raise
        return lower_plan(job, error, facts, notice)
    return job


def lower_plan(job: Job, cause: TooManySplits, facts: JobFacts, notice: Callable[[str], None]) -> Job:
    """Return the job with as many splits as its images allow, and say so, and which gain that no longer sees.

    Args:
        job: with a plan that has more of them.
        cause: says how many they allow, one at least.
        facts: of the job.
        notice: called with a sentence each.
    """
    plan = Plan(cause.possible, job.compare.seeds if cause.possible > 1 else SEEDS_OF_ONE_SPLIT)
    splits = format_count(plan.splits, "split")
    notice(f"{splits} with {format_count(plan.seeds, 'seed')} instead of {job.compare.splits} splits: {cause.reason}")
    lowered = plan.apply_to(job)
    if missed := describe_missed_gain(lowered, facts, name="this plan"):
        notice(missed)
    return lowered


def _refuse_aims(compare: CompareConfig, given_keys: list[str]) -> None:
    """Raise UserError if an aim would change nothing; a job.yaml has both, since its numbers come from the aim."""
    if compare.planned_seeds is not None:
        return
    for aim in AIMS:
        if getattr(compare, aim) is not None:
            names = " and ".join(f"compare.{name}" for name in given_keys)
            raise UserError(
                f"compare.{aim}{SET_BY.get(aim, '')}: it would choose the splits and seeds, but the job gives {names}; "
                "leave out one of the two"
            )


def _read_plan(run: Run, compare: CompareConfig) -> Plan | None:
    """Read what was planned for the experiment with the same aims, without what was added since."""
    stored = read_stored_compare_config(run)
    if stored is None or any(getattr(stored, aim) != getattr(compare, aim) for aim in AIMS):
        return None
    return Plan(stored.planned_splits or stored.splits, stored.planned_seeds or stored.seeds)


def read_stored_compare_config(run: Run) -> CompareConfig | None:
    """Read the section compare of the job.yaml in an experiment's folder; None of one that has not begun."""
    if not run.root.has_file("job.yaml"):
        return None
    return CompareConfig.model_validate(yaml.safe_load(run.root.read_bytes("job.yaml"))["compare"])


def _choose_plan(job: Job, facts: JobFacts, run: Run) -> Plan:
    if any(getattr(job.compare, aim) is not None for aim in AIMS):
        return choose_rung(job, facts, run)
    if job.data.count_possible_splits() < SPLITS or has_many_images(facts):
        return Plan(1, SEEDS_OF_ONE_SPLIT)
    return Plan(SPLITS, SEEDS if job.compare.looks == 1 else SEEDS_OF_FIRST_LOOK)


def has_many_images(facts: JobFacts) -> bool:
    """Say whether the source has more than about MANY_IMAGES images, without reading any.

    A part of a source has PART_IMAGES of them at most, and a tar archive, which cannot be listed, is a single part.
    """
    return len(facts.listing.parts) > MANY_PARTS


def describe_plan(job: Job) -> str:
    """Say how often what is trained, and whether every image is tested."""
    splits = job.compare.splits
    seeds = job.compare.seeds
    trainings = splits * len(arms.list_pairs(job))
    text = (
        f"{format_count(splits, 'split')} with {format_count(seeds, 'seed')}: {format_count(trainings, 'classifier')}"
    )
    if job.needs_gan:
        text += f", {format_count(splits * arms.count_gans(job), 'GAN')}"
    if splits * job.data.split.test >= 1 - 1e-9:
        text += "; every image is tested once"
    return text
