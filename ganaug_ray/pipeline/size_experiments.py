"""The comparison at other numbers of training images a class: each an experiment of its own below this one."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.stage import Context

MARKER = "sizes.json"


def points(job: Job, run: Run) -> dict[int, tuple[Job, Run]]:
    """Training images a class -> the job and the folder of that comparison; the job's own is among them."""
    assert job.data.train_per_class is not None, "a job with sizes has one of its own"
    found = {job.data.train_per_class: (job, run)}
    for n in job.compare.sizes:
        data = job.data.model_copy(update={"train_per_class": n})
        compare = job.compare.model_copy(update={"sizes": []})
        other = job.model_copy(update={"data": data, "compare": compare, "models": {}})
        found[n] = other, Run(run.root / "sizes" / str(n))
    return found


def inputs(job: Job, run: Run) -> dict[str, str]:
    """Hashes of the verdicts that are there."""
    done = {n: experiment_dir.done(place.root, "verdict.json") for n, (_, place) in points(job, run).items()}
    return {str(n): record["hash"] for n, record in done.items() if record}


def done(job: Job, run: Run) -> Record | None:
    """The marker of a curve through verdicts that still stand."""
    record = experiment_dir.done(run.root, MARKER)
    complete = len(inputs(job, run)) == len(points(job, run))
    return record if record and complete and record["inputs"] == inputs(job, run) else None


def open_points(context: Context) -> Iterator[tuple[Job, Run]]:
    """Name and claim the folder of each comparison, and yield its job and that folder; the job's own is among them.

    Raises:
        UserError: the job has no sizes.
    """
    if not context.job.compare.sizes:
        raise UserError("compare.sizes: the job has none; give numbers of training images a class, as [20, 50, 200]")
    for n, (job, run) in points(context.job, context.run).items():
        context.terminal.line("sizes", "note", f"with {n} training images a class, in {run.root}")
        run.claim(job)
        yield job, run


def draw_curve(context: Context) -> None:
    """The verdicts of all sizes -> sizes.json."""

    def work() -> Record:
        from ganaug_ray.verdict.learning_curve import build_curve

        started = time.monotonic()
        verdicts = {n: run.root.read_json("verdict.json") for n, (_, run) in points(context.job, context.run).items()}
        made_from = inputs(context.job, context.run)
        record = {"hash": experiment_dir.fingerprint(made_from), "inputs": made_from, **build_curve(verdicts)}
        return experiment_dir.commit(context.run.root, MARKER, "sizes", started, record)

    context.run_stage("sizes", done(context.job, context.run), work, lambda record: record["sentence"])
