"""How real and synthetic images meet in one batch: the real rows of the real arm, and synthetic rows behind them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from ganaug_ray.augment import plan
from ganaug_ray.data.batches import Batch, Feed, open_feed
from ganaug_ray.data.tensors import scaled
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder


def pool_batches(synthetic: str, batch_size: int, ratio: float, resident_gb: float, seed: int, place: Place) -> Feed:
    """Batches of stored synthetic rows, ``ratio`` as many as the ``batch_size`` real ones that they stand behind."""
    return open_feed(
        Folder.at(synthetic),
        lambda step: plan.synthetic_upto(step, batch_size, ratio),
        place.world,
        place,
        (seed, "synthetic"),
        resident_gb,
    )


@dataclass(frozen=True)
class Mixed(Feed):
    """Batches of real rows, the same ones as without synthetic data, and synthetic rows behind them."""

    real: Feed
    fake: Feed

    def size(self, step: int) -> int:
        """Rows of the global batch of a step."""
        return self.real.size(step) + self.fake.size(step)

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch."""
        return concatenate(self.real(step), self.fake(step))

    def tally(self) -> dict[str, int]:
        """Return what was counted of the synthetic rows."""
        return self.fake.tally()


def mixed_batches(real: Callable[[Place], Feed], fake: Callable[[Place], Feed], place: Place) -> Mixed:
    """Open both feeds on a rank, wherever the synthetic rows come from."""
    return Mixed(real(place), fake(place))


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
