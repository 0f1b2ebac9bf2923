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


def train_classifiers(fits: list[ClassifierTraining], resident_gb: float) -> None:
    """Train classifiers: those with one worker as Ray tasks in parallel, the others one after another under DDP.

    Args:
        fits: each writes a model folder of its own, so what is finished stays when another fails.
        resident_gb: GB of images that may be kept in memory; smaller stores are read once for all fits of a machine.

    Raises:
        UserError: workers that come and go, with more images than are kept in memory.
        StageFailed: one or more fits failed; the others are finished.
    """
    workers = [cluster.choose_worker_count(fit.config, len(fits)) for fit in fits]
    for fit in fits:
        if fit.config.min_workers:
            _refuse_streaming(fit, resident_gb)
    single_worker_fits = [fit for fit, n in zip(fits, workers, strict=True) if n == 1]
    store_names = list(itertools.chain.from_iterable(fit.stores for fit in single_worker_fits))
    loans = object_store.lend_stores(store_names, resident_gb)

    def start(fit: ClassifierTraining) -> "ray.ObjectRef[int | None]":
        return _train_task.options(**cluster.describe_worker_resources(fit.config.gpu_share)).remote(fit, loans)

    failures = []
    for fit, error in worker_group.run_side_by_side(start, single_worker_fits, _count_steps_kept):
        if error is not None:
            failures.append(_describe_failure(fit, error))
    for fit, n in zip(fits, workers, strict=True):
        if n > 1:
            try:
                worker_group.run_on_ranks(
                    train_and_finish,
                    fit,
                    cluster.choose_worker_range(fit.config, n),
                    Folder.from_uri(fit.out),
                    fit.config.placement,
                    read_step=functools.partial(_count_steps_kept, fit),
                )
            except (DivergenceError, StageFailed) as error:
                failures.append(_describe_failure(fit, error))
    if failures:
        raise StageFailed("\n".join(failures[:3]))


def _refuse_streaming(fit: ClassifierTraining, resident_gb: float) -> None:
    """Raise UserError if images are to be streamed to workers that come and go."""
    folders = [Folder.from_uri(fit.dataset) / "train"]
    if fit.pool_folder:
        folders.append(Folder.from_uri(fit.pool_folder))
    for folder in folders:
        refuse_elastic_streaming("classifier", fit.config, image_store.list_shards(folder), resident_gb)


def _count_steps_kept(fit: ClassifierTraining) -> int:
    return checkpoint.read_newest_step(Folder.from_uri(fit.out) / CHECKPOINT_FOLDER)


def _describe_failure(fit: ClassifierTraining, error: DivergenceError | StageFailed) -> str:
    if isinstance(error, StageFailed):
        return f"{fit.name}: {error}"
    weights_note = ""
    if Folder.from_uri(fit.out).has_file(LAST_GOOD_FILE):
        weights_note = f"the last good weights are kept in {fit.out}/{LAST_GOOD_FILE}. "
    return f"{fit.name}: {error}; {weights_note}Try a lower classifier.lr than {fit.config.peak_lr:g}"


@ray.remote(max_retries=worker_group.MAX_RESTARTS)
def _train_task(fit: ClassifierTraining, loans: object_store.StoreLoans) -> int | None:
    worker_log.print_log_messages()
    device_name = "cuda" if torch.cuda.is_available() else "cpu"
    place = Place(device=torch.device(device_name), is_leaving=worker_group.DrainWatch())
    with object_store.borrow_stores(loans, fit.stores):
        return worker_group.catch_divergence(train_and_finish, fit, place)
