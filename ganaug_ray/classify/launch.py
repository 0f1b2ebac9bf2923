"""The train stage: many fits, as many at a time as the cluster has room for."""

import functools

import ray
import torch

from ganaug_ray.classify.train_worker import CHECKPOINTS, LAST_GOOD, Fit, work
from ganaug_ray.core import checkpoint
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import Diverged
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, object_store
from ganaug_ray.data.loading.resident_loader import refuse_changing
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime import cluster, worker_group


def train(fits: list[Fit], resident_gb: float) -> None:
    """Train every fit; those with one worker as plain Ray tasks side by side, the others one after another under DDP.

    Args:
        fits: each writes a model folder of its own, so what is finished stays when another fails.
        resident_gb: GB of images that may be kept in memory; smaller stores are read once for all fits of a machine.

    Raises:
        UserError: workers that come and go, with more images than are kept in memory.
        StageFailed: one or more fits failed; the others are finished.
    """
    workers = [cluster.workers(fit.config, len(fits)) for fit in fits]
    for fit in fits:
        if fit.config.min_workers:
            for folder in filter(None, (str(Folder.at(fit.dataset) / "train"), fit.pool)):
                refuse_changing("classifier", fit.config, image_store.survey(Folder.at(folder)), resident_gb)
    alone = [fit for fit, n in zip(fits, workers, strict=True) if n == 1]
    loans = object_store.lend([name for fit in alone for name in fit.stores], resident_gb)

    def start(fit: Fit) -> "ray.ObjectRef[int | None]":
        return _task.options(**cluster.worker_resources(fit.config.gpu_share)).remote(fit, loans)

    failures = [_told(fit, error) for fit, error in worker_group.side_by_side(start, alone, _kept) if error]
    for fit, n in zip(fits, workers, strict=True):
        if n > 1:
            span, kept = cluster.span(fit.config, n), functools.partial(_kept, fit)
            try:
                worker_group.run(work, fit, span, Folder.at(fit.out), fit.config.placement, kept=kept)
            except (Diverged, StageFailed) as error:
                failures.append(_told(fit, error))
    if failures:
        raise StageFailed("\n".join(failures[:3]))


def _kept(fit: Fit) -> int:
    return checkpoint.steps_kept(Folder.at(fit.out) / CHECKPOINTS)


def _told(fit: Fit, error: Diverged | StageFailed) -> str:
    if isinstance(error, StageFailed):
        return f"{fit.name}: {error}"
    kept = f"the last good weights are kept in {fit.out}/{LAST_GOOD}. " if Folder.at(fit.out).has(LAST_GOOD) else ""
    return f"{fit.name}: {error}; {kept}Try a lower classifier.lr than {fit.config.peak_lr:g}"


@ray.remote(max_retries=worker_group.RESTARTS)
def _task(fit: Fit, loans: object_store.Loans) -> int | None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with object_store.borrowed(loans, fit.stores):
        return worker_group.divergence(work, fit, Place(device=device, leaving=worker_group.Notice()))
