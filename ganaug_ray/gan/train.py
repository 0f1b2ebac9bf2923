"""The train-gan stage: GANs of one process side by side as Ray tasks, the ranks of larger ones under Ray Train."""

import functools

import ray
import torch

from ganaug_ray import checkpoints, cluster, ranks
from ganaug_ray.data import store
from ganaug_ray.data.batches import refuse_streamed
from ganaug_ray.data.sampling import Sampling
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.gan.worker import Training, work
from ganaug_ray.guard import Diverged
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder


def train_gans(trainings: list[Training]) -> None:
    """Train each to the end, from its newest checkpoint if there is one; those of one process side by side.

    Raises:
        UserError: balanced sampling, or workers that come and go, with more images than are kept in memory.
        StageFailed: the losses diverged, or workers were lost more often than restarts help. The others go on.
    """
    for training in trainings:
        shards = store.survey(Folder.at(training.dataset) / "train")
        refuse_streamed(shards, training.resident_gb, Sampling(training.config.sampling == "balanced"))
        if training.config.min_workers and shards.bytes > training.resident_gb * 1e9:
            raise UserError(
                f"gan.min_workers {training.config.min_workers}: images that are streamed are dealt out to a fixed "
                f"number of workers; leave it out, or raise data.resident_limit above {shards.bytes / 1e9:.2g}GB"
            )
    workers = cluster.workers(trainings[0].config, len(trainings))
    if len(trainings) == 1 or workers > 1:
        for training in trainings:
            _on_ranks(training, workers)
    elif failures := _side_by_side(trainings):
        raise StageFailed("\n".join(failures[:3]))


def _side_by_side(trainings: list[Training]) -> list[str]:
    """Train each in a process of its own; return what is to be said of those that failed."""
    failures: list[str] = []
    waiting: dict[ray.ObjectRef, tuple[Training, int]] = {}

    def start(training: Training) -> None:
        task = _task.options(**cluster.worker_resources(training.config.gpu_share))
        waiting[task.remote(training)] = training, _kept(training)

    for training in trainings:
        start(training)
    while waiting:
        (ref, *_), _ = ray.wait(list(waiting), num_returns=1)
        training, before = waiting.pop(ref)
        try:
            ranks.raise_divergence(ray.get(ref))
        except Diverged as error:
            failures.append(_advice(error, training))
        except ray.exceptions.RayError as error:
            if _kept(training) > before:
                start(training)
            else:
                failures.append(f"a worker failed: {str(error).strip().splitlines()[-1]}")
    return failures


@ray.remote(max_retries=ranks.RESTARTS)
def _task(training: Training) -> int | None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    Folder.at(training.out).make()
    return ranks.divergence(work, training, Place(device=device, leaving=ranks.Notice()))


def _kept(training: Training) -> int:
    return checkpoints.steps_kept(Folder.at(training.out) / "checkpoints")


def _on_ranks(training: Training, workers: int) -> None:
    out = Folder.at(training.out).make()
    least, kept = training.config.min_workers, functools.partial(_kept, training)
    span = workers if least is None else (min(least, workers), workers)
    try:
        ranks.run(work, training, span, out, training.config.placement, kept=kept)
    except Diverged as error:
        raise StageFailed(_advice(error, training)) from error


def _advice(error: Diverged, training: Training) -> str:
    kept = "the last good checkpoint is kept in gan/checkpoints"
    return f"{error}; {kept}. Try a lower gan.lr than {training.config.recipe.lr_g:g}"
