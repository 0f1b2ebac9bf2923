"""Mixes real and synthetic rows in one batch: the baseline's real rows first, and synthetic rows behind them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.resident_loader import open_feed
from ganaug_ray.data.loading.sampler import NATURAL_SAMPLING, Sampling
from ganaug_ray.data.loading.tensors import scale_images


def open_pool_feed(
    synthetic: str,
    upto: Callable[[int], int],
    resident_gb: float,
    seed: int,
    place: Place,
    sampling: Sampling = NATURAL_SAMPLING,
) -> BatchFeed:
    """Open a feed of stored synthetic rows; ``upto`` maps a number of steps to the rows that these use."""
    return open_feed(
        Folder.from_uri(synthetic), upto, place.world_size, place, (seed, "synthetic"), resident_gb, sampling
    )


def open_oversampled_feed(
    dataset: str,
    upto: Callable[[int], int],
    resident_gb: float,
    seed: int,
    sampling: Sampling,
    place: Place,
) -> BatchFeed:
    """Open a feed of real training rows in another order; ``upto`` maps a number of steps to the rows that these use.

    What more rows of the same images do by themselves: oversampling.
    """
    return open_feed(
        Folder.from_uri(dataset) / "train", upto, place.world_size, place, (seed, "synthetic"), resident_gb, sampling
    )


@dataclass(frozen=True)
class MixedFeed(BatchFeed):
    """Batches of the baseline's real rows with synthetic rows behind them.

    Attributes:
        real: the real rows.
        fake: the synthetic rows.
        weight: what a synthetic row counts in the loss, where a real one counts one.
        apart: whether synthetic rows are to be normalised apart from the real ones.
    """

    real: BatchFeed
    fake: BatchFeed
    weight: float = 1.0
    apart: bool = False

    def count_rows(self, step: int) -> int:
        """Return the number of rows of a step's global batch."""
        return self.real.count_rows(step) + self.fake.count_rows(step)

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch."""
        real = self.real(step)
        fake = self.fake(step)
        both = append_synthetic_rows(real, fake)
        if self.weight != 1.0:
            counts_B = torch.ones(len(both.y_B), device=both.y_B.device)
            counts_B[len(real.y_B) :] = self.weight
            both = replace(both, weight_B=counts_B * (both.total / (real.total + self.weight * fake.total)))
        if self.apart:
            both = replace(both, real=len(real.y_B))
        return both

    def collect_counts(self) -> dict[str, int]:
        """Return the counts of the synthetic rows' feed."""
        return self.fake.collect_counts()


def open_mixed_feed(
    real: Callable[[Place], BatchFeed],
    fake: Callable[[Place], BatchFeed],
    place: Place,
    weight: float = 1.0,
    apart: bool = False,
) -> MixedFeed:
    """Open both feeds on a rank, and mix them; see MixedFeed."""
    return MixedFeed(real(place), fake(place), weight, apart)


def append_synthetic_rows(real: Batch, fake: Batch) -> Batch:
    """Append synthetic rows to a batch of real ones, scaled to the real images' size; soft labels are kept.

    Either may be without rows: a small ratio, a rank without a share, or steps on one kind alone.
    """
    if not len(fake.y_B):
        return replace(real, total=real.total + fake.total)
    soft_BK = None
    if fake.soft_BK is not None:
        soft_BK = torch.cat([F.one_hot(real.y_B, fake.soft_BK.shape[1]).float(), fake.soft_BK])
    return Batch(
        x_BCHW=torch.cat([real.x_BCHW, scale_images(fake.x_BCHW, real.x_BCHW.shape[-1])]),
        y_B=torch.cat([real.y_B, fake.y_B]),
        rows=np.concatenate([real.rows, fake.rows + real.total]),
        total=real.total + fake.total,
        soft_BK=soft_BK,
    )
