"""Runs trials on Ray Tune: how many at once, with which resources, which are stopped, and restarts of lost ones."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
import ray.train
import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from ganaug_ray.augment import arm_batches, arms, synthetic_pools
from ganaug_ray.classify import launch as classifier_launch
from ganaug_ray.core import worker_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import get_last_line
from ganaug_ray.data.loading import object_store
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.gan import launch as gan_launch
from ganaug_ray.runtime import cluster, resources, worker_group
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.resources import StageResources
from ganaug_ray.search import trainable
from ganaug_ray.search.search_plan import SearchPlan
from ganaug_ray.search.searcher import OptunaSearcher
from ganaug_ray.search.tracking import Tracker
from ganaug_ray.search.trial_log import IntermediateResult, Ledger, Trial

MAX_RESTARTS = 3  # of a trial whose process was lost; it goes on from what its folder holds
REDUCTION_FACTOR = 3  # of the trials at a look, the best one in this many goes on

# Ours is the ledger, and Ctrl-C ends the search at once: what is done is kept.
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"


def plan_trials(plan: SearchPlan, hardware: Hardware) -> StageResources:
    """Return what a trial reserves, by the number of its workers and the share of a GPU of its trainings.

    Raises:
        UserError: there is no room for any.
    """
    workers = plan.job.search.workers
    share = _choose_gpu_share(plan) if hardware.has_gpus and workers == 1 else 1.0
    need = resources.plan_stage("search", hardware, workers, share, has_driver=True)
    if need.at_once:
        return need
    driver = f" (1 for its driver, {workers} for search.workers)" if need.driver_cpus else ""
    gpus = f" and {need.unit_gpus:g} GPUs" if need.gpus else ""
    gpus_there = f" and {hardware.gpus:g} GPUs" if need.gpus else ""
    room = min(hardware.cpus - need.driver_cpus, hardware.worker_slots)
    raise UserError(
        f"a trial needs {need.unit_cpus:g} CPUs{driver}{gpus}, and the cluster has {hardware.cpus:g}{gpus_there}: no "
        f"trial could ever start; give search.workers {max(1, int(room))} or fewer"
    )


def _choose_gpu_share(plan: SearchPlan) -> float:
    """The share of a GPU of a trial's trainings: the job's, or by the size that they have in the job itself."""
    share = plan.training_config.gpu_share
    if share != "auto":
        return share
    if plan.space.kind == "gan":
        training = synthetic_pools.build_training(plan.job, plan.run, synthetic_pools.locate_gan(plan.run))
        return gan_launch.choose_gpu_share(training)
    return classifier_launch.choose_gpu_share(arm_batches.build_training(plan.job, plan.run, arms.REAL, 0))


def run_trials(
    plan: SearchPlan,
    ledger: Ledger,
    max_trials: int | None,
    at_once: int,
    need: StageResources,
    on_end: Callable[[Trial], None],
    trackers: Sequence[Tracker] = (),
) -> None:
    """Run trials until the budget is spent, and log each of them.

    Args:
        plan: of the search.
        ledger: of its trials.
        max_trials: trials in all; None: until the hours are over.
        at_once: trials side by side.
        need: of each.
        on_end: called with every trial that has ended.
        trackers: told of all of it.

    Raises:
        StageFailed: Tune itself failed.
    """
    hours = plan.job.search.hours
    seconds_left = None if hours is None else hours * 3600 - ledger.seconds
    if seconds_left is not None and seconds_left <= 0:
        return
    chooser = OptunaSearcher(plan, ledger, max_trials, on_end, trackers)
    # Tune's own state only serves this call; a search goes on from the ledger.
    state = plan.folder / f".ray-tune-{uuid.uuid4().hex[:8]}"
    driver_gpus = need.gpus
    resident_gb = plan.job.data.resident_gb
    if need.workers > 1:
        driver_gpus = 0
        resident_gb = 0
    stores = _list_stores(plan)
    loans = object_store.lend_stores([*stores, *stores], resident_gb)  # by many trials
    resources = tune.PlacementGroupFactory([{"CPU": 1, "GPU": driver_gpus}])
    try:
        tune.Tuner(
            tune.with_resources(_build_trainable(plan, need, loans), resources),
            tune_config=tune.TuneConfig(
                metric="value",
                mode=plan.direction,
                search_alg=chooser,
                scheduler=_build_scheduler(plan),
                num_samples=-1,
                max_concurrent_trials=at_once,
                time_budget_s=seconds_left,
                reuse_actors=need.workers == 1,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="attempt",
                storage_filesystem=state.fs,
                storage_path=state.path,
                failure_config=tune.FailureConfig(max_failures=MAX_RESTARTS),
                verbose=0,
            ),
        ).fit()
    except ray.exceptions.RayError as error:
        raise StageFailed(f"the search failed: {get_last_line(error)}") from error
    finally:
        with suppress(OSError):
            state.fs.delete_dir(state.path)
        for trial in ledger.unfinished_trials:  # the time was up: it is spent, though no trial ended with it
            ledger.write_trial(replace(trial, ended=round(ledger.seconds, 3)))


def _list_stores(plan: SearchPlan) -> list[str]:
    """Folders of the images that trials train on and are measured by."""
    splits = 1 if plan.space.kind == "gan" else plan.job.compare.splits
    stores = []
    for split in range(splits):
        dataset = plan.run.locate_split(split).dataset
        stores += [str(dataset / "train"), str(dataset / "val")]
    return stores


def _build_scheduler(plan: SearchPlan) -> TrialScheduler:
    marks = plan.list_marks(plan.count_rows())
    stops_early = plan.job.search.stop_early and plan.algorithm.may_stop_early
    if not stops_early or marks[0] >= marks[-1]:
        return FIFOScheduler()
    return AsyncHyperBandScheduler(
        time_attr="at",
        grace_period=marks[0],
        max_t=marks[-1],
        reduction_factor=REDUCTION_FACTOR,
        stop_last_trials=False,
    )


def _build_trainable(
    plan: SearchPlan, need: StageResources, loans: object_store.StoreLoans
) -> Callable[[dict[str, Any]], None]:
    """Return the function that Tune calls in a process of its own for each trial."""

    def trial(config: dict[str, Any]) -> None:
        with object_store.borrow_stores(loans):
            work(config)

    def work(config: dict[str, Any]) -> None:
        worker_log.install_print_handler()
        if need.workers > 1:
            on_ranks = functools.partial(_run_on_ranks, need, plan.training_config.placement)
            runner = trainable.TrialRunner(on_ranks, _report_result, _report_from_rank)
        else:
            place = Place(device=torch.device(cluster.get_reserved_device()))
            runner = trainable.TrialRunner.build_local(place, _report_result)
        trainable.run_trial(plan, config["trial"], config["settings"], runner)

    return trial


def _run_on_ranks(
    need: StageResources, placement: str, function: Callable[[Any, Place], Any], task: Any, out: Folder
) -> None:
    worker_group.run_on_ranks(
        function, task, need.workers, out, placement, [TuneReportCallback()], use_gpu=need.gpus > 0
    )


def _report_result(result: IntermediateResult) -> None:
    tune.report({"at": result.at, "value": result.value})


def _report_from_rank(result: IntermediateResult | None) -> None:
    metrics = {}
    if result is not None:
        metrics = {"at": result.at, "value": result.value}
    ray.train.report(metrics)
