"""How much the splits of a comparison have in common: what an interval over them can speak of."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SplitOverlap:
    """What the splits of a comparison share.

    Attributes:
        train: the share of a split's training rows that another split trains on too, the mean over pairs.
        chosen_on: the share of all test rows that are validation rows in another split, and so had a say in the choice.
        tested: test rows in all splits together.
    """

    train: float
    chosen_on: float
    tested: int


def measure_overlap(deals: Sequence[Mapping[str, str]]) -> SplitOverlap:
    """Measure how many images the splits share.

    Args:
        deals: for each split, id of an image -> ``train``, ``val``, ``test`` or ``unused``, as in split.parquet. No
            image is a test image of two splits.

    >>> measure_overlap([{"a": "train", "b": "test"}, {"a": "train", "c": "test"}]).train
    1.0
    """
    parts = {
        part: [{id_ for id_, own in deal.items() if own == part} for deal in deals] for part in ("train", "val", "test")
    }
    tests = set().union(*parts["test"])
    assert len(tests) == sum(len(own) for own in parts["test"]), "the test rows of one split are in no other's"
    pairs = list(itertools.permutations(parts["train"], 2))
    return SplitOverlap(
        train=float(np.mean([len(a & b) / len(a) for a, b in pairs])) if pairs else 0.0,
        chosen_on=len(tests & set().union(*parts["val"])) / len(tests),
        tested=len(tests),
    )
