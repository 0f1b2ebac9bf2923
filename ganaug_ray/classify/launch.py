"""The train stage: trains many classifiers, as many at a time as the cluster has room for."""

import functools
import itertools
from collections.abc import Callable, Sequence

import ray
import torch

from ganaug_ray.classify import networks
from ganaug_ray.classify.train_worker import CHECKPOINT_FOLDER, LAST_GOOD_FILE, ClassifierTraining, train_and_finish
from ganaug_ray.core import checkpoint, worker_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, object_store, shared_memory
from ganaug_ray.data.loading.resident_loader import refuse_elastic_streaming
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime import cluster, resources, side_by_side
from ganaug_ray.runtime.device_task import make_device_task
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.training_process import MAX_RESTARTS, DrainWatch, catch_divergence


def train_classifiers(
    trainings: list[ClassifierTraining],
    resident_gb: float,
    hardware: Hardware,
    notify: Callable[[str], None] = lambda text: None,
) -> None:
    """Train classifiers, as many side by side as there is room: of one worker as Ray tasks, of several under DDP.

    Args:
        trainings: each writes a model folder of its own, so what is finished stays when another fails.
        resident_gb: GB of images that may be kept in memory; smaller stores are read once for a whole machine.
        hardware: of the cluster, as far as it is to be used.
        notify: called with a sentence where trainings get other resources than the job asks for.

    Raises:
        UserError: workers that come and go, with more images than are kept in memory.
        StageFailed: one or more trainings failed; the others are finished.
    """
    for training in trainings:
        if training.config.min_workers:
            _refuse_streaming(training, resident_gb)
    groups = _group_by_workers(trainings, hardware, notify)
    tasks = plan_tasks(groups.pop(1, []), resident_gb, hardware)
    failures = [task.describe_failure(error) for task, error in side_by_side.run_tasks(tasks) if error is not None]
    for workers, group in groups.items():
        train = functools.partial(_train_on_ranks, workers=workers, use_gpu=hardware.has_gpus)
        at_once = resources.plan_stage("train", hardware, workers).at_once
        for training, error in side_by_side.run_groups(train, group, at_once):
            if error is not None:
                failures.append(_describe_failure(training, error))
    if failures:
        raise StageFailed("\n".join(failures[:3]))


def plan_tasks(
    trainings: Sequence[ClassifierTraining], resident_gb: float, hardware: Hardware
) -> list[side_by_side.TrainingTask]:
    """Return the tasks of trainings of one worker each; the images that they share are read once.

    Args:
        trainings: as of ``train_classifiers``.
        resident_gb: likewise.
        hardware: likewise.
    """
    store_names = list(itertools.chain.from_iterable(training.stores for training in trainings))
    loans = object_store.lend_stores(store_names, resident_gb)

    def start(training: ClassifierTraining) -> "ray.ObjectRef[int | None]":
        share = choose_gpu_share(training) if hardware.has_gpus else 1.0
        reserved = resources.plan_stage("train", hardware, gpu_share=share)
        lent_names = [name for name in training.stores if name in loans]
        # Images are arguments of their own: Ray starts no task before they are read. One that waits for them itself
        # gives its CPU away meanwhile, to one more training than there is room for.
        lent = [loans[name] for name in lent_names]
        return make_device_task(_train_task, reserved, MAX_RESTARTS).remote(training, lent_names, *lent)

    return [
        side_by_side.TrainingTask(
            functools.partial(start, training),
            functools.partial(_count_steps_kept, training),
            functools.partial(_describe_failure, training),
        )
        for training in trainings
    ]


def _group_by_workers(
    trainings: list[ClassifierTraining], hardware: Hardware, notify: Callable[[str], None]
) -> dict[int, list[ClassifierTraining]]:
    """Return number of workers -> trainings, and tell of those that get fewer than they ask for."""
    groups: dict[int, list[ClassifierTraining]] = {}
    notes = []
    for training in trainings:
        workers = resources.choose_worker_count(training.config, len(trainings), hardware)
        groups.setdefault(workers, []).append(training)
        notes.append(resources.describe_lowered_workers(training.config, workers, hardware))
    for note in dict.fromkeys(notes):
        if note:
            notify(note)
    return groups


def choose_gpu_share(training: ClassifierTraining) -> float:
    """Return the share of a GPU that a classifier of one worker takes: the job's, or by the size of its training."""
    config = training.config
    if config.gpu_share != "auto":
        return config.gpu_share
    facts = DatasetRecord.read(Folder.from_uri(training.dataset))
    network_input = networks.choose_input(config.arch, facts.image_size, config.input_size, config.is_pretrained)
    parameters = _count_parameters(config.arch, facts.channels, len(facts.classes), network_input)
    return resources.choose_gpu_share(parameters, config.batch_size, network_input.size)


@functools.cache
def _count_parameters(arch: str, channels: int, classes: int, network_input: networks.NetworkInput) -> int:
    with torch.device("meta"):  # no weights are drawn: it takes no time and no random numbers
        network = networks.build_network(arch, channels, classes, 0.0, network_input)
    return sum(weight.numel() for weight in network.parameters())


def _train_on_ranks(training: ClassifierTraining, workers: int, use_gpu: bool) -> None:
    from ganaug_ray.runtime import worker_group  # imports Ray Train, for which a task of one process need not wait

    worker_group.run_on_ranks(
        train_and_finish,
        training,
        resources.choose_worker_range(training.config, workers),
        Folder.from_uri(training.out),
        training.config.placement,
        read_step=functools.partial(_count_steps_kept, training),
        use_gpu=use_gpu,
    )


def _refuse_streaming(training: ClassifierTraining, resident_gb: float) -> None:
    """Raise UserError if images are to be streamed to workers that come and go."""
    folders = [Folder.from_uri(training.dataset) / "train"]
    if training.pool_folder:
        folders.append(Folder.from_uri(training.pool_folder))
    for folder in folders:
        refuse_elastic_streaming("classifier", training.config, image_store.list_shards(folder), resident_gb)


def _count_steps_kept(training: ClassifierTraining) -> int:
    return checkpoint.read_newest_step(Folder.from_uri(training.out) / CHECKPOINT_FOLDER)


def _describe_failure(training: ClassifierTraining, error: DivergenceError | StageFailed) -> str:
    if isinstance(error, StageFailed):
        return f"{training.name}: {error}"
    weights_note = ""
    if Folder.from_uri(training.out).has_file(LAST_GOOD_FILE):
        weights_note = f"the last good weights are kept in {training.out}/{LAST_GOOD_FILE}. "
    return f"{training.name}: {error}; {weights_note}Try a lower classifier.lr than {training.config.peak_lr:g}"


def _train_task(training: ClassifierTraining, lent_names: list[str], *lent: image_store.LabelledImages) -> int | None:
    worker_log.install_print_handler()
    place = Place(
        device=torch.device(cluster.get_reserved_device()),
        is_leaving=DrainWatch(),
        gpu_share=cluster.get_reserved_gpu_share(),
    )
    with shared_memory.lend_images(dict(zip(lent_names, lent, strict=True))):
        return catch_divergence(train_and_finish, training, place)
