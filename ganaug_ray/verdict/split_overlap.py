"""How many images the splits of a comparison share, which makes their differences depend on each other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SplitOverlap:
    """What the splits of a comparison share.

    Attributes:
        train: share of a split's training rows that another split trains on too, in [0, 1]; the mean over pairs.
        chosen_on: share of all test rows that are validation rows in another split, in [0, 1]; arms were chosen on
            them.
        n_train: training rows a split, on average.
        n_test: test rows a split, on average.
    """

    train: float
    chosen_on: float
    n_train: float
    n_test: float

    @property
    def correction(self) -> float:
        """The term o * n_test / n_train that is added to 1/J in the variance of a mean over splits.

        See ``paired_statistics``. It is what ``estimate_mean`` takes as ``shared``.

        >>> SplitOverlap(train=0.5, chosen_on=0.0, n_train=80, n_test=20).correction
        0.125
        """
        return self.train * self.n_test / self.n_train


def measure_overlap(deals: Sequence[Mapping[str, str]]) -> SplitOverlap:
    """Measure how many images the splits share.

    Args:
        deals: for each split, id of an image -> ``train``, ``val``, ``test`` or ``unused``, as in split.parquet. No
            image is a test image of two splits.

    >>> measure_overlap([{"a": "train", "b": "test"}, {"a": "train", "c": "test"}]).train
    1.0
    """
    train_sets = [_select_ids(deal, "train") for deal in deals]
    test_sets = [_select_ids(deal, "test") for deal in deals]
    val_ids = set().union(*[_select_ids(deal, "val") for deal in deals])
    test_ids = set().union(*test_sets)
    assert len(test_ids) == sum(map(len, test_sets)), "the test rows of one split are in no other's"
    shares = [0.0]
    if len(deals) > 1:
        shares = [len(ids & other_ids) / len(ids) for ids, other_ids in itertools.permutations(train_sets, 2)]
    return SplitOverlap(
        train=float(np.mean(shares)),
        chosen_on=len(test_ids & val_ids) / len(test_ids),
        n_train=float(np.mean([len(ids) for ids in train_sets])),
        n_test=float(np.mean([len(ids) for ids in test_sets])),
    )


def _select_ids(deal: Mapping[str, str], part: str) -> set[str]:
    return {id_ for id_, name in deal.items() if name == part}
