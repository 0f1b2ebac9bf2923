"""The train-gan stage: GANs of one process side by side as Ray tasks, the ranks of larger ones under Ray Train."""

import functools

import ray
import torch

from ganaug_ray.core import checkpoint, worker_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.resident_loader import refuse_elastic_streaming, refuse_streamed
from ganaug_ray.data.loading.sampler import Sampling
from ganaug_ray.errors import StageFailed
from ganaug_ray.gan.train_worker import train_and_finish
from ganaug_ray.gan.training_spec import GanTraining
from ganaug_ray.runtime import cluster, worker_group


def train_gans(trainings: list[GanTraining]) -> None:
    """Train GANs to the end, each from its newest checkpoint if there is one; those of one process side by side.

    Raises:
        UserError: balanced sampling, or workers that come and go, with more images than are kept in memory.
        StageFailed: the losses diverged, or workers were lost more often than restarts help. The others go on.
    """
    for training in trainings:
        shards = image_store.list_shards(Folder.from_uri(training.dataset) / "train")
        refuse_streamed(shards, training.resident_gb, Sampling(training.config.sampling == "balanced"))
        refuse_elastic_streaming("gan", training.config, shards, training.resident_gb)
    workers = cluster.choose_worker_count(trainings[0].config, len(trainings))
    if len(trainings) == 1 or workers > 1:
        for training in trainings:
            _train_on_ranks(training, workers)
    elif failures := _train_side_by_side(trainings):
        raise StageFailed("\n".join(failures[:3]))


def _train_side_by_side(trainings: list[GanTraining]) -> list[str]:
    """Train each in a process of its own; return what is to be said of those that failed."""

    def start(training: GanTraining) -> "ray.ObjectRef[int | None]":
        return _train_task.options(**cluster.describe_worker_resources(training.config.gpu_share)).remote(training)

    failures = []
    for training, error in worker_group.run_side_by_side(start, trainings, _count_steps_kept):
        if isinstance(error, DivergenceError):
            failures.append(_advise_lower_rate(error, training))
        elif error is not None:
            failures.append(str(error))
    return failures


@ray.remote(max_retries=worker_group.MAX_RESTARTS)
def _train_task(training: GanTraining) -> int | None:
    worker_log.install_print_handler()
    device_name = "cuda" if torch.cuda.is_available() else "cpu"
    place = Place(device=torch.device(device_name), is_leaving=worker_group.DrainWatch())
    Folder.from_uri(training.out).create()
    return worker_group.catch_divergence(train_and_finish, training, place)


def _count_steps_kept(training: GanTraining) -> int:
    return checkpoint.read_newest_step(Folder.from_uri(training.out) / "checkpoints")


def _train_on_ranks(training: GanTraining, workers: int) -> None:
    out = Folder.from_uri(training.out).create()
    try:
        worker_group.run_on_ranks(
            train_and_finish,
            training,
            cluster.choose_worker_range(training.config, workers),
            out,
            training.config.placement,
            read_step=functools.partial(_count_steps_kept, training),
        )
    except DivergenceError as error:
        raise StageFailed(_advise_lower_rate(error, training)) from error


def _advise_lower_rate(error: DivergenceError, training: GanTraining) -> str:
    rate = f"gan.lr than {training.config.recipe.lr_g:g}"
    return f"{error}. Try a lower {rate}, which deletes the checkpoints and starts the training again from step 0"
