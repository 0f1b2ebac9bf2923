"""The mixing strategies: how many synthetic images to make, and how many rows of each kind each batch has.

A new strategy is a class here, a line in STRATEGIES, and its name in ``config.augment``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ganaug_ray.config import MixConfig
from ganaug_ray.errors import UserError

if TYPE_CHECKING:
    from ganaug_ray.config.augment import StrategyName

MIN_POOL_PER_CLASS = 200  # a class; generated images cost next to nothing, repeated ones teach less


class Strategy:
    """The strategy ``mix``: equally many synthetic rows in every batch; base class of the others."""

    def size_pool(self, train_counts: Mapping[str, int], config: MixConfig) -> dict[str, int]:
        """Return how many synthetic images to make of each class that gets some."""
        if config.per_class is not None:
            return dict.fromkeys(train_counts, config.per_class)
        return {name: max(MIN_POOL_PER_CLASS, math.ceil(n * config.ratio)) for name, n in train_counts.items()}

    def scale_ratio(
        self,
        ratio: float,
        train_counts: Mapping[str, int],
        classes_without_extra_rows: Collection[str],
        undrawn_share: float,
    ) -> float:
        """Return the number of synthetic rows per real one.

        Args:
            ratio: as the settings have it.
            train_counts: class -> number of its training images.
            classes_without_extra_rows: those that get no synthetic rows, since they were not chosen or not drawn.
            undrawn_share: of the rows, those that chosen classes of which there are no images would have had. They are
                left out: the other classes get no more for it.
        """
        return ratio * (1 - undrawn_share)

    def count_waiting_steps(self, mixture: Mixture) -> int:
        """Return the number of first steps that are without real rows."""
        return 0

    def count_synthetic_rows(self, mixture: Mixture, step: int) -> int:
        """Return the number of synthetic rows in the first ``step`` batches, their sum rounded down."""
        return count_synthetic_rows(step, mixture.batch_size, mixture.ratio)

    def describe_ratio(self, config: MixConfig) -> list[str]:
        """Return the ratio in words for the report; empty if the strategy does not use it."""
        return [f"ratio {config.ratio:g}"]

    def describe_rows(self, mixture: Mixture) -> str:
        """Say how many synthetic rows a batch holds, for the dry run."""
        return f"{round(mixture.ratio * mixture.batch_size, 1):g} a batch"


class Pretrain(Strategy):
    """The strategy ``pretrain``: synthetic rows alone in the first half of the steps, then real ones alone."""

    def count_waiting_steps(self, mixture: Mixture) -> int:
        """Return half of the steps."""
        return mixture.steps // 2

    def count_synthetic_rows(self, mixture: Mixture, step: int) -> int:
        """Return the rows of whole batches of synthetic rows, in the first half of the steps."""
        return min(step, mixture.synthetic_only_steps) * mixture.batch_size

    def describe_ratio(self, config: MixConfig) -> list[str]:
        """Return an empty list, as the ratio is not used."""
        return []

    def describe_rows(self, mixture: Mixture) -> str:
        """Say for the dry run which steps have synthetic rows."""
        return f"{mixture.batch_size} alone in each of the first {mixture.synthetic_only_steps} steps"


class Anneal(Strategy):
    """The strategy ``anneal``: the number of synthetic rows falls steadily, to none in the last step."""

    def count_synthetic_rows(self, mixture: Mixture, step: int) -> int:
        """Return the number in the first ``step`` batches, if it falls in a straight line from the ratio to zero."""
        fallen = step * step / (2 * mixture.steps)
        return math.floor((step - fallen) * mixture.batch_size * mixture.ratio + 1e-9)

    def describe_rows(self, mixture: Mixture) -> str:
        """Say for the dry run how many synthetic rows the first batch holds, and that they become fewer."""
        return f"{super().describe_rows(mixture)}, falling to none"


class Balance(Strategy):
    """The strategy ``balance``: synthetic rows fill rare classes up to the size of the largest."""

    def size_pool(self, train_counts: Mapping[str, int], config: MixConfig) -> dict[str, int]:
        """Return a whole multiple of the number of images that each class has fewer than the largest.

        It is the least multiple that makes MIN_POOL_PER_CLASS images a class on average. More, for the class that lacks
        least, would be millions where one class lacks a single image and another thousands.

        Raises:
            UserError: no class lacks any.
        """
        missing = count_missing(train_counts)
        if not missing:
            raise UserError(
                "augment.strategy balance (or an arm's): all classes have the same number of training images, so there "
                "is nothing to fill up; take mix, or remove data.train_per_class, which makes them equal, in "
                "another --out"
            )
        times = max(math.ceil(config.ratio), math.ceil(MIN_POOL_PER_CLASS * len(missing) / sum(missing.values())))
        return {name: times * n for name, n in missing.items()}

    def scale_ratio(
        self,
        ratio: float,
        train_counts: Mapping[str, int],
        classes_without_extra_rows: Collection[str],
        undrawn_share: float,
    ) -> float:
        """Return the ratio at which a pass over the real rows brings ``ratio`` times the missing images.

        Those of classes without extra rows are left out, so that the others get no more for it.
        """
        missing = sum(n for name, n in count_missing(train_counts).items() if name not in classes_without_extra_rows)
        return ratio * (missing / sum(train_counts.values()))


STRATEGIES: dict[StrategyName, Strategy] = {
    "mix": Strategy(),
    "pretrain": Pretrain(),
    "anneal": Anneal(),
    "balance": Balance(),
}


def plan_pool_counts(train_counts: Mapping[str, int], config: MixConfig) -> dict[str, int]:
    """Return how many synthetic images to make of each class that gets some, by the job's strategy.

    Raises:
        UserError: the strategy does not suit these classes.

    >>> plan_pool_counts({"cat": 20, "dog": 300}, MixConfig(ratio=1.5))
    {'cat': 200, 'dog': 450}
    >>> plan_pool_counts({"cat": 20, "dog": 300, "owl": 280}, MixConfig(strategy="balance"))
    {'cat': 560, 'owl': 40}
    """
    return STRATEGIES[config.strategy].size_pool(train_counts, config)


def count_missing(train_counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many images each class has fewer than the largest; classes that lack none are left out.

    >>> count_missing({"cat": 20, "dog": 300, "owl": 280})
    {'cat': 280, 'owl': 20}
    """
    largest = max(train_counts.values())
    return {name: largest - n for name, n in train_counts.items() if n < largest}


def describe_mix(config: MixConfig) -> str:
    """Describe the mixing settings in one line.

    >>> describe_mix(MixConfig(ratio=0.5, weight=0.25))
    'mix, ratio 0.5, loss weight 0.25'
    """
    return ", ".join(list_settings(config))


def list_settings(config: MixConfig) -> list[str]:
    """List the same settings, one by one."""
    parts: list[str] = [config.strategy]
    parts += STRATEGIES[config.strategy].describe_ratio(config)
    parts += describe_options(config)
    if isinstance(config.classes, list):
        parts.append(f"of {', '.join(config.classes)}")
    elif config.classes != "all":
        parts.append(f"of {config.classes} classes")
    return parts


def describe_options(config: MixConfig) -> list[str]:
    """Say what is asked of synthetic rows beyond their number; nothing of what is as usual."""
    parts = []
    if config.weight != 1:
        parts.append(f"loss weight {config.weight:g}")
    if config.batch_norm == "separate":
        parts.append("batch norm apart")
    if config.soft_labels:
        parts.append("soft labels")
    return parts


def count_synthetic_rows(step: int, batch_size: int, ratio: float) -> int:
    """Return the number of synthetic rows in the first ``step`` batches of ``batch_size`` real rows.

    Rounded down as a whole, so that a ratio that gives no whole number a batch is right on average.

    >>> [count_synthetic_rows(step + 1, 4, 0.3) - count_synthetic_rows(step, 4, 0.3) for step in range(6)]
    [1, 1, 1, 1, 2, 1]
    """
    return math.floor(step * batch_size * ratio + 1e-9)


@dataclass(frozen=True)
class Mixture:
    """How many synthetic rows each batch of a training has, and when real rows begin.

    Attributes:
        batch_size: real rows of a batch, where it has any.
        ratio: synthetic rows per real one; of anneal, at the beginning; without meaning for pretrain.
        steps: of the training; the same for all strategies.
        strategy: see MixConfig.
    """

    batch_size: int
    ratio: float
    steps: int
    strategy: StrategyName = "mix"

    @classmethod
    def from_config(
        cls,
        config: MixConfig,
        train_counts: Mapping[str, int],
        batch_size: int,
        steps: int,
        classes_without_extra_rows: Collection[str] = (),
        undrawn_share: float = 0.0,
    ) -> Self:
        """Build the mixture of an arm.

        Args:
            config: the arm's settings.
            train_counts: class -> number of its training images.
            batch_size: real rows of a batch.
            steps: of the training.
            classes_without_extra_rows: as of ``Strategy.scale_ratio``.
            undrawn_share: likewise.
        """
        ratio = STRATEGIES[config.strategy].scale_ratio(
            config.ratio, train_counts, classes_without_extra_rows, undrawn_share
        )
        return cls(batch_size, ratio, steps, config.strategy)

    @property
    def synthetic_only_steps(self) -> int:
        """The number of first steps that are without real rows."""
        return STRATEGIES[self.strategy].count_waiting_steps(self)

    def count_synthetic_rows(self, step: int) -> int:
        """Return the number of synthetic rows in the first ``step`` batches, their sum rounded down.

        >>> anneal = Mixture(10, 0.5, 5, "anneal")
        >>> [anneal.count_synthetic_rows(step + 1) - anneal.count_synthetic_rows(step) for step in range(5)]
        [4, 4, 2, 2, 0]
        """
        return STRATEGIES[self.strategy].count_synthetic_rows(self, step)

    def describe(self) -> str:
        """Describe the synthetic rows of a whole training, for the dry run.

        >>> Mixture(10, 0.5, 5, "anneal").describe()
        'anneal: 5 a batch, falling to none, 12 in all'
        """
        rows = STRATEGIES[self.strategy].describe_rows(self)
        return f"{self.strategy}: {rows}, {self.count_synthetic_rows(self.steps):,} in all"
