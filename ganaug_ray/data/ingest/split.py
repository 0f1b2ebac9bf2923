"""Assigns images to train, validation and test by their content, so that equal content is never in two splits."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ganaug_ray.config import SplitConfig
from ganaug_ray.core import rng
from ganaug_ray.data.ingest.small_classes import refuse_small_classes
from ganaug_ray.errors import UserError

MIN_WINDOW_SHARE = 0.9  # of a single split's target for test: with fewer it looks beyond its ranks
MIN_ROWS_PER_CLASS = 2  # of each class in each split: fewer cannot be trained on or measured
SPLITS = ("train", "val", "test")
UNUSED = "unused"  # left over where labels are made scarce; kept in split.parquet, not stored with the labelled
PLACES = (*SPLITS, UNUSED)  # an image is in one of them
UNLABELLED = "unlabelled"  # the store of images without labels

TRAIN, VAL, TEST, LEFT_OVER = range(len(PLACES))
UNASSIGNED = -1

ClassCap = int | Mapping[str, int] | None
"""Images a class at most: as many for each, so many of each by name, or all there are."""


@dataclass(frozen=True)
class SplitRows:
    """The images to split, one a row, in ascending order of content id.

    Attributes:
        classes: their names, sorted.
        labels: indices into them, integers [N].
        id_hashes: what ``hash_ids`` says of their ids, int64 [N].
        group_leaders: of each, the first row of its group of near-duplicates; itself, where it resembles none. int64
            [N].
        places: where they are already, indices into PLACES or UNASSIGNED, int8 [N].
    """

    classes: list[str]
    labels: np.ndarray
    id_hashes: np.ndarray
    group_leaders: np.ndarray
    places: np.ndarray

    def iterate_classes(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each class's name and its rows, in ascending order, int64 [M]."""
        small = self.labels.astype(np.min_scalar_type(len(self.classes)))  # numpy sorts such in linear time
        ends = np.cumsum(np.bincount(small, minlength=len(self.classes)))
        yield from zip(self.classes, np.split(np.argsort(small, kind="stable"), ends[:-1]), strict=True)


def hash_ids(ids: pa.ChunkedArray, config: SplitConfig) -> np.ndarray:
    """Hash content ids to numbers by which images are ranked, int64 [N]; they are as good as random."""
    id_texts = itertools.chain.from_iterable(iterate_texts(ids))
    return np.fromiter((rng.hash_to_number(config.seed, "split", id_) for id_ in id_texts), np.int64, len(ids))


def iterate_texts(texts: pa.ChunkedArray, chunk_size: int = 2**16) -> Iterator[list[str]]:
    """Yield the texts of a column in lists of ``chunk_size``, as all at once would take much memory."""
    return (texts.slice(start, chunk_size).to_pylist() for start in range(0, len(texts), chunk_size))


def assign_splits(rows: SplitRows, config: SplitConfig, train_cap: ClassCap, val_cap: ClassCap) -> np.ndarray:
    """Assign the images of every class to train, val, test or unused.

    Within a class the images are ranked by a hash of their content: the first ranks are for test, the next for
    validation, the rest for training, of which ``train_cap`` are taken. The caps never shrink the test split, and a
    smaller cap takes a subset of what a larger one takes.

    Of several folds, each begins further on in the same ranks by the share of test, and goes round: so no image is for
    test in two of them, and a fold stays as it is where others are added. A single fold looks further where
    near-duplicates leave it clearly too few for test; others cannot be added to it then.

    Args:
        rows: the images. Those that an earlier data set has placed stay there, and new ones fill up the shares.
            Near-duplicates all go to one split. New images that resemble old ones go where those are; where these are
            in two splits, the new ones are not used.
        config: the shares, the seed and the fold.
        train_cap: training images a class at most.
        val_cap: validation images a class at most.

    Returns:
        Where each is, an index into PLACES, int8 [N].

    Raises:
        UserError: a class has too few images for the minimum a split.
    """
    sizes = {name: len(class_rows) for name, class_rows in rows.iterate_classes()}
    refuse_small_classes(
        sizes, rows.classes, 3 * MIN_ROWS_PER_CLASS, f"train, val and test need {MIN_ROWS_PER_CLASS} each"
    )
    refuse_small_classes(
        sizes,
        rows.classes,
        config.folds * MIN_ROWS_PER_CLASS,
        f"the test sets of {config.folds} splits need {MIN_ROWS_PER_CLASS} each",
    )
    places = rows.places.copy()
    settled = _locate_settled_groups(rows)
    for name, class_rows in rows.iterate_classes():
        class_places = places[class_rows]
        is_placed = class_places != UNASSIGNED
        placed_counts = np.bincount(class_places[is_placed], minlength=len(PLACES))
        units = _SplitUnits(class_rows[~is_placed], rows, settled)
        order, testable = _rotate_to_fold(units.rank_units(), units.sizes, config)
        if is_placed.any():  # there is one fold, whose shares new images fill up
            testable = len(order)
        free = order[units.places[order] == UNASSIGNED]
        testable = int((units.places[order[:testable]] == UNASSIGNED).sum())
        counts = placed_counts + units.count_placed()
        units.places[free] = _place_units(units.sizes[free], testable, counts, len(class_rows), config, name)
        if config.folds == 1 and units.count_placed()[TEST] + 1 < MIN_WINDOW_SHARE * config.test * len(class_rows):
            units.places[free] = _place_units(units.sizes[free], len(free), counts, len(class_rows), config, name)
        settled[units.firsts] = units.places
        retained_rows = {}
        for part, cap in ((VAL, _resolve_cap(val_cap, name)), (TRAIN, _resolve_cap(train_cap, name))):
            if cap is not None:
                room = max(0, cap - int(placed_counts[part]))
                retained_rows[part] = units.cap_split(order, part, room)
        units.write_places(places)
        for part, part_rows in retained_rows.items():
            places[part_rows] = part
    return places


class _SplitUnits:
    """What is dealt out whole, of one class: images, and groups of those that resemble each other.

    Args:
        class_rows: the rows that are to be dealt out, ascending, int64 [M].
        rows: of all classes.
        settled: where the group is that begins in a row, or UNASSIGNED, int8 [N].

    Attributes:
        firsts: the first row of each unit's group, which may be of another class; ascending, int64 [U].
        sizes: images of each unit, int64 [U].
        places: where it is, an index into PLACES or UNASSIGNED, int8 [U].
    """

    def __init__(self, class_rows: np.ndarray, rows: SplitRows, settled: np.ndarray) -> None:
        self._class_rows = class_rows
        self.firsts, self._unit, self.sizes = np.unique(
            rows.group_leaders[class_rows], return_inverse=True, return_counts=True
        )
        self._draws = rows.id_hashes[self.firsts]
        self.places = settled[self.firsts]

    def rank_units(self) -> np.ndarray:
        """Units in order of their draws, int64 [U]; of equal ones, the smaller id is first."""
        return np.argsort(self._draws, kind="stable")

    def count_placed(self) -> np.ndarray:
        """Images of the units that are somewhere, a place: int64 [PLACES]."""
        known = self.places != UNASSIGNED
        return np.bincount(self.places[known], self.sizes[known], len(PLACES)).astype(np.int64)

    def cap_split(self, order: np.ndarray, part: int, max_images: int) -> np.ndarray:
        """Leave a number of images of a split, in that order of units. Return rows that stay of a group that is cut."""
        split_units = order[self.places[order] == part]
        cumulative_images = np.cumsum(self.sizes[split_units])
        excess_units = split_units[cumulative_images > max_images]
        self.places[excess_units] = LEFT_OVER
        if not len(excess_units):
            return np.empty(0, np.int64)
        cut_unit = excess_units[0]
        images_before = int(cumulative_images[cumulative_images > max_images][0] - self.sizes[cut_unit])
        return self._class_rows[self._unit == cut_unit][: max_images - images_before]

    def write_places(self, places: np.ndarray) -> None:
        """Write down where each row is, int8 [N]."""
        places[self._class_rows] = self.places[self._unit]


def _locate_settled_groups(rows: SplitRows) -> np.ndarray:
    """Where the groups are that an earlier data set knows, by their first row: int8 [N]."""
    settled = np.full(len(rows.places), UNASSIGNED, np.int8)
    is_alone = rows.group_leaders == np.arange(len(rows.group_leaders))
    is_alone[rows.group_leaders[~is_alone]] = False
    known = np.flatnonzero(~is_alone & (rows.places != UNASSIGNED) & (rows.places != LEFT_OVER))
    settled[rows.group_leaders[known]] = rows.places[known]
    torn_rows = known[settled[rows.group_leaders[known]] != rows.places[known]]
    settled[rows.group_leaders[torn_rows]] = LEFT_OVER
    return settled


def _rotate_to_fold(order: np.ndarray, sizes: np.ndarray, config: SplitConfig) -> tuple[np.ndarray, int]:
    """Turn ranked units to where a fold begins. Return them, and how many of the first of them it may test."""
    ends = np.concatenate([[0], np.cumsum(sizes[order])])
    images = int(ends[-1])
    share = max(config.test, MIN_ROWS_PER_CLASS / max(1, images))  # whatever the number of folds

    def find_begin(fold: int) -> int:
        return int(np.searchsorted(ends[:-1], round(fold * images * share)))

    begin = find_begin(config.fold)
    testable = find_begin(config.fold + 1) - begin
    return np.concatenate([order[begin:], order[:begin]]), testable


def _place_units(
    sizes: np.ndarray, testable: int, placed_counts: np.ndarray, rows: int, config: SplitConfig, name: str
) -> np.ndarray:
    """Deal ranked units, each of so many images, to test, val and train; a unit is never cut.

    Args:
        sizes: of the units, in order of rank, int64 [F].
        testable: so many of the first may go to test; of a single fold also others, where those are too few.
        placed_counts: images that are dealt already, a place.
        rows: images of the class in all.
        config: the shares.
        name: of the class.

    Returns:
        Where each is, an index into PLACES, int8 [F].
    """
    room = rows - MIN_ROWS_PER_CLASS
    target_counts = {TEST: min(max(MIN_ROWS_PER_CLASS, round(rows * config.test)), room - MIN_ROWS_PER_CLASS)}
    target_counts[VAL] = min(max(MIN_ROWS_PER_CLASS, round(rows * config.val)), room - target_counts[TEST])
    missing_counts = {part: max(0, n - int(placed_counts[part])) for part, n in target_counts.items()}
    placed = np.full(len(sizes), TRAIN, np.int8)
    for unit, size in enumerate(sizes.tolist()):
        if not missing_counts[VAL] and (unit >= testable or not missing_counts[TEST]):
            break  # all that follow are for train
        for part in (TEST, VAL) if unit < testable else (VAL,):
            if size <= missing_counts[part]:
                placed[unit] = part
                missing_counts[part] -= size
                break
    # Of groups larger than its share, a split may have got nothing: it takes the smallest, as long as train keeps some.
    in_train = int(placed_counts[TRAIN]) + int(sizes[placed == TRAIN].sum())
    for part in (TEST, VAL):
        if target_counts[part] - missing_counts[part] < MIN_ROWS_PER_CLASS:
            eligible = placed[:testable] if part == TEST and config.folds > 1 else placed
            spare = np.flatnonzero(eligible == TRAIN)
            for unit in spare[np.argsort(sizes[spare], kind="stable")].tolist():
                if (
                    target_counts[part] - missing_counts[part] >= MIN_ROWS_PER_CLASS
                    or in_train - sizes[unit] < MIN_ROWS_PER_CLASS
                ):
                    break
                placed[unit] = part
                missing_counts[part] -= int(sizes[unit])
                in_train -= int(sizes[unit])
        if not placed_counts[part] and not (placed == part).any():
            raise UserError(
                f"class {name!r}: too many of its images are near-duplicates, so none are left for {PLACES[part]}; "
                "add images of it that differ, or take its images out of the source"
            )
    return placed


def keep_given_splits(rows: SplitRows, config: SplitConfig, train_cap: ClassCap, val_cap: ClassCap) -> np.ndarray:
    """Leave every image in the split it came in, except those above the caps, which become unused.

    Without a validation split, each class's first ranks of train become one.

    Args:
        rows: the images, each of which is in train, val or test already.
        config: the share of validation, and the seed of the ranks.
        train_cap: training images a class at most.
        val_cap: validation images a class at most.

    Returns:
        Where each is, an index into PLACES, int8 [N].

    Raises:
        UserError: there is no train or no test split, or a class is missing in one.
    """
    split_counts = np.bincount(rows.places, minlength=len(PLACES))
    if missing := [PLACES[part] for part in (TEST, TRAIN) if not split_counts[part]]:
        raise UserError(f"split: given needs folders train and test; found no {' and no '.join(missing)}")
    places = rows.places.copy()
    for name, class_rows in rows.iterate_classes():
        ranked = class_rows[np.argsort(rows.id_hashes[class_rows], kind="stable")]
        parts = {part: ranked[rows.places[ranked] == part] for part in (TRAIN, VAL, TEST)}
        if not split_counts[VAL]:
            n = max(MIN_ROWS_PER_CLASS, round(len(parts[TRAIN]) * config.val))
            parts[VAL] = parts[TRAIN][:n]
            parts[TRAIN] = parts[TRAIN][n:]
            places[parts[VAL]] = VAL
        for part, members in parts.items():
            why = f"the {PLACES[part]} split needs some"
            refuse_small_classes({name: len(members)}, rows.classes, MIN_ROWS_PER_CLASS, why)
        for part, cap in ((VAL, _resolve_cap(val_cap, name)), (TRAIN, _resolve_cap(train_cap, name))):
            if cap is not None:
                places[parts[part][cap:]] = LEFT_OVER
    return places


def _resolve_cap(cap: ClassCap, name: str) -> int | None:
    return cap[name] if isinstance(cap, Mapping) else cap
