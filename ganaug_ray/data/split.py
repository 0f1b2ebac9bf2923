"""Which image goes to train, validation or test: decided by content, so equal content is never on two sides."""

from collections import Counter
from collections.abc import Mapping

from ganaug_ray import randomness
from ganaug_ray.config import SplitConfig
from ganaug_ray.errors import UserError

MIN_ROWS = 2  # of each class in each split: fewer cannot be trained on or measured
SPLITS = ("train", "val", "test")
GIVEN_AS = {  # the folder, or the name of the idx file, in which a data set keeps each split
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test", "t10k": "test",
}  # fmt: skip
UNUSED = "unused"  # left over where labels are made scarce; kept in split.parquet, stored nowhere


def assign(
    ids: Mapping[str, list[str]],
    config: SplitConfig,
    train_cap: int | None,
    val_cap: int | None,
    old: Mapping[str, str] | None = None,
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
        old: content id -> where an earlier data set has it. It stays there, and new images fill up the shares.

    Raises:
        UserError: a class has too few images for the minimum a split.
    """
    _refuse_poor(ids, 3 * MIN_ROWS, f"train, val and test need {MIN_ROWS} each")
    old = old or {}
    split: dict[str, str] = {}
    for own in ids.values():
        settled = {id_: old[id_] for id_ in own if id_ in old}
        there = Counter(settled.values())
        room = len(own) - MIN_ROWS
        test = min(max(MIN_ROWS, round(len(own) * config.test)), room - MIN_ROWS)
        val = min(max(MIN_ROWS, round(len(own) * config.val)), room - test)
        fresh = [id_ for id_ in _ranked(own, config) if id_ not in old]
        first, second = max(0, test - there["test"]), max(0, val - there["val"])
        split |= settled
        split |= dict.fromkeys(fresh[:first], "test")
        split |= _capped(fresh[first : first + second], "val", val_cap, there["val"])
        split |= _capped(fresh[first + second :], "train", train_cap, there["train"])
    return split


def keep(
    ids: Mapping[str, list[str]],
    given: Mapping[str, str],
    config: SplitConfig,
    train_cap: int | None,
    val_cap: int | None,
) -> dict[str, str]:
    """Leave every image in the split it came in; the caps hold all the same.

    Without a validation split, each class's first ranks of train become one.

    Args:
        ids: class name -> content ids of its images, each once.
        given: content id -> train, val or test.
        config: the share of validation, and the seed of the ranks.
        train_cap: training images a class at most.
        val_cap: validation images a class at most.

    Raises:
        UserError: there is no train or no test split, or a class is missing in one.
    """
    missing = {"train", "test"} - set(given.values())
    if missing:
        raise UserError(f"split: given needs folders train and test; found no {' and no '.join(sorted(missing))}")
    split: dict[str, str] = {}
    for name, own in ids.items():
        parts = {part: [id_ for id_ in _ranked(own, config) if given[id_] == part] for part in SPLITS}
        if "val" not in given.values():
            n = max(MIN_ROWS, round(len(parts["train"]) * config.val))
            parts["val"], parts["train"] = parts["train"][:n], parts["train"][n:]
        for part in SPLITS:
            _refuse_poor({name: parts[part]}, MIN_ROWS, f"the {part} split needs some")
        split |= dict.fromkeys(parts["test"], "test")
        split |= _capped(parts["val"], "val", val_cap)
        split |= _capped(parts["train"], "train", train_cap)
    return split


def _ranked(ids: list[str], config: SplitConfig) -> list[str]:
    return sorted(ids, key=lambda content: randomness.number(config.seed, "split", content))


def _capped(ranked: list[str], part: str, cap: int | None, there: int = 0) -> dict[str, str]:
    used = len(ranked) if cap is None else max(0, cap - there)
    return dict.fromkeys(ranked[:used], part) | dict.fromkeys(ranked[used:], UNUSED)


def _refuse_poor(ids: Mapping[str, list[str]], needed: int, why: str) -> None:
    poor = {name: len(own) for name, own in ids.items() if len(own) < needed}
    if poor:
        name, n = min(poor.items(), key=lambda item: item[1])
        others = f" (and {len(poor) - 1} more classes)" if len(poor) > 1 else ""
        raise UserError(
            f"class {name!r} has {n} usable image{'s' * (n != 1)}{others}; {why}, so at least {needed} a class"
        )
