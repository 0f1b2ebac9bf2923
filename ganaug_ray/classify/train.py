"""The train stage: many fits, as many at a time as the cluster has room for."""

import functools
from collections.abc import Callable

import ray
import torch

from ganaug_ray import checkpoints, cluster, lending, ranks
from ganaug_ray.classify.worker import CHECKPOINTS, LAST_GOOD, Fit, work
from ganaug_ray.errors import StageFailed
from ganaug_ray.guard import Diverged
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder


def train(fits: list[Fit], resident_gb: float) -> None:
    """Train every fit; those with one worker as plain Ray tasks side by side, the others one after another under DDP.

    Args:
        fits: each writes a model folder of its own, so what is finished stays when another fails.
        resident_gb: GB of images that may be kept in memory; smaller stores are read once for all fits of a machine.

    Raises:
        StageFailed: one or more fits failed; the others are finished.
    """
    failures: list[str] = []
    workers = [cluster.workers(fit.config, len(fits)) for fit in fits]
    alone = [fit for fit, n in zip(fits, workers, strict=True) if n == 1]
    loans = lending.lend([name for fit in alone for name in fit.stores], resident_gb)
    waiting = {_task.options(**cluster.worker_resources(fit.config.gpu_share)).remote(fit, loans): fit for fit in alone}
    while waiting:
        (ref, *_), _ = ray.wait(list(waiting), num_returns=1)
        _collect(waiting.pop(ref), functools.partial(_result, ref), failures)
    for fit, n in zip(fits, workers, strict=True):
        if n > 1:
            out = Folder.at(fit.out)
            kept = functools.partial(checkpoints.steps_kept, out / CHECKPOINTS)
            on_ranks = functools.partial(ranks.run, work, fit, n, out, fit.config.placement, kept=kept)
            _collect(fit, on_ranks, failures)
    if failures:
        raise StageFailed("\n".join(failures[:3]))


def _collect(fit: Fit, run: Callable[[], object], failures: list[str]) -> None:
    try:
        run()
    except Diverged as error:
        kept = f"the last good weights are kept in {fit.out}/{LAST_GOOD}. " if Folder.at(fit.out).has(LAST_GOOD) else ""
        failures.append(f"{fit.name}: {error}; {kept}Try a lower classifier.lr than {fit.config.peak_lr:g}")
    except (StageFailed, ray.exceptions.RayError) as error:
        failures.append(f"{fit.name}: {str(error).strip().splitlines()[-1]}")


@ray.remote
def _task(fit: Fit, loans: lending.Loans) -> int | None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with lending.borrowed(loans, fit.stores):
        return ranks.divergence(work, fit, Place(device=device, leaving=ranks.Notice()))


def _result(ref: "ray.ObjectRef[int | None]") -> None:
    ranks.raise_divergence(ray.get(ref))
