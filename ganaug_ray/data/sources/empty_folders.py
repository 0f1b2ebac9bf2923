"""Finds folders beside those of the classes that hold no images, such as those of a class that was not copied."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.folder_tree import is_plain, join_path
from ganaug_ray.data.sources.label_text import make_path_class
from ganaug_ray.data.sources.paths import is_hidden, may_be_image, normalize_path

MAX_PARENTS = 64  # folders of class folders that are looked into


def describe_empty_folders(root: Path, classes_by_path: Iterable[tuple[str, str | None]]) -> list[str]:
    """Say which folders beside those of classes hold no images, and so are no classes.

    Args:
        root: the folder of the source, on this machine.
        classes_by_path: path of a file below it -> the class that it counts for, if any.
    """
    labelled = {(normalize_path(path).rpartition("/")[0], name) for path, name in classes_by_path if may_be_image(path)}
    occupied = {above for folder, _ in labelled for above in _list_upwards(folder)}
    parents = {parent for folder, name in labelled if name for parent in _list_parents(folder, name)}
    empty = []
    for parent in sorted(parents)[:MAX_PARENTS]:
        with suppress(OSError), os.scandir(root / parent) as entries:
            for entry in entries:
                folder = join_path(parent, entry.name)
                is_candidate = entry.is_dir(follow_symlinks=False) and not is_hidden(entry.name)
                if is_candidate and is_plain(entry.name) and normalize_path(folder) not in occupied:
                    empty.append(folder)
    if not empty:
        return []
    if len(empty) == 1:
        return [f"{empty[0]} holds no images, so it is not a class; if it is one, its images are missing"]
    named = f"{format_count(len(empty), 'folder')} beside those of the classes, such as {min(empty)},"
    return [f"{named} hold no images, so they are not classes; if they are, their images are missing"]


def _list_upwards(folder: str) -> list[str]:
    """List a folder and those that it lies in, the innermost first."""
    parts = folder.split("/")
    return ["/".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _list_parents(folder: str, name: str) -> list[str]:
    """List the folder in which the folder of a class lies; none where no folder is called as the class."""
    for above in _list_upwards(folder):
        parent, _, folder_name = above.rpartition("/")
        if make_path_class(folder_name) == name:
            return [parent]
    return []
