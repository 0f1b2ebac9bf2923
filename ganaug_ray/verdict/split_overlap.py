"""How much the splits of a comparison have in common: what makes their differences depend on each other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SplitOverlap:
    """What splits share.

    Attributes:
        train: the share of a split's training rows that another split trains on too, the mean over pairs.
        chosen_on: the share of all test rows that are validation rows in another split, and so had a say in the choice.
        n_train: training rows a split, the mean.
        n_test: test rows a split, the mean.
    """

    train: float
    chosen_on: float
    n_train: float
    n_test: float

    @property
    def correction(self) -> float:
        """What is added to 1/J in the variance of the mean over splits, see ``statistics``."""
        return self.train * self.n_test / self.n_train


def measure_overlap(deals: Sequence[Mapping[str, str]]) -> SplitOverlap:
    """Compare how the images were dealt.

    Args:
        deals: for each split, content id -> train, val, test or unused, as in split.parquet. Test sets are disjoint.
    """
    parts = {
        part: [{id_ for id_, name in deal.items() if name == part} for deal in deals]
        for part in ("train", "val", "test")
    }
    tests = set().union(*parts["test"])
    assert len(tests) == sum(len(ids) for ids in parts["test"]), "the test rows of one split are in no other's"
    pairs = list(itertools.permutations(parts["train"], 2))
    return SplitOverlap(
        train=float(np.mean([len(a & b) / len(a) for a, b in pairs])) if pairs else 0.0,
        chosen_on=len(tests & set().union(*parts["val"])) / len(tests),
        n_train=float(np.mean([len(ids) for ids in parts["train"]])),
        n_test=float(np.mean([len(ids) for ids in parts["test"]])),
    )
