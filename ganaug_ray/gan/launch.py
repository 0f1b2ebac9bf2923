"""The train-gan stage: GANs of one process as Ray tasks side by side, the ranks of larger ones under Ray Train.

Ray Train starts five processes before the first rank trains; one that has trained a teacher takes a task at once.
"""

import functools
from collections.abc import Callable, Sequence

import ray
import torch

from ganaug_ray.config import GanConfig
from ganaug_ray.core import checkpoint, worker_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.resident_loader import refuse_elastic_streaming, refuse_streamed
from ganaug_ray.data.loading.sampler import Sampling
from ganaug_ray.errors import StageFailed
from ganaug_ray.gan import training_loop
from ganaug_ray.gan.snapshot_queue import OpenExecutor
from ganaug_ray.gan.train_worker import train_and_finish
from ganaug_ray.gan.training_spec import GanTraining
from ganaug_ray.runtime import background_worker, cluster, resources, side_by_side
from ganaug_ray.runtime.device_task import make_device_task
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.resources import StageResources
from ganaug_ray.runtime.side_by_side import TrainingTask
from ganaug_ray.runtime.training_process import MAX_RESTARTS, DrainWatch, catch_divergence


def train_gans(
    trainings: list[GanTraining],
    hardware: Hardware,
    notify: Callable[[str], None] = lambda text: None,
    others: Sequence[TrainingTask] = (),
) -> None:
    """Train GANs to the end, each from its newest checkpoint if there is one; as many side by side as there is room.

    Args:
        trainings: with the same settings, each writes a folder of its own.
        hardware: of the cluster, as far as it is to be used.
        notify: called with a sentence where a training gets other resources than the job asks for.
        others: other trainings, which take what the GANs leave free; only where ``leave_room`` says that they do.

    Raises:
        UserError: balanced sampling, or workers that come and go, with more images than are kept in memory.
        StageFailed: the losses diverged, or workers were lost more often than restarts help. The others go on.
    """
    for training in trainings:
        shards = image_store.list_shards(Folder.from_uri(training.dataset) / "train")
        refuse_streamed(shards, training.resident_gb, Sampling(training.config.sampling == "balanced"))
        refuse_elastic_streaming("gan", training.config, shards, training.resident_gb)
    config = trainings[0].config
    workers = resources.choose_worker_count(config, len(trainings), hardware)
    if lowered := resources.describe_lowered_workers(config, workers, hardware):
        notify(lowered)
    share = choose_gpu_share(trainings[0]) if hardware.has_gpus else 1.0
    reserved, beside = resources.plan_gan_trainings(len(trainings), workers, hardware, share, bool(others))
    open_executor = functools.partial(background_worker.open_background_worker, beside) if beside else None
    failures = []
    if workers > 1:
        assert not others, "several workers leave no room"
        train = functools.partial(
            _train_on_ranks, workers=workers, use_gpu=hardware.has_gpus, open_executor=open_executor
        )
        for training, error in side_by_side.run_groups(train, trainings, reserved.at_once):
            if error is not None:
                failures.append(_describe_failure(training, error))
    else:
        tasks = [_plan_task(training, reserved, open_executor) for training in trainings]
        for task, error in side_by_side.run_tasks(tasks, others, hardware.worker_slots):
            if error is not None:
                failures.append(task.describe_failure(error))
    if failures:
        raise StageFailed("\n".join(failures[:3]))


def leave_room(config: GanConfig, trainings: int, hardware: Hardware) -> bool:
    """Return whether GANs leave processors free for other trainings, all the time or while the last of them train.

    So it is where each has one worker, and they do not fill all slots every time.
    """
    leaves_slots = trainings % max(1, hardware.worker_slots) != 0
    return leaves_slots and resources.choose_worker_count(config, trainings, hardware) == 1


def choose_gpu_share(training: GanTraining) -> float:
    """Return the share of a GPU that a GAN of one worker takes: the job's, or by the size of its training."""
    config = training.config
    if config.gpu_share != "auto":
        return config.gpu_share
    facts = DatasetRecord.read(Folder.from_uri(training.dataset))
    shape = training_loop.ImageShape(len(facts.classes), facts.channels, training.size)
    networks = training_loop.build_networks(config, shape, training.seed, Place())
    parameters = sum(weight.numel() for network in networks for weight in network.parameters())
    return resources.choose_gpu_share(parameters, config.batch_size, training.size)


def _plan_task(training: GanTraining, reserved: StageResources, open_executor: OpenExecutor | None) -> TrainingTask:
    def start() -> "ray.ObjectRef[int | None]":
        return make_device_task(_train_task, reserved, MAX_RESTARTS).remote(training, open_executor)

    return TrainingTask(
        start, functools.partial(_count_steps_kept, training), functools.partial(_describe_failure, training)
    )


def _train_task(training: GanTraining, open_executor: OpenExecutor | None) -> int | None:
    worker_log.install_print_handler()
    place = Place(
        device=torch.device(cluster.get_reserved_device()),
        is_leaving=DrainWatch(),
        gpu_share=cluster.get_reserved_gpu_share(),
    )
    Folder.from_uri(training.out).create()
    train = functools.partial(train_and_finish, open_executor=open_executor)
    return catch_divergence(train, training, place)


def _count_steps_kept(training: GanTraining) -> int:
    return checkpoint.read_newest_step(Folder.from_uri(training.out) / "checkpoints")


def _train_on_ranks(training: GanTraining, workers: int, use_gpu: bool, open_executor: OpenExecutor | None) -> None:
    from ganaug_ray.runtime import worker_group  # imports Ray Train, for which a task of one process need not wait

    worker_group.run_on_ranks(
        functools.partial(train_and_finish, open_executor=open_executor),
        training,
        resources.choose_worker_range(training.config, workers),
        Folder.from_uri(training.out).create(),
        training.config.placement,
        read_step=functools.partial(_count_steps_kept, training),
        use_gpu=use_gpu,
    )


def _describe_failure(training: GanTraining, error: DivergenceError | StageFailed) -> str:
    if isinstance(error, StageFailed):
        return str(error)
    return (
        f"{error}. Set gan.lr below {training.config.recipe.lr_g:g}: that starts the training again from step 0, and "
        "deletes its checkpoints"
    )
