"""Which image goes to train, validation or test: decided by content, so equal content is never on two sides."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

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
PLACES = (*SPLITS, UNUSED)  # an image is in one of them
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
    where = _settled_groups(old, together)
    split: dict[str, str] = {}
    for name, own in ids.items():
        there = Counter(old[id_] for id_ in own if id_ in old) if old else Counter[str]()
        units = _Units([id_ for id_ in own if id_ not in old] if old else own, together, where)
        order, testable = _turned(units.ranked(config), units.sizes, config)
        free = ~units.settled[order]
        dealt = there + units.members_settled()
        parts = _place(units.sizes[order[free]], int(free[:testable].sum()), dealt, len(own), config, name)
        units.parts[order[free]] = parts
        where |= units.groups_placed()
        caps = {"val": _of(val_cap, name), "train": _of(train_cap, name)}
        cut = [units.cap(order, part, max(0, cap - there[part])) for part, cap in caps.items() if cap is not None]
        split |= {id_: old[id_] for id_ in own if id_ in old} if old else {}
        split.update(units.by_id())
        for kept in cut:
            split |= kept
    return split


class _Units:
    """What is dealt out whole, of one class: images, and groups of those that resemble each other.

    Millions of images are passed over in the order they come in, and ordered as numbers: whatever follows a text to
    where it lies, in the order of a hash, waits for memory.

    Args:
        ids: of the images.
        together: content id -> name of its group.
        where: split of each group that was placed before.

    Attributes:
        sizes: images of each unit, int64 [U].
        settled: whether it was placed before, bool [U].
        parts: where it is, an index into PLACES, int8 [U].
    """

    def __init__(self, ids: list[str], together: Mapping[str, str], where: Mapping[str, str]) -> None:
        self._groups: dict[str, list[str]] = {}
        self._singles = ids
        if together:
            self._singles = [id_ for id_ in ids if id_ not in together]
            for id_ in ids:
                if id_ in together:
                    self._groups.setdefault(together[id_], []).append(id_)
        for members in self._groups.values():
            members.sort()
        n = len(self._singles)
        self.sizes = np.ones(n + len(self._groups), np.int64)
        self.sizes[n:] = [len(members) for members in self._groups.values()]
        self.parts = np.full(len(self.sizes), PLACES.index("train"), np.int8)
        self.settled = np.zeros(len(self.sizes), bool)
        for unit, group in enumerate(self._groups, n):
            if group in where:
                self.settled[unit] = True
                self.parts[unit] = PLACES.index(where[group])

    def ranked(self, config: SplitConfig) -> np.ndarray:
        """Units in order of a hash of their names, int64 [U]."""
        return _ranks([*self._singles, *self._groups], config)

    def members_settled(self) -> Counter[str]:
        """Images a split of the groups that were placed before."""
        found: Counter[str] = Counter()
        for unit in np.flatnonzero(self.settled).tolist():
            found[PLACES[self.parts[unit]]] += int(self.sizes[unit])
        return found

    def groups_placed(self) -> dict[str, str]:
        """Where the groups are that were not settled."""
        n = len(self._singles)
        return {name: PLACES[self.parts[u]] for u, name in enumerate(self._groups, n) if not self.settled[u]}

    def cap(self, order: np.ndarray, part: str, most: int) -> dict[str, str]:
        """Leave so many images of a split, in that order of units. Of a group that is cut, return who stays."""
        own = order[self.parts[order] == PLACES.index(part)]
        upto = np.cumsum(self.sizes[own])
        over = own[upto > most]
        self.parts[over] = PLACES.index(UNUSED)
        if not len(over):
            return {}
        left = most - int(upto[upto > most][0] - self.sizes[over[0]])
        return dict.fromkeys(self._members(int(over[0]))[:left], part)

    def _members(self, unit: int) -> list[str]:
        n = len(self._singles)
        return [self._singles[unit]] if unit < n else list(self._groups.values())[unit - n]

    def by_id(self) -> Iterator[tuple[str, str]]:
        """Where each image is."""
        n = len(self._singles)
        yield from zip(self._singles, map(PLACES.__getitem__, self.parts[:n].tolist()), strict=True)
        for part, members in zip(self.parts[n:].tolist(), self._groups.values(), strict=True):
            yield from ((id_, PLACES[part]) for id_ in members)


def _settled_groups(old: Mapping[str, str], together: Mapping[str, str]) -> dict[str, str]:
    """Where the groups are that an earlier data set knows."""
    seen: dict[str, set[str]] = {}
    for id_, group in together.items():
        if old.get(id_, UNUSED) != UNUSED:
            seen.setdefault(group, set()).add(old[id_])
    return {group: parts.pop() if len(parts) == 1 else UNUSED for group, parts in seen.items()}


def _turned(order: np.ndarray, sizes: np.ndarray, config: SplitConfig) -> tuple[np.ndarray, int]:
    """Turn ranked units to where a fold begins. Return them, and how many of the first of them it may test."""
    ends = np.concatenate([[0], np.cumsum(sizes[order])])
    begin, end = (
        int(np.searchsorted(ends[:-1], round(fold * int(ends[-1]) / config.folds)))
        for fold in (config.fold, config.fold + 1)
    )
    return np.concatenate([order[begin:], order[:begin]]), end - begin


def _place(
    sizes: np.ndarray,
    testable: int,
    there: Mapping[str, int],
    rows: int,
    config: SplitConfig,
    name: str,
) -> np.ndarray:
    """Deal ranked units, each of so many images, to test, val and train; a unit is never cut.

    Args:
        sizes: of the units, in order of rank, int64 [F].
        testable: so many of the first may go to test.
        there: images a split that are dealt already.
        rows: images of the class in all.
        config: the shares.
        name: of the class.

    Returns:
        Where each is, an index into PLACES, int8 [F].
    """
    test, val, train = (PLACES.index(part) for part in ("test", "val", "train"))
    room = rows - MIN_ROWS
    wanted = {test: min(max(MIN_ROWS, round(rows * config.test)), room - MIN_ROWS)}
    wanted[val] = min(max(MIN_ROWS, round(rows * config.val)), room - wanted[test])
    left = {part: max(0, n - there.get(PLACES[part], 0)) for part, n in wanted.items()}
    placed = np.full(len(sizes), train, np.int8)
    for unit, size in enumerate(sizes.tolist()):
        if not left[val] and (unit >= testable or not left[test]):
            break  # all that follow are for train
        for part in (test, val) if unit < testable else (val,):
            if size <= left[part]:
                placed[unit] = part
                left[part] -= size
                break
    # Of groups larger than its share, a split may have got nothing: it takes the smallest, as long as train keeps some.
    in_train = there.get("train", 0) + int(sizes[placed == train].sum())
    for part in (test, val):
        if wanted[part] - left[part] < MIN_ROWS:
            spare = np.flatnonzero(placed[: testable if part == test else None] == train)
            for unit in spare[np.argsort(sizes[spare], kind="stable")].tolist():
                if wanted[part] - left[part] >= MIN_ROWS or in_train - sizes[unit] < MIN_ROWS:
                    break
                placed[unit] = part
                left[part] -= int(sizes[unit])
                in_train -= int(sizes[unit])
        if not there.get(PLACES[part], 0) and not (placed == part).any():
            raise UserError(
                f"class {name!r}: so many of its images are near-duplicates that none are left for {PLACES[part]}"
            )
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
        ranked = [own[i] for i in _ranks(own, config).tolist()]
        parts = {part: [id_ for id_ in ranked if given[id_] == part] for part in SPLITS}
        if "val" not in given.values():
            n = max(MIN_ROWS, round(len(parts["train"]) * config.val))
            parts["val"], parts["train"] = parts["train"][:n], parts["train"][n:]
        for part in SPLITS:
            _refuse_poor({name: parts[part]}, MIN_ROWS, f"the {part} split needs some")
        split |= dict.fromkeys(parts["test"], "test")
        split |= _capped(parts["val"], "val", _of(val_cap, name))
        split |= _capped(parts["train"], "train", _of(train_cap, name))
    return split


def _ranks(ids: list[str], config: SplitConfig) -> np.ndarray:
    """Positions of the ids in order of a hash of each, int64 [N]."""
    numbers = np.fromiter((randomness.number(config.seed, "split", id_) for id_ in ids), np.int64, len(ids))
    order = np.argsort(numbers, kind="stable")
    if (np.diff(numbers[order]) == 0).any():  # of equal numbers, the smaller id is first
        return np.array(sorted(range(len(ids)), key=lambda i: (numbers[i], ids[i])), np.int64)
    return order


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
