"""The comparison at other numbers of training images a class: each is an experiment in a folder below this one."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.records import VerdictRecord
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.stage import StageContext

CURVE_MARKER = "sizes.json"


def list_experiments(job: Job, run: Run) -> dict[int, tuple[Job, Run]]:
    """Return number of training images a class -> (job, folder) of its experiment, the job's own included."""
    assert job.data.train_per_class is not None, "a job with sizes has one of its own"
    others = {n: (other, open_folder(run, n)) for n, other in derive_jobs(job).items()}
    return {job.data.train_per_class: (job, run), **others}


def derive_jobs(job: Job) -> dict[int, Job]:
    """Return number of training images a class -> job, for the numbers that are not the job's own."""
    compare = job.compare.model_copy(update={"sizes": []})
    jobs = {}
    for n in job.compare.sizes:
        data = job.data.model_copy(update={"train_per_class": n})
        jobs[n] = job.model_copy(update={"data": data, "compare": compare, "models": {}})
    return jobs


def open_folder(run: Run, n: int) -> Run:
    """Return the folder of the experiment with another number of training images a class."""
    return Run(run.root / "sizes" / str(n))


def collect_inputs(job: Job, run: Run) -> dict[str, str]:
    """Return the hashes of the finished verdicts, by number of training images a class."""
    hashes = {}
    for n, (_, experiment) in list_experiments(job, run).items():
        verdict = VerdictRecord.find(experiment.root)
        if verdict is not None:
            hashes[str(n)] = verdict.hash
    return hashes


def read_curve(job: Job, run: Run) -> Record | None:
    """Return the content of sizes.json if it was made from the current verdicts of all sizes, else None."""
    record = experiment_dir.read_marker(run.root, CURVE_MARKER)
    inputs = collect_inputs(job, run)
    is_complete = len(inputs) == len(list_experiments(job, run))
    if record is None or not is_complete or record["inputs"] != inputs:
        return None
    return record


def open_experiments(context: StageContext) -> Iterator[tuple[Job, Run]]:
    """Claim the folder of each experiment, and yield its job and folder; the job's own is among them.

    Raises:
        UserError: the job has no sizes.
    """
    if not context.job.compare.sizes:
        raise UserError(f"compare.sizes: the job has none; {_advise_sizes(context.job.data.train_per_class)}")
    for n, (job, run) in list_experiments(context.job, context.run).items():
        context.terminal.print_stage_line("sizes", "note", f"with {n} training images a class, in {run.root}")
        run.claim_folder(job, functools.partial(context.terminal.print_stage_line, "sizes", "note"))
        yield job, run


def _advise_sizes(per_class: int | None) -> str:
    """Say which sizes to give, for a job with this number of training images a class.

    >>> _advise_sizes(20)
    'give other numbers of training images a class than data.train_per_class, such as [10, 40]'
    """
    if per_class is None:
        return "give data.train_per_class, such as 50, and other numbers of training images a class, such as [20, 200]"
    sizes = [per_class // 2, per_class * 2] if per_class > 1 else [2, 4]
    return f"give other numbers of training images a class than data.train_per_class, such as {sizes}"


def write_learning_curve(context: StageContext) -> None:
    """Compute the learning curve from the verdicts of all sizes and write sizes.json, unless that is up to date.

    There is none where no arm was compared at any size, as all generators were not usable.
    """
    verdicts = {}
    for n, (_, run) in list_experiments(context.job, context.run).items():
        verdicts[n] = VerdictRecord.read(run.root)
    untried = [n for n, verdict in verdicts.items() if verdict.chosen is None]
    if untried:
        numbers = ", ".join(map(str, sorted(untried)))
        text = f"with {numbers} training images a class the generator is not usable, and its images are worth nothing"
        context.terminal.print_stage_line("sizes", "note", text)
    if len(untried) == len(verdicts):
        return

    def work() -> Record:
        from ganaug_ray.verdict.learning_curve import build_curve

        started = time.monotonic()
        made_from = collect_inputs(context.job, context.run)
        record = {"hash": experiment_dir.compute_fingerprint(made_from), "inputs": made_from, **build_curve(verdicts)}
        return experiment_dir.write_marker(context.run.root, CURVE_MARKER, "sizes", started, record)

    context.run_stage("sizes", read_curve(context.job, context.run), work, lambda record: record["sentence"])
