"""Distances to nearest neighbours in a feature space, for precision and recall, screening and the memorisation test."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

MAX_DISTANCES_AT_ONCE = 2**22  # distances in memory at a time: 16 MB of float32
MEDIAN_ROWS = 4096  # rows from which a median is taken
CROWD_NEIGHBORS = 5  # as near to this many is near to none in particular


def iterate_distances(
    x_NF: torch.Tensor, reference_MF: torch.Tensor | None = None
) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield the Euclidean distances from each row to each reference row, some rows at a time to save memory.

    They are summed from differences, not taken from products, so that those of equal rows are exactly zero.

    Args:
        x_NF: features, float [N, F].
        reference_MF: features, float [M, F]; None: x_NF itself, and a row's distance to itself is infinite.

    Yields:
        (slice of the rows of x_NF, their distances float [R, M]), in order.
    """
    references_MF = x_NF if reference_MF is None else reference_MF
    step = max(1, MAX_DISTANCES_AT_ONCE // max(1, len(references_MF)))
    for start in range(0, len(x_NF), step):
        rows = slice(start, min(start + step, len(x_NF)))
        d_RM = torch.cdist(x_NF[rows], references_MF, compute_mode="donot_use_mm_for_euclid_dist")
        if reference_MF is None:
            d_RM[:, rows].fill_diagonal_(torch.inf)
        yield rows, d_RM


def find_nearest(
    x_NF: torch.Tensor, reference_MF: torch.Tensor | None = None, k: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find each row's k nearest reference rows, by Euclidean distance.

    Args:
        x_NF: features, float [N, F]; one row at least.
        reference_MF: features, float [M, F]; None: the other rows of x_NF.
        k: how many, at most M; without reference_MF at most N - 1.

    Returns:
        (distances float [N, k] in rising order, row numbers int64 [N, k]).

    >>> find_nearest(torch.tensor([[0.0], [1.0], [5.0]]))[1].flatten().tolist()
    [1, 0, 1]
    """
    nearest_parts = [d_RM.topk(k, dim=1, largest=False) for _, d_RM in iterate_distances(x_NF, reference_MF)]
    return torch.cat([part.values for part in nearest_parts]), torch.cat([part.indices for part in nearest_parts])


@dataclass(frozen=True)
class NeighborSpacing:
    """Measures how near images are to training images, in units of the spacing of the training images there.

    Args:
        train_NF: features of the training images, float [N, F], in random order; two at least.
        y_N: their labels, int64 [N].

    >>> spacing = NeighborSpacing(torch.tensor([[0.0], [1.0], [2.0], [4.0]]), torch.tensor([0, 0, 0, 0]))
    >>> distances, nearest = spacing(torch.tensor([[0.25], [4.5]]))
    >>> distances.tolist(), nearest.tolist()
    ([0.25, 0.5], [0, 3])
    """

    train_NF: torch.Tensor
    y_N: torch.Tensor

    @cached_property
    def spacing_N(self) -> torch.Tensor:
        """The spacing of each training image's class, float [N], above zero.

        It is the median over the class's images of the distance to the nearest other training image, of any class: how
        far real images of the class lie apart.
        """
        some = self.train_NF[:MEDIAN_ROWS]
        # A row's nearest among all rows is itself, its second nearest the nearest other one.
        d_N = find_nearest(some, self.train_NF, k=2)[0][:, 1]
        spacing_N = torch.full_like(self.train_NF[:, 0], d_N.median().item())
        for label in self.y_N[:MEDIAN_ROWS].unique():
            spacing_N[self.y_N == label] = d_N[self.y_N[:MEDIAN_ROWS] == label].median()
        return spacing_N.clamp_min(torch.finfo(spacing_N.dtype).tiny)

    def __call__(self, x_MF: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how near each row is to one training image in particular, and to which.

        It is the distance to the nearest training image, divided by the spacing there or, if that is less, by the
        distance to the fifth nearest. So what is about as near to many images, such as a grey square or a class's mean,
        is no copy of one of them, and what is near to an image and its few near-duplicates still is. Real images that
        are not among the training images are about 1 away, copies close to 0.

        Args:
            x_MF: features, float [M, F].

        Returns:
            (distances float [M], row numbers of the nearest training images int64 [M]).
        """
        d_MK, index_MK = find_nearest(x_MF, self.train_NF, k=min(CROWD_NEIGHBORS, len(self.train_NF)))
        unit_M = torch.minimum(self.spacing_N[index_MK[:, 0]], d_MK[:, -1])
        return d_MK[:, 0] / unit_M.clamp_min(torch.finfo(unit_M.dtype).tiny), index_MK[:, 0]
