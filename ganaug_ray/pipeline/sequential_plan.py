"""The plan of a comparison that goes on until its verdict is firm: with more seeds, then more splits, then more seeds.

The verdict is looked at after each step. Looks are paid for in advance: ``compare.looks`` of them widen every interval
(``verdict.multiple_testing.compute_looks_factor``), whether all are taken or not.
"""

from __future__ import annotations

import math
from functools import cached_property

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.config.compare import MAX_SEEDS
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.wording import format_count, format_time
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.comparison_plan import SPLITS, read_stored_compare_config
from ganaug_ray.pipeline.missing_trainings import MissingTrainings, count_missing
from ganaug_ray.pipeline.plan_ladder import Plan

LOOKS = 3  # simulated: with a fourth, answers cost more models on average than a plan without looks
LOOKS_AT_FIRST_SPLITS = 2
MIN_SPLITS = 3  # two have a single degree of freedom between them: an interval of 12.7 standard errors
OPEN_VERDICTS = ("unclear", "not enough repeats")


def plan_looks(start: Plan, looks: int, splits: int) -> list[Plan]:
    """Plan the numbers of splits and seeds of each look; each keeps all models of the one before.

    Seeds come first: they are the cheapest, as they need no other GAN, and settle what is settled easily. They cannot
    make the test images more, nor say what another GAN or other training images would give, so the third look goes to
    all splits at once, with as many seeds as the first has by then. Were splits added one by one, each look would
    be paid for in wider intervals, and the first of them have too few splits to say anything. From there on seeds
    are added again. Of two looks the second has more splits; where there cannot be MIN_SPLITS, or the comparison begins
    with as many as there can be, all looks add seeds. Two splits give no answer however many seeds they have: the
    second look has more of them, or there is no second.

    Args:
        start: of the first look.
        looks: the most there are; fewer where a look would have more than MAX_SEEDS seeds.
        splits: that can be made of the images, or fewer.

    >>> [(look.splits, look.seeds) for look in plan_looks(Plan(1, 3), looks=4, splits=5)]
    [(1, 3), (1, 6), (5, 6), (5, 12)]
    >>> [(look.splits, look.seeds) for look in plan_looks(Plan(5, 2), looks=4, splits=5)]
    [(5, 2), (5, 4), (5, 6), (5, 8)]
    >>> [(look.splits, look.seeds) for look in plan_looks(Plan(2, 3), looks=4, splits=5)]
    [(2, 3), (5, 3), (5, 6), (5, 9)]
    """
    has_two = 1 < start.splits < MIN_SPLITS
    if has_two and splits < MIN_SPLITS:
        return [start]
    if start.splits >= splits or splits < MIN_SPLITS:
        plans = [Plan(start.splits, look * start.seeds) for look in range(1, looks + 1)]
    else:
        before = 1 if has_two else max(1, min(LOOKS_AT_FIRST_SPLITS, looks - 1, MAX_SEEDS // start.seeds))
        plans = [Plan(start.splits, look * start.seeds) for look in range(1, before + 1)]
        plans += [Plan(splits, look * before * start.seeds) for look in range(1, looks - before + 1)]
    return [plan for plan in plans if plan.seeds <= MAX_SEEDS]


def list_looks(job: Job, run: Run) -> list[Plan]:
    """List the looks of a job, as ``plan_looks`` says, by what its images allow.

    Args:
        job: with the splits and seeds that it begins with.
        run: the experiment's folder; where its data set is finished, its classes may be too small for some splits.

    Returns:
        The looks that begin with what the job says it began with, where its own splits and seeds are one of them. Else
        they begin with its own: those were given since.
    """
    compare = job.compare  # of a stored job, splits and seeds are those that it has come to
    requested = Plan(compare.splits, compare.seeds)
    splits = _count_splits(job, run)
    start = Plan(compare.planned_splits or requested.splits, compare.planned_seeds or requested.seeds)
    planned = plan_looks(start, compare.looks, splits)
    return planned if requested in planned else plan_looks(requested, compare.looks, splits)


def _count_splits(job: Job, run: Run) -> int:
    """Count the splits that a comparison can go on with, SPLITS at most or those that it has."""
    present = job.compare.splits
    possible = max(present, min(SPLITS, job.data.count_possible_splits()))
    if possible == present or DatasetRecord.find(run.dataset) is None:
        return possible
    from ganaug_ray.data.ingest.added_splits import find_obstacle

    for splits in range(possible, max(present, MIN_SPLITS - 1), -1):
        if find_obstacle(run.dataset, job.data, splits) is None:
            return splits
    return present


def explain_no_splits(job: Job, run: Run) -> str:
    """Say in a clause why a comparison that adds seeds alone cannot have more splits, and what would change that.

    Args:
        job: with the splits that it has.
        run: the experiment's folder; its classes and near-duplicates may be the reason.
    """
    splits = job.compare.splits
    if splits >= SPLITS:
        return f"no more than {SPLITS} splits are added"
    if job.data.extends:
        return "data.extends keeps images where they were, so there is one split"
    if job.data.split.given:
        return (
            "data.split is given, so there is one split; data.split.given=false with another --out splits the images "
            "anew"
        )
    possible = job.data.count_possible_splits()
    if possible < MIN_SPLITS or possible <= splits:
        too_few = f", and at least {MIN_SPLITS} are needed to tell more" if possible < MIN_SPLITS else ""
        return (
            f"data.split.test {job.data.split.test:g} leaves room for {format_count(possible, 'split')}{too_few}; "
            f"{1 / SPLITS:g} with another --out leaves room for {SPLITS}"
        )
    obstacle = None
    if DatasetRecord.find(run.dataset) is not None:
        from ganaug_ray.data.ingest.added_splits import find_obstacle

        obstacle = find_obstacle(run.dataset, job.data, max(MIN_SPLITS, splits + 1))
    return obstacle or f"compare.looks {job.compare.looks} leaves no look for more splits"


def allow_looks(job: Job) -> Job:
    """Return the job with several looks at its verdict: its own number of them, or LOOKS.

    Raises:
        UserError: it has no arm that a verdict could be of; or two splits, which give no answer, and room for no third.
    """
    if not arms.list_candidates(job):
        raise UserError("--until-clear: the job compares no arm that may ship, so there is no verdict to wait for")
    if _stays_at_two_splits(job):
        raise UserError(
            "--until-clear: two splits give no answer, however many seeds they have; give compare.splits=1, or another "
            f"--out with data.split.test={1 / SPLITS:g} and compare.splits={SPLITS}"
        )
    return job if job.compare.looks > 1 else _update_compare(job, looks=LOOKS)


def _stays_at_two_splits(job: Job) -> bool:
    return 1 < job.compare.splits < MIN_SPLITS and job.data.count_possible_splits() < MIN_SPLITS


def resume_look(job: Job, run: Run) -> Job:
    """Return the job with the splits and seeds of the look that its folder's job.yaml has come to; the first, of none.

    It is the first look with at least as many of both, or the last of all.
    """
    stored = read_stored_compare_config(run)
    if stored is None:
        return job
    looks = list_looks(job, run)
    later_looks = [look for look in looks if look.splits >= stored.splits and look.seeds >= stored.seeds]
    return _apply_look(job, (later_looks or looks[-1:])[0], looks[0])


def advise_until_clear(job: Job, run: Run, verdict: str | None, arguments: str) -> str | None:
    """Say which command goes on with a comparison that is over, and what it costs at most; None where none helps.

    Args:
        job: as it was compared, with one look.
        run: the experiment's folder; its models say what more of them take.
        verdict: in a word.
        arguments: of the command line that name the job and its folder.
    """
    if verdict not in OPEN_VERDICTS or job.compare.looks > 1 or _stays_at_two_splits(job):
        return None
    if not arms.list_candidates(job):  # they were taken out after that verdict
        return None
    looks = list_looks(allow_looks(job), run)
    if len(looks) == 1:
        return None
    missing = count_missing(_apply_look(job, looks[-1], looks[0]), run)
    if not (missing.classifiers or missing.gans):  # all looks were taken before
        return None
    repeats = "seeds, then splits,"
    if looks[-1].splits == job.compare.splits:
        repeats = f"seeds ({explain_no_splits(job, run)})"
    return (
        f"`ganaug run {arguments} --until-clear` adds {repeats} until the answer is clear. That is up to "
        f"{missing.describe()}, about {format_time(missing.sum_seconds(run))} of training in all. "
        "Adding repeats after an answer has a price: useless images are then called helpful in up to 3.2 % of cases, "
        "not in up to 2.5 %"
    )


def _apply_look(job: Job, look: Plan, first: Plan) -> Job:
    """Return the job with the splits and seeds of a look.

    A later look keeps those of the first, so that its job.yaml goes on with the same looks.
    """
    begun = {} if look == first else {"planned_splits": first.splits, "planned_seeds": first.seeds}
    return _update_compare(job, splits=look.splits, seeds=look.seeds, **begun)


def _update_compare(job: Job, **settings: int) -> Job:
    return job.model_copy(update={"compare": job.compare.model_copy(update=settings)})


def describe_repeats(job: Job) -> str:
    """Say how many splits and seeds a job has; of one split the seeds alone."""
    seeds = format_count(job.compare.seeds, "seed")
    return seeds if job.compare.splits == 1 else f"{job.compare.splits} splits with {seeds}"


class SequentialPlan:
    """Says after each verdict what the next look adds, and remembers how long looks took.

    Args:
        job: with the splits and seeds that it began with.
        run: the experiment's folder.
        hours: that all looks together may take; None: no limit.
    """

    def __init__(self, job: Job, run: Run, hours: float | None = None) -> None:
        self._job = job
        self._run = run
        self._limit_s = math.inf if hours is None else 3600 * hours
        self._spent_s = 0.0
        self._trained_s = 0.0

    @cached_property
    def looks(self) -> list[Plan]:
        """All looks; asked for once the data set is finished, which says how many splits there can be."""
        return list_looks(self._job, self._run)

    def name_stage(self, job: Job) -> str:
        """Return the name on the terminal of the look that a job has."""
        return f"look {self._count_looks(job)} of {len(self.looks)}"

    def choose_next(
        self, job: Job, verdict: str | None, duration_s: float, trained: MissingTrainings
    ) -> tuple[Job | None, str]:
        """Choose the job that goes on after a verdict, and say why in words.

        Args:
            job: the one that the verdict is of.
            verdict: in a word.
            duration_s: seconds that the look took. The next one is supposed to take as long for each second of its
                trainings as all looks so far together; data, images and predictions are in it.
            trained: what was missing before the look.

        Returns:
            The job of the next look, or None where the comparison is over; and the words.
        """
        self._spent_s += duration_s
        self._trained_s += trained.sum_seconds(self._run)
        words = f"{verdict or 'no arm is left to compare'} with {describe_repeats(job)}"
        if verdict not in OPEN_VERDICTS:
            return None, words
        looks_done = self._count_looks(job)
        if looks_done == len(self.looks):
            words += "; this was the last look"
            if self.looks[-1].splits == self.looks[0].splits:
                added = "only seeds were added" if len(self.looks) > 1 else "no splits can be added"
                words += f" ({added}: {explain_no_splits(job, self._run)})"
            return None, words
        following = _apply_look(job, self.looks[looks_done], self.looks[0])
        left_s = self._limit_s - self._spent_s
        pace = self._spent_s / self._trained_s if self._trained_s else 1.0
        next_s = count_missing(following, self._run).sum_seconds(self._run) * pace
        if next_s > left_s:
            return None, (
                f"{words}; stops here: {describe_repeats(following)} would take about {_format_hours(next_s)} more, "
                f"and {_format_hours(max(0.0, left_s))} of {_format_hours(self._limit_s)} are left (--hours)"
            )
        return following, f"{words}; continues with {describe_repeats(following)}"

    def _count_looks(self, job: Job) -> int:
        """Count the looks that are taken once a job has its verdict."""
        return self.looks.index(Plan(job.compare.splits, job.compare.seeds)) + 1


def _format_hours(seconds: float) -> str:
    return f"{seconds / 3600:.2g} h"
