"""Reads CSV manifests: tables of labels whose images lie beside them."""

import functools
import os.path
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources import web
from ganaug_ray.data.sources.label_tables import TableRow, read_table
from ganaug_ray.data.sources.path_matching import PathIndex
from ganaug_ray.data.sources.paths import find_split
from ganaug_ray.data.sources.raw import (
    LABEL_CONFLICT,
    Label,
    RawImage,
    SourcePart,
    collect_splits,
    cut_parts,
    make_image,
    make_remarks,
    open_file,
)
from ganaug_ray.data.sources.walk import walk_folder
from ganaug_ray.errors import UserError


def list_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the parts of a CSV file, which has a column of paths relative to it, and one of labels."""
    if web.is_url(source):
        raise UserError(f"data.source {source}: the images of a CSV file lie beside it; fetch an archive of both")
    table = read_table(source, columns, with_labels=label_from is not None)
    if table.remarks:
        yield SourcePart(functools.partial(make_remarks, source, table.remarks), frozenset(), 0)
    rows = _locate_images(source, table.rows)
    for part_rows in cut_parts(rows):
        labels = [_add_split(row) for row in part_rows]
        yield SourcePart(functools.partial(_read_listed, source, part_rows), collect_splits(labels), len(part_rows))


def _add_split(row: TableRow) -> Label:
    return replace(row.label, split=row.label.split or find_split(row.image))


def _locate_images(source: str, rows: list[TableRow]) -> list[TableRow]:
    """Return rows with the paths of files that are there, where the table writes some of them in another way."""
    folder, _ = open_file(source)
    files_by_path = locate_files(source, folder, {row.image for row in rows if row.image})
    located = []
    for row in rows:
        files = files_by_path.get(row.image, ())
        if len(files) == 1:
            row = replace(row, image=files[0])
        elif files:
            row = replace(row, label=make_ambiguous_label(row.image, f"line {row.line}", files, row.label.split))
        located.append(row)
    return located


def locate_files(source: str, folder: Folder, paths: Set[str]) -> dict[str, Sequence[str]]:
    """Find the files that paths of a table mean where they are written in another way, say in decomposed Unicode.

    The folder is listed as soon as a single path is not there as it is written. A file that another path names as it
    is written is meant by no other.

    Args:
        source: as messages name it.
        folder: in which the table lies.
        paths: of the table, normalised.

    Returns:
        Path -> the files that it fits equally well, maybe none; without the paths that hold as they are.

    Raises:
        UserError: the folder cannot be listed.
    """
    own_paths = {path for path in paths if "://" not in path}
    if folder.local_path is not None:
        missing = _list_missing(folder.local_path, own_paths)
        files = walk_folder(source, folder) if missing else []
    else:  # of an object store one request lists a thousand files, or looks for a single one
        files = walk_folder(source, folder) if own_paths else []
        missing = own_paths - {file.name for file in files}
    if not missing:
        return {}
    named = own_paths - missing
    index = PathIndex(file.name for file in files if file.problem is None and file.name not in named)
    return {path: index.find_files(path) for path in missing}


def _list_missing(root: Path, paths: Set[str]) -> set[str]:
    is_file = os.path.isfile  # false too of a path that is too long or that may not be looked at
    return {path for path in paths if not is_file(path if path.startswith("/") else f"{root}/{path}")}


def make_ambiguous_label(path: str, row: str, files: Sequence[str], split: str | None) -> Label:
    """Return the label of a row of a table whose path fits several files equally well."""
    return Label(None, (LABEL_CONFLICT, f"{path} in {row} fits {' and '.join(files[:3])}"), split)


def _read_listed(source: str, rows: Sequence[TableRow]) -> Iterator[RawImage]:
    folder, name = open_file(source)
    for row in rows:
        label = _add_split(row)
        if not row.image:
            assert label.objection is not None
            yield make_image(f"{name}#{row.line}", label, UnreadableError("no image", label.objection[1]))
        else:
            yield make_image(row.image, label, read_listed_file(folder, row.image))


def read_listed_file(folder: Folder, path: str) -> bytes | UnreadableError:
    """Return the content of an image that a table names, or why there is none."""
    if "://" in path:
        return UnreadableError("unsafe path", "a manifest's images lie beside it; none is fetched")
    try:
        if path.startswith("/") and folder.local_path is not None:
            return Folder.from_uri("/").read_bytes(path.lstrip("/"))
        return folder.read_bytes(path)
    except OSError as error:
        return UnreadableError("cannot be read", error.strerror or str(error))
