"""Reads folders of image files, at any depth."""

import functools
from collections.abc import Iterator, Sequence

from pyarrow import fs as pafs

from ganaug_ray.config import LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources.raw import MAX_IMAGE_BYTES, CountedPart, RawImage, cut_parts, is_hidden, make_labeller
from ganaug_ray.errors import UserError


def list_parts(source: str, label_from: LabelFrom) -> Iterator[CountedPart]:
    """Yield the parts of a folder: all files below it sorted by path, without hidden ones."""
    folder = Folder.from_uri(source)
    try:
        kind = folder.fs.get_file_info(folder.path).type
        infos = folder.fs.get_file_info(pafs.FileSelector(folder.path, recursive=True, allow_not_found=True))
    except OSError as error:
        if isinstance(error, NotADirectoryError):
            raise _make_unknown_kind(source) from None
        raise UserError(f"data.source {source}: cannot be read ({error.strerror or error})") from None
    if kind == pafs.FileType.NotFound:
        raise UserError(f"data.source {source}: there is no such folder")
    if kind == pafs.FileType.File:
        raise _make_unknown_kind(source)
    sizes = {}
    try:
        for info in infos:
            if info.type == pafs.FileType.File:
                sizes[info.path[len(folder.path) :].lstrip("/")] = info.size
    except UnicodeDecodeError as error:
        name = error.object.decode("utf-8", "backslashreplace")
        raise UserError(f"data.source {source}: {name} is no UTF-8 name; rename it, for instance with convmv") from None
    names = sorted(name for name in sizes if not is_hidden(name))
    if not names:
        raise UserError(f"data.source {source}: is empty; expected one folder of images a class")
    find_label = make_labeller(label_from, source)
    for part_files in cut_parts([(name, find_label(name), sizes[name]) for name in names]):
        yield CountedPart(functools.partial(_read_files, source, part_files), len(part_files))


def _make_unknown_kind(source: str) -> UserError:
    return UserError(f"data.source {source}: is a file of a kind that is not known; see the README for sources")


def _read_files(source: str, files: Sequence[tuple[str, str | None, int]]) -> Iterator[RawImage]:
    folder = Folder.from_uri(source)
    for name, label, size in files:
        yield RawImage(name, label, _read_content(folder, name, size))


def _read_content(folder: Folder, name: str, size: int) -> bytes | UnreadableError:
    if size > MAX_IMAGE_BYTES:
        return UnreadableError("too large", f"{size} bytes")
    try:
        return folder.read_bytes(name)
    except OSError as error:
        return UnreadableError("cannot be read", error.strerror or str(error))
