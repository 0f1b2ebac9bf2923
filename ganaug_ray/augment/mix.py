"""How real and synthetic images meet in one batch: the real rows of the real arm, and synthetic rows behind them."""

from collections.abc import Callable
from dataclasses import replace

import torch

from ganaug_ray.augment import plan
from ganaug_ray.data.batches import Batch, Feed, Resident, real_batches
from ganaug_ray.data.tensors import scaled
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder


def mixed_batches(
    dataset: str, synthetic: str, batch_size: int, ratio: float, seed: int, place: Place
) -> Callable[[int], Batch]:
    """Open batches of ``batch_size`` real rows, the same ones as without synthetic data, plus ``ratio`` as many."""
    real = real_batches(dataset, batch_size, seed, place)
    rows = Resident.load(Folder.at(synthetic), place.device)
    size = real.rows.images_NHWC.shape[1]
    fake = Feed(rows, lambda step: plan.synthetic_upto(step, batch_size, ratio), place, (seed, "synthetic"))

    def batch(step: int) -> Batch:
        return concatenate(real(step), fake(step), size)

    return batch


def concatenate(real: Batch, fake: Batch, size: int) -> Batch:
    """Put synthetic rows behind the real ones, scaled to the real images' size."""
    if not len(fake.y_B):  # a small ratio, or a rank without a share
        return replace(real, total=real.total + fake.total)
    return Batch(
        x_BCHW=torch.cat([real.x_BCHW, scaled(fake.x_BCHW, size)]),
        y_B=torch.cat([real.y_B, fake.y_B]),
        rows=torch.cat([real.rows, fake.rows + real.total]),
        total=real.total + fake.total,
    )
