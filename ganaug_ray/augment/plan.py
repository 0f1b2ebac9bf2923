"""Ratio arithmetic: how many synthetic images there are, and how many stand in a batch."""

import math
from collections.abc import Mapping

from ganaug_ray.config import AugmentConfig

SMALLEST_POOL = 200  # a class; generated images cost next to nothing, repeated ones teach less


def pool(train_counts: Mapping[str, int], config: AugmentConfig) -> dict[str, int]:
    """Return how many synthetic images to make of each class.

    >>> pool({"cat": 20, "dog": 300}, AugmentConfig(ratio=1.5))
    {'cat': 200, 'dog': 450}
    """
    if config.per_class is not None:
        return dict.fromkeys(train_counts, config.per_class)
    return {name: max(SMALLEST_POOL, math.ceil(n * config.ratio)) for name, n in train_counts.items()}


def synthetic_upto(step: int, batch_size: int, ratio: float) -> int:
    """Return how many synthetic rows stand in the first ``step`` batches of ``batch_size`` real rows.

    Rounded down as a whole, so that a ratio that gives no whole number a batch is right on average.

    >>> [synthetic_upto(step + 1, 4, 0.3) - synthetic_upto(step, 4, 0.3) for step in range(6)]
    [1, 1, 1, 1, 2, 1]
    """
    return math.floor(step * batch_size * ratio + 1e-9)
