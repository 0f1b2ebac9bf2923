"""How much the splits of a comparison have in common: what an interval over them can speak of."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ganaug_ray.errors import UserError


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
        deals: for each split, id of an image -> ``train``, ``val``, ``test`` or ``unused``, as in split.parquet.

    Raises:
        UserError: an image is a test image of two splits, as the source or the program changed between them.

    >>> measure_overlap([{"a": "train", "b": "test"}, {"a": "train", "c": "test"}]).train
    1.0
    """
    train_sets = [_select_ids(deal, "train") for deal in deals]
    test_sets = [_select_ids(deal, "test") for deal in deals]
    val_ids = set().union(*[_select_ids(deal, "val") for deal in deals])
    test_ids = set().union(*test_sets)
    if len(test_ids) < sum(map(len, test_sets)):
        raise UserError(
            "two splits have test images in common: data.source or ganaug changed after the first was prepared; give "
            "another --out"
        )
    shares = [0.0]
    if len(deals) > 1:
        shares = [len(ids & other_ids) / len(ids) for ids, other_ids in itertools.permutations(train_sets, 2)]
    return SplitOverlap(
        train=float(np.mean(shares)),
        chosen_on=len(test_ids & val_ids) / len(test_ids),
        tested=len(test_ids),
    )


def _select_ids(deal: Mapping[str, str], part: str) -> set[str]:
    return {id_ for id_, name in deal.items() if name == part}
