"""Trials on Ray Tune: how many at once, what each is given, who is stopped, and what happens to lost ones."""

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
from ganaug_ray.search.search_plan import Plan
from ganaug_ray.search.searcher import Chooser
from ganaug_ray.search.tracking import Tracker
from ganaug_ray.search.trial_log import Ledger, Look, Trial

RESTARTS = 3  # of a trial whose process was lost; it goes on from what its folder holds
HALVING = 3  # of the trials at a look, the best one in so many goes on

# Ours is the ledger, and Ctrl-C ends the search at once: what is done is kept.
os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"


@dataclass(frozen=True)
class Need:
    """What one trial takes.

    Attributes:
        cpus: with those of its driver, where it has workers of its own.
        gpus: or a share of one.
        workers: of its own, each with a CPU; 0: it is one process.
    """

    cpus: int
    gpus: float
    workers: int

    @classmethod
    def of(cls, plan: Plan, gpus_there: bool) -> Need:
        """Return what a trial takes, by the search's workers and the job's share of a GPU."""
        workers = plan.job.search.workers
        if workers > 1:
            return cls(1 + workers, workers if gpus_there else 0, workers)
        return cls(1, plan.training.gpu_share if gpus_there else 0, 0)

    def at_once(self, cpus: float, gpus: float) -> int:
        """Return how many trials the cluster has room for.

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
        raise UserError(
            f"a trial needs {self.cpus} CPUs{driver}, the cluster has {cpus:g}{gpu}: no trial could ever start; "
            f"give search.workers {max(1, int(cpus) - 1)} or fewer"
        )


def search(
    plan: Plan,
    ledger: Ledger,
    most: int | None,
    at_once: int,
    need: Need,
    ended: Callable[[Trial], None],
    trackers: Sequence[Tracker] = (),
) -> None:
    """Try settings until the budget is spent, and write everything to the ledger.

    Args:
        plan: of the search.
        ledger: of its trials.
        most: trials in all; None: until the hours are over.
        at_once: trials side by side.
        need: of each.
        ended: called with every trial that has ended.
        trackers: told of all of it.

    Raises:
        StageFailed: Tune itself failed.
    """
    hours = plan.job.search.hours
    left = None if hours is None else hours * 3600 - ledger.seconds
    if left is not None and left <= 0:
        return
    chooser = Chooser(plan, ledger, most, ended, trackers)
    # Tune's own state only serves this call; a search goes on from the ledger.
    state = plan.folder / f".ray-tune-{uuid.uuid4().hex[:8]}"
    splits = [0] if plan.space.kind == "gan" else range(plan.job.compare.splits)
    stores = [str(plan.run.split(split).dataset / part) for split in splits for part in ("train", "val")]
    loans = object_store.lend([*stores, *stores], 0 if need.workers else plan.job.data.resident_gb)  # by many trials
    resources = tune.PlacementGroupFactory([{"CPU": 1, "GPU": 0 if need.workers else need.gpus}])
    try:
        tune.Tuner(
            tune.with_resources(_trainable(plan, need, loans), resources),
            tune_config=tune.TuneConfig(
                metric="value",
                mode=plan.direction,
                search_alg=chooser,
                scheduler=_scheduler(plan),
                num_samples=-1,
                max_concurrent_trials=at_once,
                time_budget_s=left,
                reuse_actors=not need.workers,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name="attempt",
                storage_filesystem=state.fs,
                storage_path=state.path,
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                verbose=0,
            ),
        ).fit()
    except ray.exceptions.RayError as error:
        raise StageFailed(f"the search failed: {str(error).strip().splitlines()[-1]}") from error
    finally:
        with suppress(OSError):
            state.fs.delete_dir(state.path)
        for trial in ledger.unfinished:  # the time was up: it is spent, though no trial ended with it
            ledger.add(replace(trial, ended=round(ledger.seconds, 3)))


def _scheduler(plan: Plan) -> TrialScheduler:
    marks = plan.marks(plan.rows())
    stops_early = plan.job.search.stop_early and plan.algorithm.may_stop_early
    if not stops_early or marks[0] >= marks[-1]:
        return FIFOScheduler()
    return AsyncHyperBandScheduler(
        time_attr="at", grace_period=marks[0], max_t=marks[-1], reduction_factor=HALVING, stop_last_trials=False
    )


def _trainable(plan: Plan, need: Need, loans: object_store.Loans) -> Callable[[dict[str, Any]], None]:
    """Return the function that Tune calls in a process of its own for each trial."""

    def trial(config: dict[str, Any]) -> None:
        with object_store.borrowed(loans, loans):
            work(config)

    def work(config: dict[str, Any]) -> None:
        worker_log.print_log_messages()
        if need.workers:
            on_ranks = functools.partial(_on_ranks, need.workers, plan.training.placement)
            how = trainable.How(on_ranks, _tell, _tell_from_rank)
        else:
            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            how = trainable.How.here(Place(device=device), _tell)
        trainable.work(plan, config["trial"], config["settings"], how)

    return trial


def _on_ranks(workers: int, placement: str, function: Callable[[Any, Place], Any], task: Any, out: Folder) -> None:
    worker_group.run(function, task, workers, out, placement, [TuneReportCallback()])


def _tell(look: Look) -> None:
    tune.report({"at": look.at, "value": look.value})


def _tell_from_rank(look: Look | None) -> None:
    ray.train.report({"at": look.at, "value": look.value} if look else {})
