"""Matches the paths that a table names with the files that are there, where the two are not written alike.

A table may have a folder in front that the files lack, or the reverse; it may leave out the suffix or have one that
the files lack, write letters in another case, or %20 for a space as addresses do. What fits better wins; a path that
fits several files equally well fits none of them for sure.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote

from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.paths import (
    drop_suffix,
    find_files_beside,
    is_image_name,
    is_sidecar,
    may_be_image,
    normalize_path,
    repair_encoding,
    strip_query,
)

MAX_DIGITS = 18
# As pandas writes whole numbers beside missing ones, and Excel those that began with zeros.
NUMBER = re.compile(rf"(\d{{1,{MAX_DIGITS}}})(?:\.0+)?", re.ASCII)


class PathIndex:
    """The files of a source, to be found by paths that a table names.

    Args:
        paths: as the source has them.

    Attributes:
        decoded: what was found only once it was decoded as a part of an address -> the file.
        numbers: what was found only as a number, such as 1.0 or 1 -> the file, such as 000001.png.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.decoded: dict[str, str] = {}
        self._exact: dict[str, list[str]] = defaultdict(list)
        self._whole: dict[str, list[str]] = defaultdict(list)
        self._ends: dict[str, list[str]] | None = None
        self.numbers: dict[str, str] = {}
        self._numbers: dict[int, list[str]] | None = None
        paths = list(paths)
        beside = find_files_beside(paths)
        for path in paths:
            if not is_sidecar(path) and path not in beside:
                self._exact[_make_exact_key(path)].append(path)
        for key, same in self._exact.items():
            for form in {key.casefold(), drop_suffix(key.casefold())}:
                self._whole[form] += same

    def find_files(self, path: str) -> Sequence[str]:
        """Return the files that a path fits best: none, the one, or several that it fits equally well."""
        files = self._find_as_written(path)
        if not files and (number := NUMBER.fullmatch(path)):
            files = self._find_by_number(int(number[1]))
            if len(files) == 1:
                self.numbers[path] = files[0]
        if not files and "%" in path:
            files = self._find_as_written(unquote(path))
            if len(files) == 1:
                self.decoded[path] = files[0]
        return files

    def find_other_suffixes(self, paths: Iterable[str]) -> dict[str, str]:
        """Return path -> a file that is called as an image that a table names, but for their suffixes, if there is one.

        >>> PathIndex(["cat/1.jpg"]).find_other_suffixes(["cat/1.jpeg", "cat/2.jpeg"])
        {'cat/1.jpeg': 'cat/1.jpg'}
        """
        others = {}
        for path in filter(is_image_name, paths):
            if files := self._find_as_written(drop_suffix(path)):
                others[path] = files[0]
        return others

    def describe_numbers(self, table: str) -> list[str]:
        """Say which names of a table were found only as numbers, which a program wrote in another way."""
        if not self.numbers:
            return []
        names = format_count(len(self.numbers), "name is", "names are")
        name, file = min(self.numbers.items())
        return [f"{table}: {names} matched as a number, such as {name} for {file}"]

    def describe_decoded(self, table: str) -> list[str]:
        """Say which paths of a table were found only once they were decoded."""
        if not self.decoded:
            return []
        paths = format_count(len(self.decoded), "path is", "paths are")
        path, file = min(self.decoded.items())
        return [f"{table}: {paths} written as in an address and decoded, such as {path} for {file}"]

    def _find_as_written(self, path: str) -> Sequence[str]:
        exact = _make_exact_key(path)
        if exact in self._exact:
            return self._exact[exact]
        key, *shorter = _list_endings(exact.casefold())
        if key in self._whole:
            return self._whole[key]
        longest = next((self._whole[ending] for ending in shorter if ending in self._whole), [])
        files = list(dict.fromkeys([*longest, *self._find_by_ending(key)]))
        return files or self._find_without_suffix(path)

    def _find_without_suffix(self, path: str) -> Sequence[str]:
        """Return the files that have no suffix, and are called as an image in a table but for its own."""
        files = self._find_as_written(drop_suffix(path)) if is_image_name(path) else ()
        return [file for file in files if may_be_image(file) and not is_image_name(file)]

    def _find_by_number(self, number: int) -> Sequence[str]:
        """Return the files whose names are a number but for their suffix, whatever zeros are before it."""
        if self._numbers is None:
            self._numbers = defaultdict(list)
            for same in self._exact.values():
                for path in same:
                    stem = drop_suffix(path.rpartition("/")[2])
                    if stem.isascii() and stem.isdigit() and len(stem) <= MAX_DIGITS:
                        self._numbers[int(stem)].append(path)
        return self._numbers.get(number, ())

    def _find_by_ending(self, key: str) -> Sequence[str]:
        if self._ends is None:
            self._ends = defaultdict(list)
            for whole, paths in self._whole.items():
                for ending in _list_endings(whole):
                    self._ends[ending] += paths
        return self._ends.get(key, ())


def is_same_spelling(path: str, other: str) -> bool:
    r"""Whether two paths differ in their encoding and separators at most.

    >>> is_same_spelling("Du\u0308rer.png", "D\u00fcrer.png"), is_same_spelling("cat/1.png", "1.png")
    (True, False)
    """
    return _make_exact_key(path) == _make_exact_key(other)


def _make_exact_key(path: str) -> str:
    key = repair_encoding(normalize_path(strip_query(path)))
    while key.startswith("../"):
        key = key[3:]
    return normalize_path(key).lstrip("/")


def _list_endings(path: str) -> Iterator[str]:
    """Yield a path and what remains of it without its first folders: a/b/c, b/c, c."""
    yield path
    while "/" in path:
        path = path.partition("/")[2]
        yield path
