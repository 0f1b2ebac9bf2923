"""The image as every reader gives it, and helpers that readers of files share."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from ganaug_ray.core.storage import Folder, split_address
from ganaug_ray.data.sources import web
from ganaug_ray.errors import UserError

if TYPE_CHECKING:
    from ganaug_ray.config import LabelFrom
    from ganaug_ray.data.images import UnreadableError

PART_IMAGES = 256  # images
MAX_IMAGE_BYTES = 256 * 1024**2  # of one image file; a larger one is not read


@dataclass(frozen=True)
class RawImage:
    """One image as found: encoded bytes, pixels uint8 [H, W] or [H, W, C], or why there is nothing to decode.

    Attributes:
        path: where it was found, relative to the source.
        label: its class, or None where it has none.
        content: as above.
        provenance: the source.
    """

    path: str
    label: str | None
    content: bytes | np.ndarray | UnreadableError
    provenance: str = ""


SourcePart = Callable[[], Iterator[RawImage]]
"""Reads one part of a source. It travels to other processes: a module's function with its arguments bound."""


@dataclass(frozen=True)
class CountedPart:
    """A part of a source, and how many images it has.

    Attributes:
        read: as above.
        images: those that turn out unreadable included; None where only reading tells.
    """

    read: SourcePart
    images: int | None = None

    def __call__(self) -> Iterator[RawImage]:
        """Read the part."""
        return self.read()


T = TypeVar("T")


def cut_parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut a sequence into parts of at most PART_IMAGES items, which can be read in parallel.

    >>> [len(part) for part in cut_parts(range(600))]
    [256, 256, 88]
    """
    return (items[start : start + PART_IMAGES] for start in range(0, len(items), PART_IMAGES))


def is_hidden(path: str) -> bool:
    """Whether a file is hidden or left behind by a system, such as thumbnails and resource forks.

    >>> [is_hidden(path) for path in ("cat/1.jpg", "cat/.DS_Store", "__MACOSX/cat/1.jpg", "cat/Thumbs.db")]
    [False, True, True, True]
    """
    left_behind = {"Thumbs.db", "desktop.ini", "__MACOSX"}
    parts = [part for part in path.replace("\\", "/").split("/") if part not in (".", "..")]
    return any(part.startswith(".") or part in left_behind for part in parts)


def open_file(source: str) -> tuple[Folder, str]:
    """Return the folder and the name of a source that is one file; a file behind https is downloaded first.

    Raises:
        UserError: there is no such file, or it cannot be had.
    """
    address = str(web.fetch_file(source)) if web.is_url(source) else source
    folder, name = split_address(address)
    try:
        info = folder.fs.get_file_info(f"{folder.path}/{name}")
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"data.source {source}: cannot be read ({error})") from None
    if info.type != pafs.FileType.File:
        raise UserError(f"data.source {source}: there is no such file")
    return folder, name


def make_labeller(label_from: LabelFrom, source: str) -> Callable[[str], str | None]:
    """Return the function that finds a file's label by its path, or None if it has none.

    Raises:
        UserError: the CSV file of labels is missing or lacks its columns.
    """
    if label_from.regex is not None:
        pattern = re.compile(label_from.regex)

        def label_by_name(path: str) -> str | None:
            match = pattern.search(path.rsplit("/", 1)[-1])
            return match["label"] if match else None

        return label_by_name
    if label_from.csv is not None:
        table = dict(read_labels(label_from.csv))
        return lambda path: table.get(path) or table.get(path.rsplit("/", 1)[-1])

    def label_by_parent(path: str) -> str | None:
        parts = path.split("/")
        return parts[-2] if len(parts) > 1 else None

    return label_by_parent


def read_labels(path: str) -> list[tuple[str, str]]:
    """Read (image, label) of every row of a CSV file.

    Raises:
        UserError: it is missing, no UTF-8 text, no CSV, or lacks the columns image and label.
    """
    folder, name = open_file(path)
    try:
        rows = csv.reader(io.StringIO(folder.read_bytes(name).decode("utf-8-sig")))
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no UTF-8 text; expected a CSV file with the columns image and label") from None
    try:
        names = next((row for row in rows if row), [])
        if not {"image", "label"} <= {*names}:
            raise UserError(f"{path}: found the columns {', '.join(names) or 'nothing'}; expected image and label")
        image = names.index("image")
        label = names.index("label")
        labels = []
        for row in rows:
            if len(row) > max(image, label) and row[image] and row[label]:
                # Interned: of millions of rows there are few labels.
                labels.append((row[image].strip(), sys.intern(row[label].strip())))
        return labels
    except csv.Error as error:
        raise UserError(f"{path}: line {rows.line_num} is no CSV ({error})") from None
