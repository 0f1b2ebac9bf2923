"""Rare classes: how many training images each class keeps where some are thinned on purpose, and which are rare."""

import difflib
import math
from collections.abc import Mapping

from ganaug_ray.config import DataConfig, ImbalanceConfig
from ganaug_ray.data.ingest.split import MIN_ROWS_PER_CLASS
from ganaug_ray.errors import UserError


def count_kept_images(train: Mapping[str, int], config: ImbalanceConfig) -> dict[str, int]:
    """Count the training images that each class keeps, rounded to the nearest.

    Args:
        train: class -> its training images, in the order of the classes.
        config: the factor, and the classes that are thinned by it; without some, the exponential long tail of
            Cui et al. 2019 (arXiv 1901.05555).

    Raises:
        UserError: a name is no class, or a class would keep fewer than MIN_ROWS_PER_CLASS.

    >>> count_kept_images({"cat": 100, "dog": 100, "owl": 80}, ImbalanceConfig(factor=10, rare=["dog"]))
    {'cat': 100, 'dog': 10, 'owl': 80}
    >>> count_kept_images(dict.fromkeys("abc", 400), ImbalanceConfig(factor=100))
    {'a': 400, 'b': 40, 'c': 4}
    """
    if config.rare is None:
        shares = {name: config.factor ** (-i / (len(train) - 1)) for i, name in enumerate(train)}
    else:
        shares = dict.fromkeys(train, 1.0)
        for name in config.rare:
            _refuse_unknown(name, list(train))
            shares[name] = 1 / config.factor
    reduced_counts = {name: round(n * shares[name]) for name, n in train.items()}
    for name, n in reduced_counts.items():
        if n < MIN_ROWS_PER_CLASS:
            raise UserError(
                f"data.imbalance.factor {config.factor:g}: class {name!r} would keep {n} of {train[name]} training "
                f"images, at least {MIN_ROWS_PER_CLASS} are needed; take a smaller factor, or more images a class"
            )
    return reduced_counts


def list_rare_classes(counts: Mapping[str, Mapping[str, int]], config: DataConfig) -> list[str]:
    """List the rare classes: those that were named to be thinned, else those below half of the mean.

    Args:
        counts: split -> class -> images that it has kept.
        config: of the data set.
    """
    if config.imbalance is not None and config.imbalance.rare is not None:
        return sorted(set(config.imbalance.rare))
    sizes: dict[str, float] = dict(counts["train"])
    if config.imbalance is None and config.split.folds > 1:
        # By the images of all parts, which all splits have in common: a class is rare in each of them, or in none.
        most = config.train_per_class or math.inf
        sizes = {name: min(most, sum(counts[part][name] for part in ("train", "val", "test"))) for name in sizes}
    mean = sum(sizes.values()) / len(sizes)
    return [name for name, n in sizes.items() if n < mean / 2]


def _refuse_unknown(name: str, classes: list[str]) -> None:
    if name not in classes:
        hint = f"there are {', '.join(classes[:12])}"
        if close := difflib.get_close_matches(name, classes, n=3):
            hint = f"did you mean {' or '.join(close)}?"
        raise UserError(f"data.imbalance.rare: found {name!r}, which is not a class; {hint}")
