"""Running a function on several ranks under Ray Train: the adaptor between Ray and the torch-only loops."""

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import ray.train
import ray.train.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from ganaug_ray.cluster import has_gpus
from ganaug_ray.errors import StageFailed
from ganaug_ray.guard import Diverged
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder

# A process that ends is noticed at once, a machine that is lost by Ray; this is for a peer that falls silent. While
# rank 0 alone looks at samples the others wait too, so it must be longer than a look takes.
SILENCE = 600  # seconds, of Torch's default of 1,800

RESTARTS = 3  # of all ranks, after one was lost; each goes on from our own newest checkpoint


def place() -> Place:
    """Where this Ray Train worker stands."""
    context = ray.train.get_context()
    return Place(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())


def run(
    function: Callable[[Any, Place], None],
    task: Any,
    workers: int,
    out: Folder,
    placement: str = "pack",
    callbacks: Sequence[UserCallback] = (),
) -> None:
    """Call ``function(task, place)`` on every rank and wait until all are through.

    Lost ranks are started again, all of them. Ray Train's own state is kept under a fresh name in ``out`` while they
    run, and removed at the end: it only serves restarts within this call. The callbacks are told what ranks report.

    Raises:
        Diverged: as the function did, alike on every rank.
        StageFailed: a rank failed otherwise, and restarts did not help.
    """
    for attempt in range(RESTARTS + 1):
        state = out / f".ray-train-{uuid.uuid4().hex[:8]}"
        try:
            raise_divergence(_fit(function, task, workers, state, placement, callbacks))
            return
        except ray.train.ControllerError as error:
            # A rank that dies while Ray Train talks to it counts as an error of its controller, which is not retried.
            if attempt == RESTARTS:
                raise StageFailed(f"a worker failed: {_last_line(error)}") from error
        except ray.train.TrainingFailedError as error:
            raise StageFailed(f"a worker failed: {_last_line(error)}") from error
        finally:
            with suppress(OSError):
                state.fs.delete_dir(state.path)


def _fit(
    function: Callable[[Any, Place], None],
    task: Any,
    workers: int,
    state: Folder,
    placement: str,
    callbacks: Sequence[UserCallback],
) -> int | None:
    trainer = TorchTrainer(
        _rank,  # type: ignore[arg-type]  # it does return something: see result.return_value
        train_loop_config={"function": function, "task": task},
        torch_config=TorchConfig(timeout_s=SILENCE),
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=has_gpus(), placement_strategy=placement.upper()),
        run_config=RunConfig(
            name="attempt",
            storage_filesystem=state.fs,
            storage_path=state.path,
            failure_config=FailureConfig(max_failures=RESTARTS),
            callbacks=list(callbacks),  # type: ignore[arg-type]  # Train v2 takes its own, Ray's hints say Tune's
        ),
    )
    return trainer.fit().return_value  # type: ignore[attr-defined]  # of rank 0


def _rank(config: dict[str, Any]) -> int | None:
    return divergence(config["function"], config["task"], place())


def divergence(function: Callable[[Any, Place], None], task: Any, where: Place) -> int | None:
    """Call the function; return the step at which it diverged, or None. As an error, Ray would try it again."""
    try:
        function(task, where)
    except Diverged as error:
        return error.step
    return None


def raise_divergence(step: int | None) -> None:
    """Turn what ``divergence`` returned back into an error."""
    if step is not None:
        raise Diverged(step)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
