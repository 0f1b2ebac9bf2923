"""The arithmetic of strategies: how many synthetic images there are, and how many rows of each kind are in a batch."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

from ganaug_ray.config import MixConfig
from ganaug_ray.errors import UserError

SMALLEST_POOL = 200  # a class; generated images cost next to nothing, repeated ones teach less


def pool(train_counts: Mapping[str, int], config: MixConfig) -> dict[str, int]:
    """Return how many synthetic images to make of each class that gets some.

    With strategy balance the sizes are a whole multiple of what the classes lack, so that they are drawn in these
    shares; it is the least one that makes SMALLEST_POOL images a class on average. More, for the class that lacks
    least, would be millions where one class lacks a single image and another thousands.

    Raises:
        UserError: strategy balance, and no class lacks any.

    >>> pool({"cat": 20, "dog": 300}, MixConfig(ratio=1.5))
    {'cat': 200, 'dog': 450}
    >>> pool({"cat": 20, "dog": 300, "owl": 280}, MixConfig(strategy="balance"))
    {'cat': 560, 'owl': 40}
    """
    if config.strategy == "balance":
        missing = lacking(train_counts)
        if not missing:
            raise UserError(
                "augment.strategy balance: all classes have the same number of training images, so there is nothing "
                "to fill up; take mix, or leave out what evens them out (data.train_per_class)"
            )
        times = max(math.ceil(config.ratio), math.ceil(SMALLEST_POOL * len(missing) / sum(missing.values())))
        return {name: times * n for name, n in missing.items()}
    if config.per_class is not None:
        return dict.fromkeys(train_counts, config.per_class)
    return {name: max(SMALLEST_POOL, math.ceil(n * config.ratio)) for name, n in train_counts.items()}


def lacking(train_counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many images each class has fewer than the largest, without those that lack none.

    >>> lacking({"cat": 20, "dog": 300, "owl": 280})
    {'cat': 280, 'owl': 20}
    """
    most = max(train_counts.values())
    return {name: most - n for name, n in train_counts.items() if n < most}


def in_words(config: MixConfig) -> str:
    """Say how synthetic rows meet the real ones, and what they count for.

    >>> in_words(MixConfig(ratio=0.5, weight=0.25))
    'mix, ratio 0.5, loss weight 0.25'
    """
    parts: list[str] = [config.strategy]
    parts += [f"ratio {config.ratio:g}"] if config.strategy != "pretrain" else []
    parts += [f"loss weight {config.weight:g}"] if config.weight != 1 else []
    parts += ["batch norm apart"] if config.batch_norm == "separate" else []
    parts += ["soft labels"] if config.soft_labels else []
    parts += [] if config.classes == "all" else [_classes(config)]
    return ", ".join(parts)


def _classes(config: MixConfig) -> str:
    named = isinstance(config.classes, list)
    return f"of {', '.join(config.classes)}" if named else f"of {config.classes} classes"


def synthetic_upto(step: int, batch_size: int, ratio: float) -> int:
    """Return how many synthetic rows stand in the first ``step`` batches of ``batch_size`` real rows.

    Rounded down as a whole, so that a ratio that gives no whole number a batch is right on average.

    >>> [synthetic_upto(step + 1, 4, 0.3) - synthetic_upto(step, 4, 0.3) for step in range(6)]
    [1, 1, 1, 1, 2, 1]
    """
    return math.floor(step * batch_size * ratio + 1e-9)


@dataclass(frozen=True)
class Mixture:
    """How many synthetic rows stand in each batch of a training, and from when on there are real ones.

    Attributes:
        batch_size: real rows of a batch, where it has any.
        ratio: synthetic rows per real one; of anneal, at the beginning; without meaning for pretrain.
        steps: of the training; the same for all strategies.
        strategy: see MixConfig.
    """

    batch_size: int
    ratio: float
    steps: int
    strategy: str = "mix"

    @classmethod
    def of(
        cls,
        config: MixConfig,
        train_counts: Mapping[str, int],
        batch_size: int,
        steps: int,
        not_drawn: Collection[str] = (),
    ) -> Self:
        """Return the mixture of a job, for so many training images a class.

        With strategy balance each pass over the real rows brings as many synthetic ones as the classes lack, times
        config.ratio; without those of classes that cannot be drawn, so that the others get no more for it.
        """
        ratio = config.ratio
        if config.strategy == "balance":
            missing = sum(n for name, n in lacking(train_counts).items() if name not in not_drawn)
            ratio *= missing / sum(train_counts.values())
        return cls(batch_size, ratio, steps, config.strategy)

    @property
    def wait(self) -> int:
        """First steps, in which there are no real rows."""
        return self.steps // 2 if self.strategy == "pretrain" else 0

    def synthetic_upto(self, step: int) -> int:
        """Return how many synthetic rows stand in the first ``step`` batches, rounded down as a whole.

        >>> anneal = Mixture(10, 0.5, 5, "anneal")
        >>> [anneal.synthetic_upto(step + 1) - anneal.synthetic_upto(step) for step in range(5)]
        [4, 4, 2, 2, 0]
        """
        if self.strategy == "pretrain":
            return min(step, self.wait) * self.batch_size
        if self.strategy == "anneal":  # the integral of a share that falls in a straight line from ratio to zero
            fallen = step * step / (2 * self.steps)
            return math.floor((step - fallen) * self.batch_size * self.ratio + 1e-9)
        return synthetic_upto(step, self.batch_size, self.ratio)
