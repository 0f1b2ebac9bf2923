"""The image as every reader gives it, and helpers that readers of files share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
from pyarrow import fs as pafs

from ganaug_ray.core.storage import Folder, split_address
from ganaug_ray.data.image_formats import find_pointer
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources import web
from ganaug_ray.data.sources.paths import REDUCED_SUFFIXES, find_hiding_place, is_hidden_image, is_sidecar
from ganaug_ray.errors import UserError

MAX_POINTER_BYTES = 1024
FETCH_COMMANDS = {"Git LFS": "git lfs pull", "git-annex": "git annex get"}
PART_IMAGES = 256  # images
MAX_IMAGE_BYTES = 256 * 1024**2  # of one image file; a larger one is not read

NO_CLASS = "no class"
ARCHIVE = "archive"  # among images, where it is not read
LABEL_CONFLICT = "label conflict"
SINGLE_COLOUR = "single colour"
SIDECAR = "sidecar file"  # text, annotations or masks that stand beside images
RAW_BESIDE = "camera raw beside an image"  # under its name, so that it is the same picture
UNREAD_BESIDE = "unread format beside an image"  # likewise
LINK_BACK = "link that leads back"
HIDDEN = "hidden file or folder"  # whose name begins with a dot; only such as may be images
LEFTOVER = "hidden file of a system or program"  # or a folder of such, which is not entered
REMARK = "remark"  # no file at all, but something to know of the source; its detail says what
UNLABELLED = "image without a label"  # in a folder of such beside the splits
PASSED_OVER = (
    SIDECAR,
    RAW_BESIDE,
    UNREAD_BESIDE,
    LINK_BACK,
    HIDDEN,
    LEFTOVER,
    UNLABELLED,
)  # files that are neither kept nor rejected, but counted


@dataclass(frozen=True)
class RawImage:
    """One image as found: encoded bytes, pixels uint8 [H, W] or [H, W, C], or why there is nothing to decode.

    Attributes:
        path: where it was found, relative to the source.
        label: its class, or None where it has none.
        content: as above.
        provenance: the source.
        split: train, val or test, where its place in the source says so.
        objection: why its label cannot be used: a reason, and more on that.
        is_beside: whether its name makes it one that stands beside images, unless it can be read as one.
    """

    path: str
    label: str | None
    content: bytes | np.ndarray | UnreadableError
    provenance: str = ""
    split: str | None = None
    objection: tuple[str, str] | None = None
    is_beside: bool = False


@dataclass(frozen=True)
class Label:
    """What is known of an image's label.

    Attributes:
        name: its class, or None.
        objection: without a class, the reason and more on that.
        split: train, val or test, where its place in the source says so.
        is_beside: as of RawImage.
    """

    name: str | None
    objection: tuple[str, str] | None = None
    split: str | None = None
    is_beside: bool = False


PartReader = Callable[[], Iterator[RawImage]]
"""Reads one part of a source. It travels to other processes: a module's function with its arguments bound."""


@dataclass(frozen=True)
class SourcePart:
    """A part of a source, and what is known of it before it is read.

    Attributes:
        read: as above.
        labelled_splits: those in which labelled images of it lie, "" outside any.
        images: how many it has, those that turn out unreadable included; None where only reading tells.
        classes: that its images have by their paths; none where only reading tells.
    """

    read: PartReader
    labelled_splits: frozenset[str] = frozenset({""})
    images: int | None = None
    classes: frozenset[str] = frozenset()

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


def make_image(path: str, label: Label, content: bytes | UnreadableError) -> RawImage:
    """Return the image of a file with what is known of its label."""
    is_annotation = label.objection is not None and label.objection[0] == SIDECAR  # by the folder that it lies in
    is_beside = label.is_beside or is_annotation or is_sidecar(path)
    if label.is_beside and path.lower().endswith(REDUCED_SUFFIXES):
        content = UnreadableError(SIDECAR)
    return RawImage(path, label.name, content, split=label.split, objection=label.objection, is_beside=is_beside)


def collect_splits(labels: Iterable[Label]) -> frozenset[str]:
    """Return the splits in which labelled images lie, "" for those outside any."""
    return frozenset(label.split or "" for label in labels if label.name is not None)


def collect_classes(labels: Iterable[Label]) -> frozenset[str]:
    """Return the classes of images."""
    return frozenset(label.name for label in labels if label.name is not None)


def count_images(files: Iterable[tuple[str, Label]]) -> int:
    """Count the files that are images by their paths and labels, and not what stands beside them.

    >>> count_images([("cat/1.png", Label("cat")), ("cat/1.txt", Label("cat"))])
    1
    """
    return sum(
        not (is_sidecar(path) or label.is_beside) and (label.objection is None or label.objection[0] not in PASSED_OVER)
        for path, label in files
    )


def explain_hidden(paths: Iterable[str]) -> dict[str, UnreadableError]:
    """Say of hidden files why they are skipped; what lies in a hidden folder counts once, as that folder.

    Returns:
        The path of each such file or folder -> the reason.

    >>> {path: error.reason for path, error in explain_hidden([".a/1.txt", ".a/2.png", "cat/.DS_Store"]).items()}
    {'.a/': 'hidden file or folder', 'cat/.DS_Store': 'hidden file of a system or program'}
    """
    reasons: dict[str, UnreadableError] = {}
    for path in paths:
        place = find_hiding_place(path)
        if is_hidden_image(path):
            reasons[place] = UnreadableError(HIDDEN, "has a name that begins with a dot")
        else:
            reasons.setdefault(place, UnreadableError(LEFTOVER))
    return reasons


def make_remarks(source: str, remarks: Sequence[str]) -> Iterator[RawImage]:
    """Yield what is to be known of a source, in the place of images."""
    for remark in remarks:
        yield RawImage(source, None, UnreadableError(REMARK, remark))


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
    if folder.local_path is not None:
        try:
            (folder.local_path / name).open("rb").close()
        except OSError as error:
            raise UserError(f"data.source {source}: {describe_unreadable(error)}") from None
    if info.size <= MAX_POINTER_BYTES:
        refuse_pointer(f"data.source {source}", folder, name)
    return folder, name


def describe_unreadable(error: OSError) -> str:
    """Say why a file or folder cannot be read: the end of a sentence that names it."""
    remedy = "; give this user the right to read it" if isinstance(error, PermissionError) else ""
    return f"cannot be read ({error.strerror or error}){remedy}"


def refuse_pointer(where: str, folder: Folder, name: str) -> None:
    """Raise an error if a small text stands in the place of a file that a program was to fetch.

    Raises:
        UserError: so it is.
    """
    with folder.fs.open_input_file(f"{folder.path}/{name}") as stream:
        pointer = find_pointer(stream.read(MAX_POINTER_BYTES))
    if pointer:
        command = FETCH_COMMANDS[pointer]
        raise UserError(f"{where}: is a {pointer} pointer, not the file itself; fetch that with `{command}`")
