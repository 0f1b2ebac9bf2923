"""``ganaug search``: settings of the GAN, of the mix or of the classifier, looked for on validation images."""

from __future__ import annotations

from pathlib import Path

from ganaug_ray.config import Job, loader
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.search import pbt
from ganaug_ray.search.algorithms import ALGORITHMS
from ganaug_ray.search.search_plan import BASELINE, Plan
from ganaug_ray.search.search_space import KINDS, Kind, Space, load
from ganaug_ray.search.trial_log import Ledger, Trial

IDENTITY = "space.json"


def check(kind: str, space: Path, job: Job, write: Path | None) -> Space:
    """Read the space, and refuse what could not be searched or written.

    Raises:
        UserError: there is no such kind of search, the space does not suit the job, or the file to write is there.
    """
    if kind not in KINDS:
        raise UserError(f"search {kind}: known are {', '.join(KINDS)}")
    if write is not None and write.exists():
        raise UserError(f"--write {write}: is there already; name a file that is not")
    checked = load(space, kind, job)  # type: ignore[arg-type]  # it is one of KINDS
    training = job.gan if kind == "gan" else job.classifier
    workers = job.search.workers
    if training.batch_size % workers:
        raise UserError(f"search.workers {workers}: a batch of {training.batch_size} is not divisible by it")
    ALGORITHMS[job.search.algorithm].check_space(space, checked, job)
    return checked


def search(pipeline: Pipeline, space: Space, write: Path | None) -> None:
    """Prepare what the trials need, search, and write search.json, the table and the page; then the best job.

    Raises:
        UserError: the folder holds another search, or the cluster has no room for a trial.
        StageFailed: a stage before the search failed, or Tune itself.
    """
    plan = Plan(pipeline.job, space, str(pipeline.run.root))
    _claim(plan)
    ledger = Ledger.open(plan.folder.make())
    most = _most(plan)
    if most is None:
        complete = ledger.seconds >= _hours(plan) * 3600
    else:
        complete = not ledger.unfinished and len(ledger.trials.keys() - {BASELINE}) >= most
    if not complete or experiment_dir.done(plan.folder, "search.json") is None:
        _search(pipeline, plan, ledger, most)
    record = experiment_dir.done(plan.folder, "search.json")
    assert record is not None, "it was just written"
    pipeline.terminal.line("search", "kept" if complete else "done", record["sentence"], record["seconds"])
    if write is not None and record["best"]:
        best = loader.with_settings(plan.job, record["best"]["settings"], str(write))
        write.write_text(loader.dump(best), encoding="utf-8")
        pipeline.terminal.line("search", "note", f"{write} has the job with these settings")


def _search(pipeline: Pipeline, plan: Plan, ledger: Ledger, most: int | None) -> None:
    import ray

    from ganaug_ray.report import search_section
    from ganaug_ray.runtime import cluster
    from ganaug_ray.search import result, tracking
    from ganaug_ray.search.tune_runner import Need, search

    kind = plan.space.kind
    nested = plan.job.search.workers > 1
    cpus = 1 + plan.job.search.workers if nested else 1

    def connect() -> None:
        cluster.connect(pipeline.job, pipeline.run.root, cpus, dashboard=nested)

    if nested:
        connect()  # before any stage does, which needs no dashboard
    _prepare(pipeline, kind)
    connect()
    need = Need.of(plan, cluster.has_gpus())
    resources = ray.cluster_resources()
    at_once = need.at_once(resources.get("CPU", 0), resources.get("GPU", 0))
    at_once = min(at_once, most + 1) if most else at_once
    words = "until the hours are over" if most is None else f"{most} trials"
    pipeline.terminal.line("search", "note", f"{words}, {at_once} at a time")

    def ended(trial: Trial) -> None:
        if trial.status == "failed":
            pipeline.terminal.line("search", "note", f"trial {trial.trial} failed: {trial.reason}")

    name = f"{pipeline.run.root.name}: {kind}"
    trackers = tracking.trackers(
        plan.job.search.tracking,
        plan.folder / "tensorboard",
        name,
        lambda text: pipeline.terminal.line("search", "note", text),
    )
    with pipeline.terminal.watching("search", lambda: _far(plan, ledger, most)):
        search(plan, ledger, most, at_once, need, ended, trackers)
    trials = list(ledger.trials.values())
    if not ledger.unfinished:
        pbt.clear(plan.folder / "trials")
    plan.folder.write_table("trials.parquet", result.table(trials))
    record: Record = result.record(plan, trials, plan.rows(), ledger.seconds, at_once)
    plan.folder.write("search.html", search_section.render_search_page(record).encode())
    plan.folder.write_json("search.json", record)


def _prepare(pipeline: Pipeline, kind: Kind) -> None:
    """What all trials have in common: the data, and what it takes to judge or to mix."""
    from ganaug_ray.classify import initial_weights

    pipeline.prepare()
    if kind == "gan":
        pipeline.teach()
    if kind == "mix":
        from ganaug_ray.augment import synthetic_pools

        pipeline.train_gan()
        for split in pipeline.splits:
            synthetic_pools.refuse_copies(split.job, synthetic_pools.find_gan(split.run).folder.read_json("gan.json"))
    if kind == "classifier":
        for split in pipeline.splits:
            initial_weights.prepare(split.job, split.run)


def _claim(plan: Plan) -> None:
    """Make the folder this search's own, or see that it is. Raises UserError: it is another's."""
    mine = {"fingerprint": plan.fingerprint(), "space": plan.space.record()}
    if plan.folder.has(IDENTITY):
        other = plan.folder.read_json(IDENTITY)
        if other["fingerprint"] != mine["fingerprint"]:
            what = "space" if other["space"] != mine["space"] else "job"
            raise UserError(
                f"{plan.folder}: holds a search with another {what}; give another --out, or remove that folder"
            )
    plan.folder.make().write_json(IDENTITY, mine)


def _most(plan: Plan) -> int | None:
    if plan.job.search.hours is not None:
        return None
    return plan.algorithm.count_trials(plan.job.search.trials, plan.space)


def _hours(plan: Plan) -> float:
    assert plan.job.search.hours is not None, "the budget is in trials"
    return plan.job.search.hours


def _far(plan: Plan, ledger: Ledger, most: int | None) -> tuple[float, str]:
    ended = ledger.ended
    values = []
    for trial in ended:
        best = trial.best(plan.direction)
        if best is not None and trial.status != "failed":
            values.append(best.value)
    words = f"{len(ended)} trials ended"
    if values:
        best_value = min(values) if plan.direction == "min" else max(values)
        words += f", best {plan.objective} {best_value:.4f}"
    if most is None:
        return min(1.0, ledger.seconds / (_hours(plan) * 3600)), words
    with_baseline = most + 1 if plan.space.kind == "mix" else most
    return min(1.0, len(ended) / with_baseline), f"{words} of {most}"
