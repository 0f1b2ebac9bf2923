"""Runs a function on several ranks with Ray Train: the adaptor between Ray and the torch-only training loops."""

import logging
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray.train
import ray.train.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError  # private: else its words were matched
from ray.util import get_current_placement_group
from ray.util.placement_group import PlacementGroup, PlacementGroupID, remove_placement_group

from ganaug_ray.core import worker_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.full_disk import find_disk_full
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_count, get_last_line
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime.elastic_policy import BoundedTorchTrainer
from ganaug_ray.runtime.training_process import MAX_RESTARTS, DrainWatch, catch_divergence, raise_divergence

logger = logging.getLogger(__name__)

# A process that ends is noticed at once, a machine that is lost by Ray; this is for a peer that falls silent. While
# rank 0 alone looks at samples the others wait too, so it must be longer than a look takes.
SILENCE_TIMEOUT_S = 600  # seconds, of Torch's default of 1,800

# Of a group of workers that finds no room, one a minute: so long a cloud may take to bring machines up. Ray Train's own
# limit is none, and what other jobs hold, or a node that is lost for good, would be waited for without an end.
MAX_START_TRIES = 30

# Seconds, of Ray Train's 2: so long it goes unnoticed that ranks have ended. Ray with two ranks that did nothing took
# 7.3 % of two cores where it was 0.5 s, and 5.9 % where it was 2 s; without a training 2.7 %.
STATUS_CHECK_INTERVAL_S = 1.0

STATE_PREFIX = ".ray-train-"  # of a folder with Ray Train's own state
GROUP_PREFIX = "placement-group-"  # of a file in it, named after what the ranks have reserved


def get_place() -> Place:
    """Return the rank, number of ranks and device of this Ray Train worker."""
    context = ray.train.get_context()
    return Place(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device(), DrainWatch())


def run_on_ranks(
    function: Callable[[Any, Place], None],
    task: Any,
    workers: int | tuple[int, int],
    out: Folder,
    placement: str = "pack",
    callbacks: Sequence[UserCallback] = (),
    read_step: Callable[[], int] = lambda: 0,
    use_gpu: bool = False,
) -> None:
    """Call ``function(task, place)`` on every rank, and wait until all have returned.

    Lost ranks are started again, all of them, and the log says so. Ray Train's own state is kept under a fresh name in
    ``out`` while they run, and removed at the end: it only serves restarts within this call. The callbacks are told
    what ranks report.

    Args:
        function: what each rank does; on a restart it goes on from what it has kept.
        task: what it is given.
        workers: the number of ranks; or the least and the most, of which as many as the cluster has room for: it is
            asked again after a loss, and now and then.
        out: where Ray Train may keep its state.
        placement: of the ranks, as in the job.
        callbacks: for Ray Train.
        read_step: how far the newest checkpoint is.
        use_gpu: whether each rank takes a GPU, beside its CPU.

    Raises:
        DivergenceError: as the function did, alike on every rank.
        DiskFull: as a rank did; nothing is started again.
        StageFailed: a rank failed otherwise and restarts did not help, or there was no room for the ranks.
    """
    _delete_state(out)  # what an earlier call left, if it was killed
    failures = 0
    while True:
        before = read_step()
        state_folder = out / f"{STATE_PREFIX}{uuid.uuid4().hex[:8]}"
        try:
            all_callbacks = [_LostRankLogger(), *callbacks]
            raise_divergence(_run_trainer(function, task, workers, state_folder, placement, all_callbacks, use_gpu))
            return
        except ray.train.TrainingFailedError as error:
            if full := find_disk_full(error):
                raise full from error
            _remove_placement_groups(state_folder)
            failures = 0 if read_step() > before else failures + 1
            if failures and _found_no_room(error):
                raise StageFailed(_describe_shortage(workers, use_gpu)) from error
            # Ray Train has restarted already, except where a rank died just when it was spoken to: it takes that for
            # an error of its own.
            max_failures = MAX_RESTARTS if isinstance(error, ray.train.ControllerError) else 0
            if failures > max_failures:
                raise StageFailed(f"a worker failed: {get_last_line(error)}") from error
            logger.info("training restarts: %s", get_last_line(error))
        finally:
            _delete_state(out)


def _remove_placement_groups(state_folder: Folder) -> None:
    """Remove what the ranks of an attempt had reserved.

    A controller that failed has left it reserved, and the next attempt would wait for it for ever. Ray Train has
    somebody for this where there is a dashboard.
    """
    with suppress(OSError):
        for info in state_folder.list_entries():
            if info.base_name.startswith(GROUP_PREFIX):
                group = info.base_name.removeprefix(GROUP_PREFIX)
                remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))


def _found_no_room(error: Exception) -> bool:
    """Whether the workers were never started, for want of resources."""
    return isinstance(error, ray.train.ControllerError) and isinstance(
        error.controller_failure, WorkerGroupStartupTimeoutError
    )


def _describe_shortage(workers: int | tuple[int, int], use_gpu: bool) -> str:
    """Say that there is no room for the workers, and how much is free."""
    least = workers if isinstance(workers, int) else workers[0]
    kind = "GPU" if use_gpu else "CPU"
    total = ray.cluster_resources().get(kind, 0)
    free = ray.available_resources().get(kind, 0)
    return (
        f"no room for {format_count(least, 'worker')} with a {kind} each, tried {MAX_START_TRIES} times: "
        f"{format_count(total, kind)} in the cluster, {free:g} free; other work has the rest, or nodes were lost (see "
        "`ray status`). The same command continues from the newest checkpoint"
    )


def _delete_state(out: Folder) -> None:
    with suppress(OSError):
        for info in out.list_entries():
            if info.base_name.startswith(STATE_PREFIX):
                out.fs.delete_dir(info.path)


class _LostRankLogger(UserCallback):
    """Says in the log which ranks were lost, in a line a loss."""

    def __init__(self) -> None:
        self._last_text = ""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called where Ray Train's controller runs, again and again until it acts."""
        worker_log.install_print_handler()
        for error in worker_exceptions.values():
            if full := find_disk_full(error):
                raise full  # an error of a callback is what Ray Train does not try again
        text = describe_lost_ranks(worker_exceptions)
        if text != self._last_text:
            logger.info(text)
        self._last_text = text


def describe_lost_ranks(failures: Mapping[int, Exception]) -> str:
    """Say in one line which ranks were lost and why: a process or machine that is gone, or an error in the code.

    >>> describe_lost_ranks({1: ValueError("no such file")})
    'rank 1 was lost (ValueError: no such file): all ranks start again from the newest checkpoint'
    """
    reasons = []
    for rank, error in sorted(failures.items()):
        cause = getattr(error, "health_check_failure", error)  # Ray Train wraps what a look at a worker gave
        lines = str(cause).strip().splitlines() or [""]
        reasons.append(f"rank {rank} was lost ({type(cause).__name__}: {lines[0].strip()})")
    return f"{', '.join(reasons)}: all ranks start again from the newest checkpoint"


def _run_trainer(
    function: Callable[[Any, Place], None],
    task: Any,
    workers: int | tuple[int, int],
    state_folder: Folder,
    placement: str,
    callbacks: Sequence[UserCallback],
    use_gpu: bool,
) -> int | None:
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # Ray's print tells the log what it was told already
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # each rank has a DrainWatch: one process fewer
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(STATUS_CHECK_INTERVAL_S))
    trainer = BoundedTorchTrainer(
        _run_rank,  # type: ignore[arg-type]  # it does return something: see result.return_value
        train_loop_config={"function": function, "task": task, "state": str(state_folder)},
        torch_config=TorchConfig(timeout_s=SILENCE_TIMEOUT_S),
        scaling_config=ScalingConfig(
            num_workers=workers,  # type: ignore[arg-type]  # Train v2 takes a span, Ray's hints say Tune's
            use_gpu=use_gpu,
            resources_per_worker={"CPU": 1, "GPU": 1} if use_gpu else None,  # else Ray reserves the GPU alone
            placement_strategy=placement.upper(),
        ),
        run_config=RunConfig(
            name="attempt",
            storage_filesystem=state_folder.fs,
            storage_path=state_folder.path,
            failure_config=FailureConfig(
                max_failures=MAX_RESTARTS,
                controller_failure_limit=MAX_START_TRIES,  # type: ignore[call-arg]  # Train v2's, Ray's hints say v1's
            ),
            callbacks=list(callbacks),  # type: ignore[arg-type]  # Train v2 takes its own, Ray's hints say Tune's
        ),
    )
    # Ray's handler of Ctrl-C waits for its controller and ends this process with code 1: ours is to be raised.
    trainer._register_sigint_handler = lambda controller: None  # type: ignore[attr-defined]
    return trainer.fit().return_value  # type: ignore[attr-defined]  # of rank 0


def _run_rank(config: dict[str, Any]) -> int | None:
    """Run a training on this rank; return the step at which it diverged, or None."""
    worker_log.install_print_handler()
    place = get_place()
    group = get_current_placement_group()
    if place.is_first and group is not None:
        Folder.from_uri(config["state"]).create().write_bytes(f"{GROUP_PREFIX}{group.id.hex()}", b"")
    return catch_divergence(config["function"], config["task"], place)
