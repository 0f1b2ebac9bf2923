"""The books of all comparisons on the same images: which candidates were compared, and how often it was looked.

The best of many looks better than it is, whether its rivals are still in the job or were taken out after a look at
their verdict. So does an answer that was looked at again and again. What was looked at once therefore counts, also in
another experiment beside this one: whoever begins anew with another ``--out`` begins no new count.

A look is a small file that is named after it. So it counts once however often it is repeated, and two runs at once
cannot lose each other's. The files lie in the experiment's folder, which may be moved, and beside it. There experiments
of other users may lie too: their looks count where they can be read, and nothing that is wrong with them ends a run.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.verdict.paired_statistics import has_enough_repeats

OWN_BOOKS = "compared"  # in the folder of an experiment
SHARED_BOOKS = ".ganaug/compared"  # in the folder that it lies in; hidden, as it is no experiment
_FILE_NAME = re.compile(r"([0-9a-f]{16})-(\d{1,3})x(\d{1,3})-of-(\d{1,3})\.json")


@dataclass(frozen=True)
class Look:
    """One look at the verdict of a candidate.

    Attributes:
        candidate: fingerprint of all settings that its models are trained with, 16 hex digits.
        splits: of the comparison.
        seeds: of each split.
        looks: number of them that were planned, so that the interval was wide enough for these; 1 of a plain run.
    """

    candidate: str
    splits: int
    seeds: int
    looks: int

    @property
    def repeats(self) -> tuple[int, int]:
        """The splits and the seeds."""
        return self.splits, self.seeds

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self.candidate}-{self.splits}x{self.seeds}-of-{self.looks}.json"


class Count(NamedTuple):
    """What an interval has to allow for.

    Attributes:
        candidates: that were ever compared on these images.
        looks: at the verdict of those that are compared now, planned or taken.
    """

    candidates: int
    looks: int

    def describe_price(self, candidates: int, looks: int) -> str | None:
        """Say in a clause why the interval is wider than that of a job by itself; None where it is not.

        Args:
            candidates: of the job.
            looks: that it plans.

        >>> Count(1, 3).describe_price(candidates=1, looks=1)
        '3 looks at the verdict count, with planned and earlier ones, so the interval is wider'
        """
        reasons = []
        if self.candidates > candidates > 0:
            reasons.append(
                f"{self.candidates} arms were compared on these images, now or before (an arm counts again with "
                "another seed or metric)"
            )
        if self.looks > looks:
            reasons.append(f"{self.looks} looks at the verdict count, with planned and earlier ones")
        return f"{' and '.join(reasons)}, so the interval is wider" if reasons else None


def record_looks(run: Run, images: str, candidates: Collection[str], splits: int, seeds: int, looks: int) -> Count:
    """Enter a look at the verdict of candidates, and count what there was, this one included.

    Args:
        run: the whole experiment.
        images: hash of those that may be tested, see ``candidates``; others have books of their own.
        candidates: fingerprints of those that are compared now.
        splits: of the comparison.
        seeds: of each split.
        looks: that are planned.
    """
    known = _read_looks(run, images)
    entries = known | _list_new_looks(known, candidates, splits, seeds, looks)
    _write_looks(_locate_own_books(run, images), entries)
    with suppress(OSError, UserError):  # whoever may not write there has a count of this experiment alone
        if (shared := _locate_shared_books(run, images)) is not None:
            _open_to_neighbours(shared)
            _write_looks(shared, entries)
    return _count(entries | _read_looks(run, images), candidates)  # with those of a run that wrote at the same time


def count_looks(run: Run, images: str, candidates: Collection[str], splits: int, seeds: int, looks: int) -> Count:
    """Count what there would be with one more look, as ``record_looks`` does, and enter none."""
    known = _read_looks(run, images)
    return _count(known | _list_new_looks(known, candidates, splits, seeds, looks), candidates)


def has_looks(run: Run) -> bool:
    """Say whether anything was compared in this experiment or beside it, on whichever images."""
    with suppress(OSError, UserError):
        shared = _locate_shared_shelf(run)
        if shared is not None and shared.list_folders():
            return True
    return bool((run.root / OWN_BOOKS).list_folders())


def _list_new_looks(
    known: Collection[Look], candidates: Collection[str], splits: int, seeds: int, looks: int
) -> set[Look]:
    """List what a look enters: nothing of a candidate whose models were looked at before at such a width or a wider.

    Where looks were planned before, the interval stays as wide as they made it, and so it says.
    """
    own = [look for look in known if look.candidate in candidates]
    planned = max([looks, *(look.looks for look in own)])
    entries = set()
    for candidate in candidates:
        before = [look.looks for look in own if look.candidate == candidate and look.repeats == (splits, seeds)]
        if max(before, default=0) < looks:
            entries.add(Look(candidate, splits, seeds, planned))
    return entries


def _count(looks: Collection[Look], candidates: Collection[str]) -> Count:
    """Count all candidates, and the looks at some of them.

    These are as many as were planned, or as were taken at such a width if that is more. One that was taken at a
    narrower interval counts twice: as a look, and since it had a better chance of a firm answer than the plan pays for.
    Where nothing was planned, that is each but the last. A look that gave no answer, for want of repeats, counts for
    nothing.
    """
    own = [look for look in looks if look.candidate in candidates]
    planned = max((look.looks for look in own), default=1)
    answered = [look for look in own if has_enough_repeats(*look.repeats)]
    wide = {look.repeats for look in answered if look.looks == planned}
    narrow = {look.repeats for look in answered if look.looks < planned}
    counted = max(planned, len(wide)) + 2 * len(narrow) if planned > 1 else max(1, 2 * len(wide) - 1)
    return Count(len({look.candidate for look in looks}), counted)


def _locate_own_books(run: Run, images: str) -> Folder:
    return run.root / OWN_BOOKS / images


def _locate_shared_books(run: Run, images: str) -> Folder | None:
    shelf = _locate_shared_shelf(run)
    return None if shelf is None else shelf / images


def _locate_shared_shelf(run: Run) -> Folder | None:
    """Return where the books lie beside the experiment; None of one that lies in no folder, or in another experiment.

    The latter is one of ``compare.sizes``: each number of training images is a question of its own, stated beforehand.
    """
    beside = run.root.parent
    if beside is None or (beside.parent is not None and beside.parent.has_file("job.yaml")):
        return None
    return beside / SHARED_BOOKS


def _open_to_neighbours(shared: Folder) -> None:
    """Create local books that whoever may put experiments beside them may write to, whatever the umask says."""
    if shared.local_path is None:
        return
    depth = 1 + len(Path(SHARED_BOOKS).parts)
    *missing, beside = [shared.local_path, *shared.local_path.parents][: depth + 1]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(stat.S_IMODE(beside.stat().st_mode))


def _read_looks(run: Run, images: str) -> set[Look]:
    """Read all looks at candidates on these images, in both books."""
    looks = set(_list_looks(_locate_own_books(run, images)))
    with suppress(OSError, UserError):
        if (shared := _locate_shared_books(run, images)) is not None:
            looks |= set(_list_looks(shared))
    return looks


def _list_looks(books: Folder) -> Iterator[Look]:
    for name in books.list_files(".json"):
        if match := _FILE_NAME.fullmatch(name):
            yield Look(match[1], int(match[2]), int(match[3]), int(match[4]))


def _write_looks(books: Folder, looks: Collection[Look]) -> None:
    present = set(_list_looks(books))
    for look in looks:
        if look not in present:
            books.write_json(look.file_name, asdict(look))
