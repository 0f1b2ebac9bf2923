"""Running a function on several ranks under Ray Train: the adaptor between Ray and the torch-only loops."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray.train
import ray.train.torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from ganaug_ray.cluster import has_gpus
from ganaug_ray.errors import StageFailed
from ganaug_ray.guard import Diverged
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder

RESTARTS = 3  # of all ranks, after one was lost; each goes on from our own newest checkpoint


def place() -> Place:
    """Where this Ray Train worker stands."""
    context = ray.train.get_context()
    return Place(context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device())


def run(function: Callable[[Any, Place], None], task: Any, workers: int, out: Folder) -> None:
    """Call ``function(task, place)`` on every rank and wait until all are through.

    Ray Train's own state is kept under a fresh name in ``out`` while the ranks run, and removed at the end: it only
    serves restarts within this call.

    Raises:
        Diverged: as the function did, alike on every rank.
        StageFailed: a rank failed otherwise, and restarts did not help.
    """
    attempt = out / f".ray-train-{uuid.uuid4().hex[:8]}"
    trainer = TorchTrainer(
        _rank,  # type: ignore[arg-type]  # it does return something: see result.return_value
        train_loop_config={"function": function, "task": task},
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=has_gpus()),
        run_config=RunConfig(
            name="attempt", storage_path=str(attempt), failure_config=FailureConfig(max_failures=RESTARTS)
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise StageFailed(f"a worker failed: {_last_line(error)}") from error
    finally:
        with suppress(OSError):
            attempt.fs.delete_dir(attempt.path)
    diverged_at = result.return_value  # type: ignore[attr-defined]  # of rank 0
    if diverged_at is not None:
        raise Diverged(diverged_at)


def _rank(config: dict[str, Any]) -> int | None:
    """Return the step of a divergence: as an error it would be retried, and diverge again."""
    try:
        config["function"](config["task"], place())
    except Diverged as error:
        return error.step
    return None


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
