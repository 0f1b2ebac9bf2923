"""Classes made rare on purpose: decides how many training images each class keeps."""

import difflib
from collections.abc import Mapping

from ganaug_ray.config import ImbalanceConfig
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


def list_rare_classes(train: Mapping[str, int], config: ImbalanceConfig | None) -> list[str]:
    """List the classes that were made rare: those that were named or, in a long tail, those below half of the mean.

    Args:
        train: class -> training images that it has kept.
        config: absent: none was.
    """
    if config is None:
        return []
    if config.rare is not None:
        return sorted(set(config.rare))
    mean = sum(train.values()) / len(train)
    return [name for name, n in train.items() if n < mean / 2]


def _refuse_unknown(name: str, classes: list[str]) -> None:
    if name not in classes:
        hint = f"there are {', '.join(classes[:12])}"
        if close := difflib.get_close_matches(name, classes, n=3):
            hint = f"did you mean {' or '.join(close)}?"
        raise UserError(f"data.imbalance.rare: found {name!r}, which is not a class; {hint}")
