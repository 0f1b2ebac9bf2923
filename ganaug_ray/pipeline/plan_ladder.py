"""Plans from the cheapest to the sharpest, for a job that says what gain it wants to see or how many minutes it has.

Each rung of a ladder trains at least as many classifiers and GANs as the one before, so it costs more whatever a GAN
costs; and it can see a smaller gain. Where five splits without a common test image are not possible, there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.core.wording import exceeds_budget, format_count, format_time
from ganaug_ray.errors import UserError
from ganaug_ray.gan.training_budget import find_needed_steps
from ganaug_ray.pipeline.job_facts import JobFacts

if TYPE_CHECKING:
    from ganaug_ray.core.experiment_dir import Run


@dataclass(frozen=True, order=True)
class Plan:
    """The numbers of splits and of seeds a split; one is more than another on a ladder where it is above it."""

    splits: int
    seeds: int

    def apply_to(self, job: Job) -> Job:
        """Return the job with these numbers, marked as planned."""
        planned = {"splits": self.splits, "seeds": self.seeds}
        planned |= {"planned_splits": self.splits, "planned_seeds": self.seeds}
        return job.model_copy(update={"compare": job.compare.model_copy(update=planned)})


LADDER = (Plan(1, 3), Plan(1, 5), Plan(5, 1), Plan(5, 2), Plan(5, 4), Plan(5, 8))
MOST_AT_FIRST = (Plan(5, 1), Plan(1, 5))  # of plans that are added to until the answer is firm
LADDER_OF_ONE_SPLIT = (Plan(1, 3), Plan(1, 5), Plan(1, 10), Plan(1, 20))


def choose_rung(job: Job, facts: JobFacts, run: Run | None = None) -> Plan:
    """Return the cheapest plan that sees the gain that the job wants to see, or else the sharpest it has time for.

    Where the verdict is looked at several times, this is the plan of the first look: in the time, a small one.

    Args:
        job: with compare.visible_gain, compare.budget_minutes or both.
        facts: of the job.
        run: the experiment; absent: it is taken for the first one on its images.
    """
    plans = _list_rungs(job)
    if job.compare.looks > 1 and job.compare.visible_gain is None:
        plans = plans[: 1 + next(plans.index(plan) for plan in MOST_AT_FIRST if plan in plans)]
    affordable = [plan for plan in plans if not _exceeds_budget(plan.apply_to(job), facts)] or [plans[0]]
    if job.compare.visible_gain is not None:
        for plan in affordable:
            if not _misses_gain(plan.apply_to(job), facts, run):
                return plan
    return affordable[-1]


def describe_shortfall(job: Job, facts: JobFacts, gain: float | None = None, run: Run | None = None) -> str | None:
    """Say what a job wanted of its plan and does not get; None where it gets all that it wanted.

    Args:
        job: with a plan.
        facts: of the job.
        gain: that the plan sees, where more is known than the listing of the source says.
        run: as for ``choose_rung``.
    """
    compare = job.compare
    shortfalls = []
    if compare.budget_minutes is not None and exceeds_budget(
        time_s := facts.estimate(job).total_s, compare.budget_minutes
    ):
        is_smallest = Plan(compare.splits, compare.seeds) == LADDER[0]
        name = "even the smallest plan, three trainings of each arm," if is_smallest else "this plan"
        duration = format_time(time_s)
        remedy = _advise_shorter_trainings(job, facts)
        minutes = format_count(f"{compare.budget_minutes:g}", "minute")
        shortfalls.append(f"{minutes} (compare.budget_minutes): {name} takes about {duration}{remedy}")
    if missed := describe_missed_gain(job, facts, gain, "it" if shortfalls else "", run):
        shortfalls.append(missed)
    return "; ".join(shortfalls) or None


def describe_missed_gain(
    job: Job, facts: JobFacts, gain: float | None = None, name: str = "", run: Run | None = None
) -> str | None:
    """Say that the plan of a job does not see the gain that it wants to see; None where it does, or wants none.

    No step is timed for it.

    Args:
        job: with a plan.
        facts: of the job.
        gain: as for ``describe_shortfall``.
        name: of the plan in the sentence; absent: what it is of those that the job might have had.
        run: as for ``choose_rung``.
    """
    target = job.compare.visible_gain
    if target is None:
        return None
    gain = gain or _predict_gain(job, facts, run)
    if gain <= target:
        return None
    points = f"{100 * gain:.1f} points of accuracy"
    return f"compare.visible_gain {target:g}: {name or _name_plan(job, facts, run)} sees no gain below {points}"


def _name_plan(job: Job, facts: JobFacts, run: Run | None) -> str:
    """Name a plan that fails to see a gain: it is the sharpest, unless there are fewer splits than were planned."""
    has_budget = job.compare.budget_minutes is not None
    possible = _list_rungs(job) if has_budget else _list_rungs(job)[-1:]
    if Plan(job.compare.splits, job.compare.seeds) not in possible or not _misses_gain(job, facts, run):
        return "this plan"
    return "even the sharpest plan" + (" within compare.budget_minutes" if has_budget else "")


def _list_rungs(job: Job) -> tuple[Plan, ...]:
    """List the plans that a job may get, from the cheapest to the sharpest."""
    return LADDER if job.data.count_possible_splits() >= LADDER[-1].splits else LADDER_OF_ONE_SPLIT


def _exceeds_budget(job: Job, facts: JobFacts) -> bool:
    budget = job.compare.budget_minutes
    return budget is not None and facts.estimate(job).total_s > 60 * budget


def _advise_shorter_trainings(job: Job, facts: JobFacts) -> str:
    """Say with how many steps a job would be within its minutes; nothing where a tenth of them is too many.

    A GAN that would have fewer steps than any that was measured to work is not shortened.
    """
    assert job.compare.budget_minutes is not None
    needed_steps = find_needed_steps(job.gan, job.gan_image_size) if job.needs_gan else None
    for tenths in range(9, 0, -1):
        if facts.estimate(job, share_of_steps=tenths / 10).total_s <= 60 * job.compare.budget_minutes:
            rows = facts.images.count("train")
            gan_steps = job.gan.count_steps(rows)
            if needed_steps is not None and gan_steps * tenths // 10 < needed_steps <= gan_steps:
                return f"; allow that time: the GANs that we measured needed {needed_steps:,} steps or more"
            trainings = {"classifier": job.classifier} | ({"gan": job.gan} if job.needs_gan else {})
            settings = [
                f"--set {name}.steps={max(1, training.count_steps(rows) * tenths // 10)}"
                for name, training in trainings.items()
            ]
            return f"; {' '.join(settings)} would fit"
    return ""


def _misses_gain(job: Job, facts: JobFacts, run: Run | None) -> bool:
    target = job.compare.visible_gain
    return target is not None and _predict_gain(job, facts, run) > target


def _predict_gain(job: Job, facts: JobFacts, run: Run | None) -> float:
    from ganaug_ray.verdict.visible_gain import predict_visible_gain  # it imports scipy

    splits = job.compare.splits
    candidates, looks = _count_looks(job, facts, run)
    gain = predict_visible_gain(facts.count_tested(splits), splits, job.compare.seeds, looks=looks, arms=candidates)
    assert gain is not None, "every plan has three trainings of each arm"
    return gain


def _count_looks(job: Job, facts: JobFacts, run: Run | None) -> tuple[int, int]:
    """Return the candidates and looks that the interval has to allow for; earlier ones have the images read."""
    own = len(arms.list_candidates(job)), job.compare.looks
    if run is None or not own[0]:
        return own
    from ganaug_ray.verdict import comparison_books, from_experiment

    if not comparison_books.has_looks(run):
        return own
    try:
        return from_experiment.count_looks(job, run, facts.survey)
    except UserError:  # what is wrong with the images, the stage that prepares them says
        return own
