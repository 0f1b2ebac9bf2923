"""Runs a trial, in whatever process it is called: no Ray in here. A trial that is called again goes on.

Its folder has ``trial.json`` when there is nothing more to do: it came to its end, or failed for a reason of its own.
"""

from __future__ import annotations

import functools
import logging
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ganaug_ray.augment import arm_batches, arms, synthetic_pools
from ganaug_ray.classify import train_worker as classify
from ganaug_ray.config import ArmConfig, Job, MixConfig
from ganaug_ray.core import metrics_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord, ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.gan import early_stopping
from ganaug_ray.gan.metrics import kid_fid_prdc
from ganaug_ray.gan.train_worker import train_rank as train_gan
from ganaug_ray.gan.training_spec import GanTraining
from ganaug_ray.search import pbt
from ganaug_ray.search.pbt import LrSchedule, Member
from ganaug_ray.search.search_plan import SearchPlan, compute_cautious_mean
from ganaug_ray.search.search_space import Settings
from ganaug_ray.search.trial_log import IntermediateResult, Status
from ganaug_ray.verdict.outcomes import score_on_validation

TRIAL_MARKER = "trial.json"
SEARCHED_ARM = "searched"

logger = logging.getLogger(__name__)

ReportResult = Callable[[IntermediateResult], None]


@dataclass(frozen=True)
class TrialRunner:
    """How a trial runs its trainings, and where it reports its measurements.

    Attributes:
        run: calls function(task, place) on every rank of a training that writes to a folder.
        report: called in the trial's own process at each look, also at those of earlier attempts.
        report_from_rank: called on every rank of a GAN at each look, on those but the first without it.
        device: of the trial's own process, for images that are made before a training.
    """

    run: Callable[[Callable[[Any, Place], Any], Any, Folder], Any]
    report: ReportResult
    report_from_rank: Callable[[IntermediateResult | None], None]
    device: str = "cpu"

    @classmethod
    def build_local(cls, place: Place, report: ReportResult) -> TrialRunner:
        """Build a runner that trains in this process."""

        def report_if_first(result: IntermediateResult | None) -> None:
            if result is not None:
                report(result)

        return cls(lambda function, task, out: function(task, place), report, report_if_first, str(place.device))


def run_trial(plan: SearchPlan, trial: str, settings: Settings, runner: TrialRunner) -> None:
    """Run a trial, or what is left of it; report its measurements, and write its errors to its folder.

    No error is raised, so that the search goes on.

    Args:
        plan: of the search; data, teacher and, for a mix, the GAN are there.
        trial: its number.
        settings: what it tries.
        runner: see ``TrialRunner``.
    """
    folder = plan.locate_trial(trial).create()
    started = time.monotonic()
    status: Status = "finished"
    reason: str | None = None
    try:
        if plan.space.kind == "gan":
            reason = _train_gan_trial(plan, folder, settings, runner)
        else:
            _train_classifiers(plan, folder, settings, runner)
    except Exception as error:  # whatever it is, the search goes on
        logger.error(traceback.format_exc().rstrip("\n"))
        status = "failed"
        reason = _describe_error(error)
    seconds = round(time.monotonic() - started, 3)
    folder.write_json(TRIAL_MARKER, {"status": status, "reason": reason, "seconds": seconds})


def read_results(plan: SearchPlan, folder: Folder) -> list[IntermediateResult]:
    """Return the measurements of a trial so far, from the content of its folder."""
    results: list[IntermediateResult] = []
    if plan.space.kind == "gan":
        for row in metrics_log.read_metrics(folder):
            name = _find_objective_name(plan, row)
            if name is not None:
                results.append(IntermediateResult(row["step"], row[name]))
        return results
    scores: list[float] = []
    for split, seed in plan.split_seed_pairs:
        model = folder / f"split-{split}-seed-{seed}"
        if ModelRecord.find(model) is None:
            break
        scores.append(score_on_validation(plan.run, model, plan.objective))
        results.append(IntermediateResult(len(scores), compute_cautious_mean(scores, plan.direction), scores[-1]))
    return results


def count_steps(plan: SearchPlan, folder: Folder) -> int:
    """Return the number of optimizer steps that a trial has taken."""
    models = [folder]
    if plan.space.kind != "gan":
        models = [folder / name for name in folder.list_folders()]
    total = 0
    for model in models:
        rows = metrics_log.read_metrics(model)
        if rows:
            total += rows[-1]["step"]
    return total


def _find_objective_name(plan: SearchPlan, names: Iterable[str]) -> str | None:
    """Return the name of the figure that the search goes by, among those of a look; None of a line that is no look."""
    if plan.objective == "kid":
        return kid_fid_prdc.choose_kid_name(names)
    return next((name for name in names if name.startswith("cas_")), None)


def _train_gan_trial(plan: SearchPlan, folder: Folder, settings: Settings, runner: TrialRunner) -> str | None:
    train = functools.partial(_train_gan_rank, plan, runner.report_from_rank)
    member = _load_member(plan, folder, settings) if plan.algorithm.is_population else None
    for result in read_results(plan, folder):
        runner.report(result)
    if member is not None:
        for at in plan.list_budgets(plan.count_rows())[:-1]:
            if at in member.schedule.decided:
                continue
            runner.run(
                train, replace(_build_training(plan, folder, member.schedule.build_settings()), until=at), folder
            )
            reached = read_results(plan, folder)[-1]
            if reached.at < at:  # its images had collapsed at the look before
                break
            member.exploit_and_explore(at, reached.value)
        settings = member.schedule.build_settings()
    runner.run(train, _build_training(plan, folder, settings), folder)
    return _find_collapse(plan, folder)


def _load_member(plan: SearchPlan, folder: Folder, settings: Settings) -> Member:
    """The member of a population that a trial is, as it was left."""
    (dimension,) = plan.space.dimensions
    schedule = LrSchedule.from_folder(folder) or LrSchedule(settings[pbt.LR_KEY])

    def fingerprint(settings: Settings) -> str:
        return _build_training(plan, folder, settings).fingerprint()

    root = plan.folder / "trials"
    member = Member(root, folder.name, dimension, plan.direction, plan.job.seed, fingerprint, schedule)
    member.catch_up()
    return member


def _build_training(plan: SearchPlan, folder: Folder, settings: Settings) -> GanTraining:
    """Build the training of a trial's GAN, which is measured at each of the search's budgets."""
    job = plan.build_job(settings).derive_split(0)
    budgets = plan.list_budgets(plan.count_rows())
    last = budgets[-1]
    cas_every = 1 if plan.objective == "cas" else last + 1
    config = job.gan.model_copy(
        update={"steps": last, "epochs": None, "snapshot_every": last + 1, "cas_every": cas_every}
    )
    training = synthetic_pools.build_training(job, plan.run, synthetic_pools.locate_gan(plan.run))
    return replace(training, config=config, out=str(folder), snapshot_steps=budgets)


def _find_collapse(plan: SearchPlan, folder: Folder) -> str | None:
    """Return why a GAN ended early, if it did."""
    if not plan.job.gan.early_end:
        return None
    return early_stopping.find_stop_reason(early_stopping.collect_measurements(metrics_log.read_metrics(folder)))


def _train_gan_rank(
    plan: SearchPlan, report: Callable[[IntermediateResult | None], None], training: GanTraining, place: Place
) -> None:
    def tell_metrics(step: int, metrics: dict[str, float]) -> None:
        if not metrics:  # of a rank that measures nothing
            report(None)
            return
        name = _find_objective_name(plan, metrics)
        assert name, f"no {plan.objective} among {list(metrics)}"
        report(IntermediateResult(step, round(metrics[name], 6)))  # as it is logged

    train_gan(training, place, tell_metrics)


def _train_classifiers(plan: SearchPlan, folder: Folder, settings: Settings, runner: TrialRunner) -> None:
    job = plan.build_job(settings)
    mix = ArmConfig(kind="synthetic", **job.augment.model_dump(include=set(MixConfig.model_fields)))
    arm = None
    searched_arms = {}
    if plan.space.kind == "mix" and mix.ratio:
        arm = mix
        searched_arms[SEARCHED_ARM] = mix
    job = job.model_copy(update={"arms": searched_arms, "augment": plan.job.augment})  # its own pool may be the job's
    scores: list[float] = []
    for split, seed in plan.split_seed_pairs:
        model = folder / f"split-{split}-seed-{seed}"
        if ModelRecord.find(model) is None:
            _train_classifier(plan, job.derive_split(split), arm, (split, seed), model, runner)
        scores.append(score_on_validation(plan.run, model, plan.objective))
        runner.report(IntermediateResult(len(scores), compute_cautious_mean(scores, plan.direction), scores[-1]))


def _train_classifier(
    plan: SearchPlan, job: Job, arm: ArmConfig | None, split_seed: tuple[int, int], model: Folder, how: TrialRunner
) -> None:
    """Train a classifier on real images, or beside the synthetic ones of an arm."""
    split, seed = split_seed
    run = plan.run.locate_split(split)
    name = arms.REAL
    if arm is not None:
        _ensure_pool(job, run, arm, how.device)
        name = SEARCHED_ARM
    fit = arm_batches.build_training(job, run, name, seed)
    how.run(classify.train_and_finish, replace(fit, out=str(model), parts=("val",)), model)


def _ensure_pool(job: Job, run: Run, arm: ArmConfig, device: str) -> None:
    """See to it that the arm's synthetic images are there; trials that ask for the same ones share them."""
    from ganaug_ray.augment.generate import generate_locally

    data = DatasetRecord.read(run.dataset)
    arms.check_classes(SEARCHED_ARM, arm, data.counts["train"], data.rare)
    pool = synthetic_pools.plan_pool(job, run, arm)
    if synthetic_pools.read_finished_pool(pool) is None:
        screening = synthetic_pools.build_screening(run, pool)
        generate_locally(
            # All classes: another trial may have images of others, and reads the same files at the same time.
            pool.counts,
            job.seed,
            pool.source.folder,
            pool.folder,
            screening,
            stored=pool.stored,
            device=device,
        )


def _describe_error(error: Exception) -> str:
    """What went wrong, on one line."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    first_line = lines[0].strip()
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return f"out of memory: {first_line}"
    return first_line
