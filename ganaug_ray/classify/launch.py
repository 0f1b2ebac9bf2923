"""The train stage: trains many classifiers, as many at a time as the cluster has room for."""

import functools
import itertools

import ray
import torch

from ganaug_ray.classify.train_worker import CHECKPOINT_FOLDER, LAST_GOOD_FILE, ClassifierTraining, train_and_finish
from ganaug_ray.core import checkpoint, worker_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, object_store
from ganaug_ray.data.loading.resident_loader import refuse_elastic_streaming
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime import cluster, worker_group


def train_classifiers(trainings: list[ClassifierTraining], resident_gb: float) -> None:
    """Train classifiers: those with one worker as Ray tasks in parallel, the others one after another under DDP.

    Args:
        trainings: each writes a model folder of its own, so what is finished stays when another fails.
        resident_gb: GB of images that may be kept in memory; smaller stores are read once for a whole machine.

    Raises:
        UserError: workers that come and go, with more images than are kept in memory.
        StageFailed: one or more trainings failed; the others are finished.
    """
    workers = [cluster.choose_worker_count(training.config, len(trainings)) for training in trainings]
    for training in trainings:
        if training.config.min_workers:
            _refuse_streaming(training, resident_gb)
    single_worker_trainings = [training for training, n in zip(trainings, workers, strict=True) if n == 1]
    store_names = list(itertools.chain.from_iterable(training.stores for training in single_worker_trainings))
    loans = object_store.lend_stores(store_names, resident_gb)

    def start(training: ClassifierTraining) -> "ray.ObjectRef[int | None]":
        return _train_task.options(**cluster.describe_worker_resources(training.config.gpu_share)).remote(
            training, loans
        )

    failures = []
    for training, error in worker_group.run_side_by_side(start, single_worker_trainings, _count_steps_kept):
        if error is not None:
            failures.append(_describe_failure(training, error))
    for training, n in zip(trainings, workers, strict=True):
        if n > 1:
            try:
                worker_group.run_on_ranks(
                    train_and_finish,
                    training,
                    cluster.choose_worker_range(training.config, n),
                    Folder.from_uri(training.out),
                    training.config.placement,
                    read_step=functools.partial(_count_steps_kept, training),
                )
            except (DivergenceError, StageFailed) as error:
                failures.append(_describe_failure(training, error))
    if failures:
        raise StageFailed("\n".join(failures[:3]))


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


@ray.remote(max_retries=worker_group.MAX_RESTARTS)
def _train_task(training: ClassifierTraining, loans: object_store.StoreLoans) -> int | None:
    worker_log.install_print_handler()
    device_name = "cuda" if torch.cuda.is_available() else "cpu"
    place = Place(device=torch.device(device_name), is_leaving=worker_group.DrainWatch())
    with object_store.borrow_stores(loans, training.stores):
        return worker_group.catch_divergence(train_and_finish, training, place)
