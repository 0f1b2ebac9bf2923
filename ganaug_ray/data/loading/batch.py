"""What a loader gives: a rank's part of a global batch, and the protocol of an endless feed of them."""

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class Batch:
    """This rank's part of a step's global batch.

    Attributes:
        x_BCHW: float32 [-1, 1].
        y_B: class indices, int64.
        rows: where these rows stand in the global batch, for draws that are made whole.
        total: rows of the global batch.
        weight_B: what each row counts in the loss, float32; one in the mean over the global batch. Absent: one each.
        soft_BK: probabilities of the classes to train towards, float32; absent: y_B is certain.
        real: how many rows, in front, are real; the others are normalised apart from them. Absent: all together.
    """

    x_BCHW: torch.Tensor
    y_B: torch.Tensor
    rows: torch.Tensor
    total: int
    weight_B: torch.Tensor | None = None
    soft_BK: torch.Tensor | None = None
    real: int | None = None

    def count_real_rows(self, part: int, parts: int) -> int | None:
        """How many of the rows ``part::parts`` are real, where that is told."""
        return None if self.real is None else len(range(part, self.real, parts))


class BatchFeed(Protocol):
    """An endless order of rows, cut into steps."""

    def count_rows(self, step: int) -> int:
        """Rows of the global batch of a step."""

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch."""

    def collect_counts(self) -> dict[str, int]:
        """Return what this rank has counted on the way, for the model's record; the same keys on every rank."""
        return {}
