"""Which image goes to train, validation or test: decided by content, so equal content is never on two sides."""

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping

from ganaug_ray import randomness
from ganaug_ray.config import SplitConfig
from ganaug_ray.errors import UserError

MIN_ROWS = 2  # of each class in each split: fewer cannot be trained on or measured
SPLITS = ("train", "val", "test")
GIVEN_AS = {  # the folder, or the name of the idx file, in which a data set keeps each split
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test", "t10k": "test",
}  # fmt: skip
UNUSED = "unused"  # left over where labels are made scarce; kept in split.parquet, not stored with the labelled
UNLABELLED = "unlabelled"  # the store of images without labels

Cap = int | Mapping[str, int] | None
"""Images a class at most: as many for each, so many of each by name, or all there are."""


def assign(
    ids: Mapping[str, list[str]],
    config: SplitConfig,
    train_cap: Cap,
    val_cap: Cap,
    old: Mapping[str, str] | None = None,
    together: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Deal out every class's images to train, val, test and unused.

    Within a class the images are ranked by a hash of their content: the first ranks are for test, the next for
    validation, the rest for training, of which ``train_cap`` are taken. The caps never shrink the test split, and a
    smaller cap takes a subset of what a larger one takes.

    Of several folds, each begins further on in the same ranks, which go round: so no image is for test in two of them,
    and what the caps leave for training overlaps as little as the number of images allows.

    Args:
        ids: class name -> content ids of its images, each once.
        config: the shares, the seed and the fold.
        train_cap: training images a class at most.
        val_cap: validation images a class at most.
        old: content id -> where an earlier data set has it. It stays there, and new images fill up the shares.
        together: content id -> name of its group of near-duplicates, which all go to one split. A new image that
            resembles old ones goes where they are; where they are in two splits, it is not used.

    Raises:
        UserError: a class has too few images for the minimum a split.
    """
    _refuse_poor(ids, 3 * MIN_ROWS, f"train, val and test need {MIN_ROWS} each")
    _refuse_poor(ids, config.folds * MIN_ROWS, f"the test sets of {config.folds} splits need {MIN_ROWS} each")
    old, together = old or {}, together or {}
    where, groups = _settled_groups(old, together), set(together.values())
    split: dict[str, str] = {}
    for name, own in ids.items():
        dealt = {id_: old[id_] for id_ in own if id_ in old}
        fresh = sorted(id_ for id_ in own if id_ not in old)
        grouped: dict[str, list[str]] = {}
        for id_ in fresh:
            if id_ in together:
                grouped.setdefault(together[id_], []).append(id_)
        dealt |= {id_: where[unit] for unit, members in grouped.items() if unit in where for id_ in members}
        sizes = {unit: len(members) for unit, members in grouped.items()}
        units = [id_ for id_ in fresh if id_ not in together]
        ranked, testable = _turned(_ranked([*units, *grouped], config), sizes, config)
        free = [(unit, sizes.get(unit, 1)) for unit in ranked if unit not in where]
        placed = _place(free, testable, Counter(dealt.values()), len(own), config, name)
        where |= {unit: part for unit, part in placed.items() if unit in groups}
        there = Counter(old[id_] for id_ in own if id_ in old)
        new = {id_: part for id_, part in dealt.items() if id_ not in old}
        new |= {id_: part for unit, part in placed.items() for id_ in grouped.get(unit, (unit,))}
        split |= {id_: old[id_] for id_ in own if id_ in old} | new
        for part, cap in (("val", _of(val_cap, name)), ("train", _of(train_cap, name))):
            if cap is not None:
                ids_there = [id_ for unit in ranked for id_ in grouped.get(unit, (unit,)) if new[id_] == part]
                split |= _capped(ids_there, part, cap, there[part])
    return split


def _settled_groups(old: Mapping[str, str], together: Mapping[str, str]) -> dict[str, str]:
    """Where the groups are that an earlier data set knows."""
    seen: dict[str, set[str]] = {}
    for id_, group in together.items():
        if old.get(id_, UNUSED) != UNUSED:
            seen.setdefault(group, set()).add(old[id_])
    return {group: parts.pop() if len(parts) == 1 else UNUSED for group, parts in seen.items()}


def _turned(units: list[str], sizes: Mapping[str, int], config: SplitConfig) -> tuple[list[str], Collection[str]]:
    """Turn ranked units, of so many images or one, to where a fold begins. Return them and those that it may test."""
    ends = list(itertools.accumulate((sizes.get(unit, 1) for unit in units), initial=0))
    begin, end = (
        bisect_left(ends[:-1], round(fold * ends[-1] / config.folds)) for fold in (config.fold, config.fold + 1)
    )
    return units[begin:] + units[:begin], set(units[begin:end])


def _place(
    units: list[tuple[str, int]],
    testable: Collection[str],
    there: Counter[str],
    rows: int,
    config: SplitConfig,
    name: str,
) -> dict[str, str]:
    """Deal ranked units, each of so many images, to test, val and train; a unit is never cut.

    Args:
        units: (name, size), in order of rank.
        testable: those that may go to test.
        there: images a split that are dealt already.
        rows: images of the class in all.
        config: the shares.
        name: of the class.
    """
    room = rows - MIN_ROWS
    wanted = {"test": min(max(MIN_ROWS, round(rows * config.test)), room - MIN_ROWS)}
    wanted["val"] = min(max(MIN_ROWS, round(rows * config.val)), room - wanted["test"])
    left = {part: max(0, n - there[part]) for part, n in wanted.items()}
    placed = {}
    for unit, size in units:
        open_to = ("test", "val") if unit in testable else ("val",)
        part = next((part for part in open_to if size <= left[part]), "train")
        placed[unit] = part
        if part != "train":
            left[part] -= size
    # Of groups larger than its share, a split may have got nothing: it takes the smallest, as long as train keeps some.
    sizes = dict(units)
    in_train = there["train"] + sum(sizes[unit] for unit, part in placed.items() if part == "train")
    for part in ("test", "val"):
        few = wanted[part] - left[part] < MIN_ROWS
        spare = [unit for unit in placed if few and placed[unit] == "train" and (part == "val" or unit in testable)]
        for unit in sorted(spare, key=lambda unit: sizes[unit]):
            if wanted[part] - left[part] >= MIN_ROWS or in_train - sizes[unit] < MIN_ROWS:
                break
            placed[unit] = part
            left[part] -= sizes[unit]
            in_train -= sizes[unit]
        if not there[part] and part not in placed.values():
            raise UserError(f"class {name!r}: so many of its images are near-duplicates that none are left for {part}")
    return placed


def keep(
    ids: Mapping[str, list[str]],
    given: Mapping[str, str],
    config: SplitConfig,
    train_cap: Cap,
    val_cap: Cap,
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
        split |= _capped(parts["val"], "val", _of(val_cap, name))
        split |= _capped(parts["train"], "train", _of(train_cap, name))
    return split


def _ranked(ids: list[str], config: SplitConfig) -> list[str]:
    return sorted(sorted(ids), key=lambda id_: randomness.number(config.seed, "split", id_))


def _of(cap: Cap, name: str) -> int | None:
    return cap[name] if isinstance(cap, Mapping) else cap


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
