"""The interface of a loader: a rank's part of a global batch, and an endless feed of such parts."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ganaug_ray.core import rng


@dataclass(frozen=True)
class Batch:
    """One rank's part of the global batch of a step: B of ``total`` rows.

    Attributes:
        x_BCHW: images, float32 in [-1, 1].
        y_B: classes, int64.
        rows: positions of these rows in the global batch, int64 [B], by which random draws are made.
        total: number of rows of the global batch.
        weight_B: weight of each row in the loss, float32, with mean one over the global batch; None: all one.
        soft_BK: class probabilities to train towards, float32; None: ``y_B`` is certain.
        real: number of rows, the first ones, that are real; the others are normalised apart from them. None: all rows
            are normalised together.
    """

    x_BCHW: torch.Tensor
    y_B: torch.Tensor
    rows: np.ndarray
    total: int
    weight_B: torch.Tensor | None = None
    soft_BK: torch.Tensor | None = None
    real: int | None = None

    def count_real_rows(self, part: int, parts: int) -> int | None:
        """Count the real rows among the rows ``part``, ``part + parts``, ...; None where all are normalised together.

        Args:
            part: number of the part, in [0, parts).
            parts: number of parts that the batch goes through the network in, one at least.

        Returns:
            A number in [0, B], or None.

        >>> batch = Batch(torch.zeros(5, 1, 8, 8), torch.zeros(5).long(), np.arange(5), total=5, real=3)
        >>> batch.count_real_rows(part=0, parts=2), batch.count_real_rows(part=1, parts=2)
        (2, 1)
        """
        return None if self.real is None else len(range(part, self.real, parts))


def draw_random_batch(rows: int, classes: int, channels: int, size: int, device: torch.device) -> Batch:
    """Draw a batch of noise to time steps with, the same one every time.

    Args:
        rows: of the batch, B.
        classes: labels are drawn from.
        channels: of the images, C.
        size: height and width of the images, in pixels.
        device: that the tensors are on.

    >>> batch = draw_random_batch(4, classes=3, channels=1, size=8, device=torch.device("cpu"))
    >>> batch.x_BCHW.shape, batch.total
    (torch.Size([4, 1, 8, 8]), 4)
    """
    draw = rng.make_generator("training time")
    x_BCHW = 2 * torch.rand(rows, channels, size, size, generator=draw) - 1
    y_B = torch.randint(classes, (rows,), generator=draw)
    return Batch(x_BCHW.to(device), y_B.to(device), np.arange(rows), rows)


class BatchFeed(Protocol):
    """A source of the batches of any step, without end."""

    def count_rows(self, step: int) -> int:
        """Return the number of rows of a step's global batch.

        Args:
            step: steps count from zero.

        Returns:
            The rows of all ranks together.
        """

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch; steps count from zero."""

    def collect_counts(self) -> dict[str, int]:
        """Return what this rank has counted so far, for the model's record; the keys are the same on every rank."""
        return {}
