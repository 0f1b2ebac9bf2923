"""``ganaug search``: searches for settings of the GAN, the mix or the classifier, on validation images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ganaug_ray.config import Job, loader
from ganaug_ray.config.job_text import format_job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_count, format_time
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline import generator_check
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.search import pbt
from ganaug_ray.search.algorithms import ALGORITHMS
from ganaug_ray.search.search_plan import BASELINE_TRIAL, SearchPlan
from ganaug_ray.search.search_space import SECTION_BY_KIND, SearchKind, SearchSpace, load_space
from ganaug_ray.search.trial_log import Ledger, Trial

IDENTITY_FILE = "space.json"


@dataclass(frozen=True)
class BestJobFile:
    """The file that a search writes the best job to.

    Attributes:
        path: of the file.
        original: the file of the job that the search began with.
    """

    path: Path
    original: Path

    def write_job(self, plan: SearchPlan, record: Record) -> None:
        """Write the best job as a person would: with what the original gives, and what was found.

        Args:
            plan: of the search.
            record: of the finished search.
        """
        best = record["best"]
        job = loader.apply_settings(plan.job, best["settings"], str(self.path), only_given=True)
        remarks = [
            f"{self.original.name} with the best settings of `ganaug search {plan.space.kind}`, trial {best['trial']}.",
            "`ganaug explain gan.filters` explains a setting. A setting that is not here has its default.",
        ]
        reasons = dict.fromkeys(best["settings"], "found by the search")
        relative = loader.list_relative_job_paths(self.original)
        text = format_job(job, reasons, remarks, self.path.parent, relative)
        Folder.from_uri(self.path.parent).write_bytes(self.path.name, text.encode())


def check_kind(kind: str) -> None:
    """Raise UserError if there is no such kind of search."""
    if kind not in SECTION_BY_KIND:
        raise UserError(f"search {kind}: expected one of {', '.join(SECTION_BY_KIND)}")


def check_space(kind: str, space: Path, job: Job, write: Path | None) -> SearchSpace:
    """Read the search space, and raise an error if it cannot be searched or the result not be written.

    Raises:
        UserError: there is no such kind of search, the space does not suit the job, or the file to write is there.
    """
    check_kind(kind)
    if write is not None and write.exists():
        raise UserError(f"--write {write}: already exists; name another file")
    if kind == "mix" and job.augment.sources:
        named = " and ".join(f"augment.{key}" for key in ("images", "generator") if getattr(job.augment, key))
        raise UserError(f"search mix: mixes images of the GAN that the job trains; leave out {named}")
    checked = load_space(space, kind, job)  # type: ignore[arg-type]  # it is one of KINDS
    training = job.gan if kind == "gan" else job.classifier
    workers = job.search.workers
    if training.batch_size % workers:
        raise UserError(
            f"search.workers {workers}: a batch of {training.batch_size} is not divisible by it; "
            f"give {training.fit_workers(workers)}"
        )
    ALGORITHMS[job.search.algorithm].check_space(space, checked, job)
    return checked


def run_search(pipeline: Pipeline, space: SearchSpace, write: BestJobFile | None) -> None:
    """Prepare what the trials need, run them, and write search.json, a table, a page and the best job.

    Args:
        pipeline: of the job.
        space: what is searched.
        write: the file for the best job; None: none is written.

    Raises:
        UserError: the folder holds another search, or the cluster has no room for a trial.
        StageFailed: a stage before the search failed, or Tune itself.
    """
    plan = SearchPlan(pipeline.job, space, str(pipeline.run.root))
    _claim_folder(plan)
    ledger = Ledger.from_folder(plan.folder.create())
    max_trials = plan.max_trials
    if max_trials is None:
        complete = ledger.seconds >= _get_hours(plan) * 3600
    else:
        complete = not ledger.unfinished_trials and len(ledger.trials.keys() - {BASELINE_TRIAL}) >= max_trials
    if not complete or experiment_dir.read_marker(plan.folder, "search.json") is None:
        _run_trials(pipeline, plan, ledger, max_trials)
    record = experiment_dir.read_marker(plan.folder, "search.json")
    assert record is not None, "a search writes its record before it ends"
    status = "kept" if complete else "done"
    pipeline.terminal.print_stage_line("search", status, record["sentence"], record["seconds"])
    pipeline.terminal.print_stage_line("search", "note", f"{plan.folder}/search.html has all trials")
    if write is not None and (best := record["best"]):
        text = f"{write.path} has the job with these settings"
        if best["trial"] == record["baseline"]:
            text = (
                f"{write.path} was not written, as no mix did better than real images alone; "
                "--set augment.ratio=0 --set arms={} trains on those"
            )
        else:
            write.write_job(plan, record)
        pipeline.terminal.print_stage_line("search", "note", text)


def _run_trials(pipeline: Pipeline, plan: SearchPlan, ledger: Ledger, max_trials: int | None) -> None:
    from ganaug_ray.report import search_section
    from ganaug_ray.runtime import cluster
    from ganaug_ray.runtime.hardware import Hardware
    from ganaug_ray.search import result, tracking
    from ganaug_ray.search.tune_runner import plan_trials, run_trials

    kind = plan.space.kind
    nested = plan.job.search.workers > 1
    cpus = 1 + plan.job.search.workers if nested else 1

    def connect() -> Hardware:
        with pipeline.terminal.show_progress("search", lambda: (0.0, "starting Ray")):
            return cluster.connect(pipeline.job, pipeline.run.root, cpus, nested, pipeline.cpu_only)

    if nested:
        connect()  # before any stage does, which needs no dashboard
    _run_prerequisite_stages(pipeline, kind)
    need = plan_trials(plan, connect())
    at_once = min(need.at_once, max_trials + 1) if max_trials else need.at_once
    words = "until the time is over" if max_trials is None else format_count(max_trials, "trial")
    if plan.has_baseline:
        words += ", and one without synthetic images"
    pipeline.terminal.print_stage_line("search", "note", f"{words}, {at_once} at a time")

    def report_failure(trial: Trial) -> None:
        if trial.status == "failed":
            pipeline.terminal.print_stage_line("search", "note", f"trial {trial.trial} failed: {trial.reason}")

    name = f"{pipeline.run.root.name}: {kind}"
    trackers = tracking.build_trackers(
        plan.job.search.tracking,
        plan.folder / "tensorboard",
        name,
        lambda text: pipeline.terminal.print_stage_line("search", "note", text),
    )
    with pipeline.terminal.show_progress("search", lambda: _measure_progress(plan, ledger, max_trials)):
        run_trials(plan, ledger, max_trials, at_once, need, report_failure, trackers)
    trials = list(ledger.trials.values())
    if not ledger.unfinished_trials:
        pbt.delete_handovers(plan.folder / "trials")
    plan.folder.write_table("trials.parquet", result.build_table(trials))
    record: Record = result.build_record(plan, trials, plan.count_rows(), ledger.seconds, at_once)
    plan.folder.write_bytes("search.html", search_section.render_search_page(record).encode())
    plan.folder.write_json("search.json", record)


def _run_prerequisite_stages(pipeline: Pipeline, kind: SearchKind) -> None:
    """Run the stages that all trials need: the data, then by kind the teachers, the GAN or the initial weights.

    Raises StageFailed if the GAN that is to be mixed in copies training images, or is not usable.
    """
    from ganaug_ray.classify import initial_weights

    pipeline.prepare_data()
    pipeline.choose_augmentation()
    if kind == "gan":
        pipeline.train_teachers()
    if kind == "mix":
        from ganaug_ray.augment import synthetic_pools

        pipeline.train_gan()
        for split in pipeline.splits:
            gan = synthetic_pools.locate_gan(split.run)
            synthetic_pools.refuse_copies(split.job, gan, GanRecord.read(gan.folder))
        generator_check.refuse_unusable(pipeline.context, synthetic_pools.locate_gan(pipeline.run).folder.name)
    if kind == "classifier":
        for split in pipeline.splits:
            initial_weights.prepare_weights(split.job, split.run)


def _claim_folder(plan: SearchPlan) -> None:
    """Make the folder this search's own, or see that it is. Raises UserError: it is another's."""
    identity = {"fingerprint": plan.compute_fingerprint(), "space": plan.space.build_record()}
    if plan.folder.has_file(IDENTITY_FILE):
        stored = plan.folder.read_json(IDENTITY_FILE)
        if stored["fingerprint"] != identity["fingerprint"]:
            difference = "space" if stored["space"] != identity["space"] else "job"
            raise UserError(
                f"{plan.folder}: holds a search with another {difference}; give the same settings as then, another "
                "--out, or remove that folder"
            )
    plan.folder.create().write_json(IDENTITY_FILE, identity)


def _get_hours(plan: SearchPlan) -> float:
    assert plan.job.search.hours is not None, "the budget is in trials"
    return plan.job.search.hours


def _measure_progress(plan: SearchPlan, ledger: Ledger, max_trials: int | None) -> tuple[float, str]:
    ended = ledger.ended_trials
    values = []
    for trial in ended:
        best = trial.find_best(plan.direction)
        if best is not None and trial.status != "failed":
            values.append(best.value)
    best_words = ""
    if values:
        best_value = min(values) if plan.direction == "min" else max(values)
        best_words = f", best {plan.objective.replace('_', ' ')} {best_value:.4f}"
    if max_trials is None:
        words = f"{format_count(len(ended), 'trial')} ended{best_words}"
        share = min(1.0, ledger.seconds / (_get_hours(plan) * 3600))
    else:
        with_baseline = max_trials + 1 if plan.has_baseline else max_trials
        words = f"{len(ended)} of {format_count(with_baseline, 'trial')} ended{best_words}"
        share = min(1.0, len(ended) / with_baseline)
    if share > 0:
        words += f", about {format_time(ledger.seconds * (1 - share) / share)} left"
    return share, words
