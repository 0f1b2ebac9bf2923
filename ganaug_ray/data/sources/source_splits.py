"""Understands the splits of several sources by their names, or by the folders that they lie in: train/labels.csv.

The folders that all sources have in common say nothing, and the others mean splits only if each source has one.
"""

from collections.abc import Callable, Mapping, Sequence

from ganaug_ray.data.sources.paths import find_common_folders, name_split, strip_query
from ganaug_ray.data.sources.split_words import (
    are_splits,
    describe_unused_words,
    find_split_word,
    name_splits_of_files,
)


def name_splits_of_sources(sources: Sequence[str]) -> dict[str, str | None]:
    """Return the split of each source by its name; where names do not tell, by the innermost folder that means one.

    >>> name_splits_of_sources(["pets/train/labels.csv", "pets/test/labels.csv"])
    {'pets/train/labels.csv': 'train', 'pets/test/labels.csv': 'test'}
    >>> name_splits_of_sources(["train/a.csv", "train/b.csv"])
    {'train/a.csv': None, 'train/b.csv': None}
    """
    names = {source: _split_path(source)[-1] for source in sources}
    by_file = name_splits_of_files(list(names.values()))
    by_name = {source: by_file[name] or name_split(name) for source, name in names.items()}
    folders = _list_folders(sources)
    for find in (name_split, find_split_word):
        by_folder = {source: split or _find_innermost(folders[source], find) for source, split in by_name.items()}
        if are_splits(list(by_folder.values())):
            return by_folder
    return by_name


def describe_unused_splits(splits: Mapping[str, str | None]) -> list[str]:
    """Say which sources have a split in their names or folders that is not taken for one, since others have none.

    >>> describe_unused_splits({"train/a.csv": "train", "test/a.csv": "test"})
    []
    """
    sources = list(splits)
    if remarks := describe_unused_words(sources, splits):
        return remarks
    folders = {source: _find_innermost(names, name_split) for source, names in _list_folders(sources).items()}
    unused = next((source for source in sources if folders[source] and not splits[source]), None)
    other = next((source for source in sources if not folders[source] and not splits[source]), None)
    if unused is None or other is None:
        return []
    return [
        f"{unused} lies in a folder for {folders[unused]}, but {other} in none for a split, so the images of both are "
        f"split anew; to keep images in {folders[unused]}, put each source into a folder train or test"
    ]


def _split_path(source: str) -> list[str]:
    return strip_query(source).rstrip("/").split("/")


def _list_folders(sources: Sequence[str]) -> dict[str, list[str]]:
    """Return the folders that each source lies in, from the outermost, without those that all have in common."""
    folders = {source: _split_path(source)[:-1] for source in sources}
    common = len(find_common_folders(list(folders.values())))
    return {source: names[common:] for source, names in folders.items()}


def _find_innermost(folders: Sequence[str], find: Callable[[str], str | None]) -> str | None:
    return next(filter(None, map(find, reversed(folders))), None)
