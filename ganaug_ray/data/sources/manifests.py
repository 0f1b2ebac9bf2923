"""Reads CSV manifests: tables of labels whose images lie beside them."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

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

PROBED_ROWS = 20  # if the files of so many are not there, the paths are written in another way


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
    """Return rows with the paths of files that are there, where the table writes all of them in another way."""
    folder, _ = open_file(source)
    index = index_differing_paths(source, folder, [row.image for row in rows if row.image])
    if index is None:
        return rows
    located = []
    for row in rows:
        files = index.find_files(row.image) if row.image else ()
        if len(files) == 1:
            row = replace(row, image=files[0])
        elif files:
            row = replace(row, label=make_ambiguous_label(row.image, f"line {row.line}", files, row.label.split))
        located.append(row)
    return located


def index_differing_paths(source: str, folder: Folder, paths: Sequence[str]) -> PathIndex | None:
    """Return an index of a folder's files, where a table in it writes their paths in another way; else None."""
    if not paths or any("://" in path or _has_file(folder, path) for path in paths[:PROBED_ROWS]):
        return None
    return PathIndex(file.name for file in walk_folder(source, folder) if file.problem is None)


def make_ambiguous_label(path: str, row: str, files: Sequence[str], split: str | None) -> Label:
    """Return the label of a row of a table whose path fits several files equally well."""
    return Label(None, (LABEL_CONFLICT, f"{path} in {row} fits {' and '.join(files[:3])}"), split)


def _has_file(folder: Folder, path: str) -> bool:
    if path.startswith("/") and folder.local_path is not None:
        folder, path = Folder.from_uri("/"), path.lstrip("/")
    try:
        return folder.has_file(path)
    except OSError:
        return False


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
