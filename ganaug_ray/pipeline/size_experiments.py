"""The comparison at other numbers of training images a class: each an experiment of its own below this one."""

from __future__ import annotations

from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record, Run

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
