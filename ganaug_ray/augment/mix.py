"""How real and synthetic images meet in one batch: the real rows of the real arm, and synthetic rows behind them."""

from collections.abc import Callable
from dataclasses import replace

import torch

from ganaug_ray.augment import plan
from ganaug_ray.data.batches import Batch, open_feed, real_batches
from ganaug_ray.data.tensors import scaled
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder


def mixed_batches(
    dataset: str, synthetic: str, batch_size: int, ratio: float, resident_gb: float, seed: int, place: Place
) -> Callable[[int], Batch]:
    """Open batches of ``batch_size`` real rows, the same ones as without synthetic data, plus ``ratio`` as many."""
    real = real_batches(dataset, batch_size, resident_gb, seed, place)
    fake = open_feed(
        Folder.at(synthetic),
        lambda step: plan.synthetic_upto(step, batch_size, ratio),
        place.world,
        place,
        (seed, "synthetic"),
        resident_gb,
    )
    return lambda step: concatenate(real(step), fake(step))


def concatenate(real: Batch, fake: Batch) -> Batch:
    """Put synthetic rows behind the real ones, scaled to the real images' size."""
    if not len(fake.y_B):  # a small ratio, or a rank without a share
        return replace(real, total=real.total + fake.total)
    return Batch(
        x_BCHW=torch.cat([real.x_BCHW, scaled(fake.x_BCHW, real.x_BCHW.shape[-1])]),
        y_B=torch.cat([real.y_B, fake.y_B]),
        rows=torch.cat([real.rows, fake.rows + real.total]),
        total=real.total + fake.total,
    )
