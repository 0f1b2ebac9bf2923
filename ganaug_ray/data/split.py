"""Which image goes to train, validation or test: decided by content, so equal content is never on two sides."""

from collections.abc import Mapping

from ganaug_ray import randomness
from ganaug_ray.config import SplitConfig
from ganaug_ray.errors import UserError

MIN_ROWS = 2  # of each class in each split: fewer cannot be trained on or measured
UNUSED = "unused"  # left over where labels are made scarce; kept in split.parquet, stored nowhere


def assign(
    ids: Mapping[str, list[str]], config: SplitConfig, train_cap: int | None, val_cap: int | None
) -> dict[str, str]:
    """Deal out every class's images to train, val, test and unused.

    Within a class the images are ranked by a hash of their content: the first ranks are for test, the next for
    validation, the rest for training, of which ``train_cap`` are taken. The caps never shrink the test split, and a
    smaller cap takes a subset of what a larger one takes.

    Args:
        ids: class name -> content ids of its images, each once.
        config: the shares and the seed.
        train_cap: training images a class at most.
        val_cap: validation images a class at most.

    Raises:
        UserError: a class has too few images for the minimum a split.
    """
    split: dict[str, str] = {}
    poor = {name: len(own) for name, own in ids.items() if len(own) < 3 * MIN_ROWS}
    if poor:
        name, n = min(poor.items(), key=lambda item: item[1])
        others = f" (and {len(poor) - 1} more classes)" if len(poor) > 1 else ""
        raise UserError(
            f"class {name!r} has {n} usable image{'s' * (n != 1)}{others}; train, val and test need "
            f"{MIN_ROWS} each, so at least {3 * MIN_ROWS} a class"
        )
    for own in ids.values():
        ranked = sorted(own, key=lambda content: randomness.number(config.seed, "split", content))
        room = len(ranked) - MIN_ROWS
        test = min(max(MIN_ROWS, round(len(ranked) * config.test)), room - MIN_ROWS)
        val = min(max(MIN_ROWS, round(len(ranked) * config.val)), room - test)
        for rank, content in enumerate(ranked):
            if rank < test:
                split[content] = "test"
            elif rank < test + val:
                split[content] = "val" if val_cap is None or rank < test + val_cap else UNUSED
            else:
                split[content] = "train" if train_cap is None or rank < test + val + train_cap else UNUSED
    return split
