"""Runs trials on Ray Tune: how many at once, with which resources, which are stopped, and restarts of lost ones."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.train
import torch
from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from ganaug_ray.core import worker_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import object_store
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.runtime import worker_group
from ganaug_ray.search import trainable
from ganaug_ray.search.search_plan import SearchPlan
from ganaug_ray.search.searcher import OptunaSearcher
from ganaug_ray.search.tracking import Tracker
from ganaug_ray.search.trial_log import IntermediateResult, Ledger, Trial

MAX_RESTARTS = 3  # of a trial whose process was lost; it goes on from what its folder holds
REDUCTION_FACTOR = 3  # of the trials at a look, the best one in so many goes on

# Ours is the ledger, and Ctrl-C ends the search at once: what is done is kept.
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"


@dataclass(frozen=True)
class TrialResources:
    """The CPUs and GPUs that one trial takes.

    Attributes:
        cpus: with those of its driver, where it has workers of its own.
        gpus: or a share of one.
        workers: of its own, each with a CPU; 0: it is one process.
    """

    cpus: int
    gpus: float
    workers: int

    @classmethod
    def from_plan(cls, plan: SearchPlan, has_gpus: bool) -> TrialResources:
        """Return the resources of a trial, by the number of its workers and the job's share of a GPU."""
        workers = plan.job.search.workers
        cpus = 1
        gpus = plan.training_config.gpu_share
        if workers > 1:
            cpus = 1 + workers
            gpus = workers
        else:
            workers = 0
        return cls(cpus, gpus if has_gpus else 0, workers)

    def count_concurrent(self, cpus: float, gpus: float) -> int:
        """Return how many trials fit on the cluster at a time.

        Raises:
            UserError: there is room for none.
        """
        trials = int(cpus // self.cpus)
        if self.gpus:
            trials = min(trials, int(gpus // self.gpus + 1e-9))  # ten shares of 0.1 are a whole GPU
        if trials >= 1:
            return trials
        driver = f" (1 for its driver, {self.workers} for search.workers)" if self.workers else ""
        gpu = f" and {self.gpus:g} GPUs, the cluster has {gpus:g}" if self.gpus else ""
        room = min(cpus - 1, gpus) if self.gpus else cpus - 1
        raise UserError(
            f"a trial needs {self.cpus} CPUs{driver}, the cluster has {cpus:g}{gpu}: no trial could ever start; "
            f"give search.workers {max(1, int(room))} or fewer"
        )


def run_trials(
    plan: SearchPlan,
    ledger: Ledger,
    max_trials: int | None,
    at_once: int,
    need: TrialResources,
    ended: Callable[[Trial], None],
    trackers: Sequence[Tracker] = (),
) -> None:
    """Run trials until the budget is spent, and log each of them.

    Args:
        plan: of the search.
        ledger: of its trials.
        max_trials: trials in all; None: until the hours are over.
        at_once: trials side by side.
        need: of each.
        ended: called with every trial that has ended.
        trackers: told of all of it.

    Raises:
        StageFailed: Tune itself failed.
    """
    hours = plan.job.search.hours
    seconds_left = None if hours is None else hours * 3600 - ledger.seconds
    if seconds_left is not None and seconds_left <= 0:
        return
    chooser = OptunaSearcher(plan, ledger, max_trials, ended, trackers)
    # Tune's own state only serves this call; a search goes on from the ledger.
    state = plan.folder / f".ray-tune-{uuid.uuid4().hex[:8]}"
    driver_gpus = need.gpus
    resident_gb = plan.job.data.resident_gb
    if need.workers:
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
                reuse_actors=not need.workers,
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
        raise StageFailed(f"the search failed: {str(error).strip().splitlines()[-1]}") from error
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
    plan: SearchPlan, need: TrialResources, loans: object_store.StoreLoans
) -> Callable[[dict[str, Any]], None]:
    """Return the function that Tune calls in a process of its own for each trial."""

    def trial(config: dict[str, Any]) -> None:
        with object_store.borrow_stores(loans, loans):
            work(config)

    def work(config: dict[str, Any]) -> None:
        worker_log.install_print_handler()
        if need.workers:
            on_ranks = functools.partial(_run_on_ranks, need.workers, plan.training_config.placement)
            runner = trainable.TrialRunner(on_ranks, _report_result, _report_from_rank)
        else:
            device_name = "cuda" if torch.cuda.is_available() else "cpu"
            runner = trainable.TrialRunner.build_local(Place(device=torch.device(device_name)), _report_result)
        trainable.run_trial(plan, config["trial"], config["settings"], runner)

    return trial


def _run_on_ranks(workers: int, placement: str, function: Callable[[Any, Place], Any], task: Any, out: Folder) -> None:
    worker_group.run_on_ranks(function, task, workers, out, placement, [TuneReportCallback()])


def _report_result(result: IntermediateResult) -> None:
    tune.report({"at": result.at, "value": result.value})


def _report_from_rank(result: IntermediateResult | None) -> None:
    metrics = {}
    if result is not None:
        metrics = {"at": result.at, "value": result.value}
    ray.train.report(metrics)
