"""The plan of a comparison whose seeds are added in equal steps until its verdict is firm.

The verdict is looked at after each step. Looks are paid for in advance: ``compare.looks`` of them widen every interval
(``verdict.multiple_testing.compute_looks_factor``), whether all are taken or not.
"""

from __future__ import annotations

import math

from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.config.compare import MAX_SEEDS
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import ModelRecord
from ganaug_ray.core.wording import format_count, format_time
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.comparison_plan import read_stored_compare_config

LOOKS = 4
OPEN_VERDICTS = ("unclear", "not enough repeats")


def allow_looks(job: Job) -> Job:
    """Return the job with several looks at its verdict: its own number of them, or LOOKS.

    Raises:
        UserError: it has no arm that a verdict could be of.
    """
    if not arms.list_candidates(job):
        raise UserError("--until-clear: the job compares no arm that may ship, so there is no verdict to wait for")
    return job if job.compare.looks > 1 else _update_compare(job, looks=LOOKS)


def resume_seeds(job: Job, run: Run) -> Job:
    """Return the job with the number of seeds that its folder's job.yaml has, where that is larger."""
    stored = read_stored_compare_config(run)
    return _update_compare(job, seeds=max(job.compare.seeds, stored.seeds)) if stored else job


def advise_more_seeds(job: Job, run: Run, verdict: str | None) -> str | None:
    """Say which command adds seeds to a comparison that is over, and what it costs at most; None where none helps.

    Args:
        job: as it was compared, with one look.
        run: the experiment's folder; its models say what more of them take.
        verdict: in a word.
    """
    if verdict not in OPEN_VERDICTS or job.compare.looks > 1:
        return None
    more_looks = SequentialPlan(allow_looks(job)).looks - 1
    if more_looks == 0:
        return None
    seconds = _list_train_seconds(job, run)  # each look trains as many models of each arm again
    return (
        "`ganaug run JOB.yaml --until-clear` adds seeds until the answer is clear, with up to "
        f"{format_count(more_looks * len(seconds), 'more training')}, about {format_time(more_looks * sum(seconds))} "
        "of training in all; after this first look it wrongly says helped in up to 4.5 % of cases, instead of 2.5 %"
    )


def _list_train_seconds(job: Job, run: Run) -> list[float]:
    """List the seconds that each finished model of the comparison was trained for."""
    seconds = []
    for split in range(job.compare.splits):
        for arm, seed in arms.list_pairs(job):
            seconds.append(ModelRecord.read(run.locate_model(arm, seed, split)).train_seconds)
    return seconds


def _update_compare(job: Job, **settings: int) -> Job:
    return job.model_copy(update={"compare": job.compare.model_copy(update=settings)})


class SequentialPlan:
    """Says after each verdict whether seeds are added, and remembers how long verdicts took.

    Args:
        job: with the seeds that it began with.
        hours: that all verdicts together may take; None: no limit.
    """

    def __init__(self, job: Job, hours: float | None = None) -> None:
        self.step = job.compare.seeds
        self.looks = max(1, min(job.compare.looks, MAX_SEEDS // self.step))
        self.limit_s = math.inf if hours is None else 3600 * hours
        self.durations_s: list[float] = []

    def name_stage(self, job: Job) -> str:
        """Return the name on the terminal of the look that a job with so many seeds has."""
        return f"look {self._count_looks(job)} of {self.looks}"

    def choose_next(self, job: Job, verdict: str | None, duration_s: float) -> tuple[Job | None, str]:
        """Choose the job that goes on after a verdict, and say why in words.

        Args:
            job: the one that the verdict is of.
            verdict: in a word.
            duration_s: seconds that it took; the next one is supposed to take as long as the longest so far.

        Returns:
            The job with more seeds, or None where the comparison is over; and the words.
        """
        self.durations_s.append(duration_s)
        words = f"{verdict} with {format_count(job.compare.seeds, 'seed')}"
        if verdict not in OPEN_VERDICTS:
            return None, words
        if self._count_looks(job) >= self.looks:
            return None, f"{words}; this was the last look"
        left_s = self.limit_s - sum(self.durations_s)
        next_s = max(self.durations_s)
        if next_s > left_s:
            return None, (
                f"{words}; stops here: more seeds would take about {_format_hours(next_s)}, "
                f"and {_format_hours(max(0.0, left_s))} of {_format_hours(self.limit_s)} are left (--hours)"
            )
        seeds = min(job.compare.seeds + self.step, MAX_SEEDS)
        return _update_compare(job, seeds=seeds), f"{words}; goes on with {seeds}"

    def _count_looks(self, job: Job) -> int:
        """Count the looks that are taken once a job has its verdict."""
        return min(self.looks, math.ceil(job.compare.seeds / self.step))


def _format_hours(seconds: float) -> str:
    return f"{seconds / 3600:.2g} h"
