"""The job of a user who has images and some minutes: its settings follow from the images, the machine and the time.

What is wanted is, first of all, an answer that can be believed: every image tested once, by five splits with a GAN
each. Within the minutes the images are then as large, and the trainings as long, as they can be with that; and if even
small images and short trainings leave no time for it, there is one split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ganaug_ray.config import Job
from ganaug_ray.config.augment import Kind
from ganaug_ray.core.wording import format_count, format_time
from ganaug_ray.pipeline.comparison_plan import SEEDS, SEEDS_OF_FIRST_LOOK, SEEDS_OF_ONE_SPLIT, SPLITS, has_many_images
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.plan_ladder import LADDER, Plan, choose_rung
from ganaug_ray.pipeline.step_timer import StepTimer

DEFAULT_MINUTES = 30.0
SIZES = (128, 64, 32)  # pixels
CONTROL: Kind = "oversample"
RATIO = 0.5  # synthetic images for each real one in a batch
AREA_FACTOR = 3.0  # least times as long that a step takes at twice the side


@dataclass(frozen=True)
class Lengths:
    """How long trainings are, and how wide the GAN.

    Attributes:
        filters: of the GAN.
        gan_steps: a thousand of 64 images are the least that gave good samples of any data set tried.
        cas_steps: of the classifier behind the GAN's accuracy score.
        classifier_steps: of every classifier.
        least_passes: over the training images, that a classifier makes in any case.
    """

    filters: int
    gan_steps: int
    cas_steps: int
    classifier_steps: int
    least_passes: int

    def adapt(self, rows: int) -> Lengths:
        """Return the lengths for a number of rows: few images are not repeated endlessly, of many none is left out."""
        gan_steps = max(LEAST.gan_steps, MOST_GAN_PASSES * rows // BATCH)
        longest = max(LEAST.classifier_steps, MOST_PASSES * rows // BATCH)
        steps = max(min(self.classifier_steps, longest), math.ceil(self.least_passes * rows / BATCH))
        return replace(self, gan_steps=min(self.gan_steps, gan_steps), classifier_steps=steps)


BATCH = 64  # rows of a batch by default
MOST_PASSES = 600
MOST_GAN_PASSES = 2000
FULL = Lengths(32, 4000, 300, 1500, 20)
MEDIUM = Lengths(32, 2000, 200, 800, 10)
SHORT = Lengths(16, 1000, 100, 400, 5)
LEAST = Lengths(16, 1000, 60, 200, 2)


@dataclass(frozen=True)
class DefaultJob:
    """A job that was made up for a source.

    Attributes:
        job: with its plan.
        facts: of the job.
        reasons: dotted key of a setting that was chosen -> why, in a sentence.
    """

    job: Job
    facts: JobFacts
    reasons: Mapping[str, str]


def choose_default_job(
    base: Job, minutes: float, tell: Callable[[str], None] = lambda words: None, timer: StepTimer | None = None
) -> DefaultJob:
    """Choose the settings that a job leaves open so that the whole run takes this machine the minutes or less.

    Args:
        base: a job of its source and what else the user gives; that is not changed.
        minutes: for all stages together.
        tell: called with what is being done, in words.
        timer: of steps; absent: one that times them anew.

    Raises:
        UserError: the source cannot be prepared.
    """
    tell("reading the images")
    choice = _DefaultChoice(base, minutes, tell, timer)
    size, lengths, plan = choice.choose()
    return choice.build(size, lengths, plan)


class _DefaultChoice:
    """The choice of sizes and lengths for a job, and the facts that it rests on."""

    def __init__(self, base: Job, minutes: float, tell: Callable[[str], None], timer: StepTimer | None) -> None:
        self._base = base
        self._limit_s = 60 * minutes
        self._tell = tell
        self._facts = JobFacts(base, timer=timer)
        self._timed: dict[tuple[int, int], JobFacts] = {}
        self._native_side = _measure_side(self._facts)

    @cached_property
    def _sizes(self) -> tuple[int, ...]:
        """The sides that the stored images may have, the largest first."""
        if "image_size" in self._base.data.model_fields_set:
            return (self._base.data.image_size,)
        return tuple(size for size in SIZES if size <= self._native_side) or SIZES[-1:]

    @cached_property
    def _goal(self) -> Plan | None:
        """The plan that is wanted at least; None where the user gives one, or compares nothing."""
        base = self._base
        if {"splits", "seeds"} & base.compare.model_fields_set or not self._apply(SIZES[-1], LEAST).compared_arms:
            return None
        if base.data.count_possible_splits() < SPLITS or has_many_images(self._facts):
            return Plan(1, SEEDS_OF_ONE_SPLIT)
        return Plan(SPLITS, 1)

    @property
    def _usual_plan(self) -> Plan:
        """The plan of such images where nobody gives minutes."""
        is_split = self._goal is not None and self._goal.splits > 1
        seeds = SEEDS if self._base.compare.looks == 1 else SEEDS_OF_FIRST_LOOK
        return Plan(SPLITS, seeds) if is_split else Plan(1, SEEDS_OF_ONE_SPLIT)

    def choose(self) -> tuple[int, Lengths, Plan | None]:
        """Return the side, the lengths and the least plan: the best that the minutes allow."""
        for size, lengths in self._list_options():
            if self._fits(size, lengths, self._goal):
                return size, lengths, self._goal
        size = self._sizes[-1]
        least = LADDER[0] if self._goal else None
        for lengths in (FULL, MEDIUM, SHORT, LEAST):
            if self._fits(size, lengths, least):
                return size, lengths, least
        return size, LEAST, least

    def _list_options(self) -> Iterator[tuple[int, Lengths]]:
        """Yield sides and lengths, the best first: images get larger only where trainings stay long enough."""
        for size in self._sizes[:-1]:
            yield from [(size, FULL), (size, MEDIUM)]
        yield from [(self._sizes[-1], lengths) for lengths in (FULL, MEDIUM, SHORT, LEAST)]

    def _fits(self, size: int, lengths: Lengths, plan: Plan | None) -> bool:
        return self.estimate(size, lengths, plan) <= self._limit_s

    def estimate(self, size: int, lengths: Lengths, plan: Plan | None) -> float:
        """Return the seconds that a run takes; where smaller images show that it is too long, at least these."""
        smallest = self._sizes[-1]
        if size > smallest:
            doublings = np.log2(size / smallest)
            at_least_s = AREA_FACTOR**doublings * self._sum_trainings(smallest, lengths, plan)
            if at_least_s > self._limit_s:
                return at_least_s
        job = self._apply(size, lengths, plan)
        return self._get_facts(job).estimate(job).total_s

    def _sum_trainings(self, size: int, lengths: Lengths, plan: Plan | None) -> float:
        job = self._apply(size, lengths, plan)
        stages = self._get_facts(job).estimate(job).stages
        return sum(stage.seconds for stage in stages if stage.name in ("teach", "train-gan", "train"))

    def _get_facts(self, job: Job) -> JobFacts:
        """Return the facts of a job; steps are timed once for each size of its images and width of its GAN."""
        key = job.data.image_size, job.gan.filters
        if key not in self._timed:
            self._tell(f"timing some steps of each training at {key[0]} pixels")
            self._timed[key] = JobFacts(job, self._facts)
        return JobFacts(job, self._timed[key])

    def _apply(self, size: int, lengths: Lengths, plan: Plan | None = None) -> Job:
        """Return the job with settings for what the user leaves open."""
        content = self._base.model_dump(exclude_unset=True)
        for key, value in self._list_settings(size, lengths).items():
            section, _, name = key.partition(".")
            section_content = content.setdefault(section, {})
            if name == "steps" and "epochs" in section_content:
                continue
            section_content.setdefault(name, value)
        job = Job.model_validate(content)
        return plan.apply_to(job) if plan else job

    def _list_settings(self, size: int, lengths: Lengths) -> dict[str, Any]:
        lengths = lengths.adapt(self._facts.images.count("train"))
        settings = {
            "data.image_size": size,
            "gan.steps": lengths.gan_steps,
            "gan.filters": lengths.filters,
            "gan.snapshot_every": min(500, lengths.gan_steps // 4),
            "gan.cas_steps": lengths.cas_steps,
            "gan.workers": "auto",
            "augment.ratio": RATIO,
            "classifier.steps": lengths.classifier_steps,
        }
        return settings if not self._base.arms else {key: settings[key] for key in settings if key != "augment.ratio"}

    def build(self, size: int, lengths: Lengths, plan: Plan | None) -> DefaultJob:
        """Return the job with the sharpest plan that the minutes allow, and the reasons of its settings."""
        job = self._apply(size, lengths)
        if plan is not None:
            compare = job.compare.model_copy(update={"budget_minutes": self._limit_s / 60})
            job = job.model_copy(update={"compare": compare})
        facts = self._get_facts(job)
        facts.step_time  # noqa: B018  # timed by now, or timed here
        job = self._plan(job, facts) if plan is not None else job
        return DefaultJob(job, facts, self._explain(job, size, plan))

    def _plan(self, job: Job, facts: JobFacts) -> Job:
        """Return the job with the sharpest plan, and with a control if that costs no seeds but those beyond the usual.

        Rows of synthetic images make batches larger; without the control, what that does by itself stays unknown.
        """
        if not self._base.arms and CONTROL not in job.augment.sources:
            content = job.model_dump(exclude_unset=True)
            arms = {name: {"kind": arm.kind, "source": arm.source} for name, arm in job.compared_arms.items()}
            content["arms"] = arms | {CONTROL: {}}
            controlled = Job.model_validate(content)
            plan = choose_rung(controlled, facts)
            if plan >= self._usual_plan:
                return plan.apply_to(controlled)
        return choose_rung(job, facts).apply_to(job)

    def _explain(self, job: Job, size: int, plan: Plan | None) -> dict[str, str]:
        base = self._base
        rows = self._facts.images.count("train")
        reasons = {}
        if "image_size" not in base.data.model_fields_set:
            reasons["data.image_size"] = self._explain_size(size, plan)
        if not {"steps", "epochs"} & base.gan.model_fields_set and job.needs_gan:
            seen = job.gan.batch_size * job.gan.count_steps(rows)
            reasons["gan.steps"] = (
                f"{job.gan.steps:,} steps see {seen:,} images, each of yours {format_count(seen / rows, 'time')}"
            )
        if not {"steps", "epochs"} & base.classifier.model_fields_set:
            passes = job.classifier.batch_size * job.classifier.count_steps(rows) // rows
            passes_in_words = format_count(passes, "pass", "passes")
            reasons["classifier.steps"] = f"{job.classifier.steps:,} steps are {passes_in_words} over your images"
        if CONTROL in job.arms and not base.arms:
            reasons[f"arms.{CONTROL}"] = (
                "repeated real images in place of synthetic ones: what a larger batch does by itself"
            )
        return reasons

    def _explain_size(self, size: int, plan: Plan | None) -> str:
        larger = [other for other in self._sizes if other > size]
        if not larger:
            return f"{size} pixels a side; yours have {self._native_side}"
        longer_s = self.estimate(larger[-1], MEDIUM, plan)
        minutes = format_count(self._limit_s / 60, "minute")
        longer = format_time(longer_s)
        return f"{size} pixels a side; {larger[-1]} would take {longer} or more, and the run is planned for {minutes}"


def _measure_side(facts: JobFacts) -> int:
    """Return the median of the images' shorter sides, in pixels."""
    images = facts.survey.usable
    return int(np.median(np.minimum(images["width"].to_numpy(), images["height"].to_numpy())))
