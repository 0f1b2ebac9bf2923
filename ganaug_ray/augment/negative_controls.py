"""Negative controls: synthetic rows that teach nothing true. If an arm gains by them, it gains for another reason.

What takes the place of images or labels is drawn for the global batch of a step, so it is the same for any number of
ranks. Soft targets, which would tell of the image that was there, are dropped: the label is all there is.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place, copy_to_device
from ganaug_ray.data.loading.batch import Batch, BatchFeed


@dataclass(frozen=True)
class ControlFeed(BatchFeed):
    """A feed whose batches are each changed by a function of the batch and its step."""

    feed: BatchFeed
    change: Callable[[Batch, int], Batch]

    def count_rows(self, step: int) -> int:
        """Return the number of rows of a step's global batch."""
        return self.feed.count_rows(step)

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch, without soft_BK."""
        batch = replace(self.feed(step), soft_BK=None)
        return self.change(batch, step) if len(batch.y_B) else batch

    def collect_counts(self) -> dict[str, int]:
        """Return the counts of the feed that is changed."""
        return self.feed.collect_counts()


def open_noise_feed(fake: Callable[[Place], BatchFeed], seed: int, place: Place) -> ControlFeed:
    """Open a feed on a rank, with uniform noise in [-1, 1] in place of its images; number and labels stay."""
    return ControlFeed(fake(place), functools.partial(_replace_images, seed))


def open_shuffled_feed(
    fake: Callable[[Place], BatchFeed], classes: Sequence[float], seed: int, place: Place
) -> ControlFeed:
    """Open a feed on a rank, with random labels in place of its own.

    Args:
        fake: opens the feed.
        classes: how often each class is drawn, by its index, in any unit: such as the pool's images of each.
        seed: of the draws.
        place: the rank.
    """
    return ControlFeed(fake(place), functools.partial(_redraw_labels, torch.tensor(classes, dtype=torch.double), seed))


def _replace_images(seed: int, batch: Batch, step: int) -> Batch:
    noise_BCHW = rng.draw_uniform_rows(batch.rows, tuple(batch.x_BCHW.shape[1:]), seed, "noise", step) * 2 - 1
    return replace(batch, x_BCHW=copy_to_device(noise_BCHW, batch.x_BCHW.device))


def _redraw_labels(classes_K: torch.Tensor, seed: int, batch: Batch, step: int) -> Batch:
    share_B = rng.draw_uniform_rows(batch.rows, (), seed, "shuffled labels", step)
    ends_K = classes_K.cumsum(0) / classes_K.sum()  # a class's labels are the draws between its end and the one before
    y_B = torch.searchsorted(ends_K[:-1], share_B, right=True)
    return replace(batch, y_B=copy_to_device(y_B, batch.y_B.device))
