"""Reads CSV manifests: tables of labels whose images lie beside them."""

import functools
import os.path
import re
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_count
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources import web
from ganaug_ray.data.sources.label_tables import TableRow, read_table
from ganaug_ray.data.sources.masks import find_listed_masks
from ganaug_ray.data.sources.path_matching import PathIndex, is_same_spelling
from ganaug_ray.data.sources.paths import find_outer_folder, find_split, is_address, is_image_name
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
from ganaug_ray.data.sources.table_labels import merge_rows
from ganaug_ray.data.sources.table_remarks import (
    DOWNLOAD,
    describe_addresses,
    describe_listed_masks,
    describe_moved_images,
    describe_other_suffixes,
    describe_repeated_images,
)
from ganaug_ray.data.sources.walk import WalkedFile, walk_folder
from ganaug_ray.errors import UserError

BASE64_IMAGE = re.compile(r"(data:image/|iVBORw0KGgo|/9j/|R0lGOD|UklGR).{100}")  # PNG, JPEG, GIF and WebP


def list_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the parts of a CSV file, which has a column of paths relative to it, and one of labels."""
    if web.is_url(source):
        raise UserError(
            f"data.source {source}: the images of a CSV file lie beside it, and are not fetched with it; give an "
            "archive of both"
        )
    folder, name = open_file(source)
    table = read_table(source, columns, label_from is not None, lambda: list_image_names(source, folder))
    images = [(row.image, f"line {row.line}") for row in table.rows if row.image]
    paths = {path for path, _ in images}
    addresses = describe_listed_addresses(f"data.source {source}", images, name)
    located = locate_files(source, folder, name, paths)
    masks = describe_listed_masks(find_listed_masks(paths), name)
    missing = [path for path, files in located.files.items() if not files]
    if missing and not any(map(is_image_name, missing)):
        verb = "fits" if len(missing) == 1 else "fit"
        advice = "data.columns: {image: ...} names another column" if table.other_columns else "write the files' names"
        located.remarks.append(
            f"{name}: {format_count(len(missing), 'name')} in column {table.image_column} {verb} no file, such as "
            f"{min(missing):.100}; {advice}"
        )
    yield from _list_remark_part(source, [*table.remarks, *addresses, *located.remarks, *masks])
    rows = [_locate_image(row, located.files.get(row.image, ())) for row in table.rows]
    if label_from is not None:
        rows, repeated = _merge_rows_of_images(rows, name)
        yield from _list_remark_part(source, describe_repeated_images(repeated, name))
    outer_folder = find_outer_folder((row.image for row in rows), str(folder.local_path or folder.path))
    splits_by_image = {
        row.image: (find_split(row.image.removeprefix(outer_folder)), row.label.split) for row in rows if row.image
    }
    yield from _list_remark_part(source, describe_moved_images(splits_by_image, name))
    for part_rows in cut_parts([_add_split(row, outer_folder) for row in rows]):
        splits = collect_splits(row.label for row in part_rows)
        yield SourcePart(functools.partial(_read_listed, source, part_rows), splits, len(part_rows))


def _list_remark_part(source: str, remarks: Sequence[str]) -> Iterator[SourcePart]:
    if remarks:
        yield SourcePart(functools.partial(make_remarks, source, remarks), frozenset(), 0)


def _merge_rows_of_images(rows: Sequence[TableRow], table: str) -> tuple[list[TableRow], dict[str, list[int]]]:
    """Merge the rows that name the same file, such as one for each object in it.

    Returns:
        A row for each file, and those without any; and of files with several rows the lines.
    """
    images = [row.image for row in rows if row.image]
    if len(set(images)) == len(images):
        return list(rows), {}
    rows_by_image: dict[str, list[TableRow]] = defaultdict(list)
    for row in rows:
        rows_by_image[row.image or f"#{row.line}"].append(row)
    repeated = {image: [row.line for row in same] for image, same in rows_by_image.items() if len(same) > 1}
    merged = []
    for same in rows_by_image.values():
        merged.append(same[0] if len(same) == 1 else replace(same[0], label=merge_rows(same, table)))
    return merged, repeated


def describe_listed_addresses(where: str, images: Sequence[tuple[str, str]], table: str) -> list[str]:
    """Say how many of a table's images are addresses.

    Args:
        where: what to call the table in an error.
        images: path or address, and what its row is called.
        table: its name.

    Raises:
        UserError: they all are.
    """
    addresses = [(path, row) for path, row in images if is_address(path)]
    if addresses and len(addresses) == len(images):
        raise UserError(
            f"{where}: its images are addresses, such as {addresses[0][0]:.100} in {addresses[0][1]}, which are not "
            f"downloaded; {DOWNLOAD}"
        )
    return describe_addresses(addresses, len(images), table)


def _add_split(row: TableRow, outer_folder: str) -> TableRow:
    split = row.label.split or find_split(row.image.removeprefix(outer_folder))
    return replace(row, label=replace(row.label, split=split))


def _locate_image(row: TableRow, files: Sequence[str]) -> TableRow:
    """Return a row with the path of its file, where the table writes that in another way."""
    if len(files) == 1:
        return replace(row, image=files[0])
    if files:
        return replace(row, label=make_ambiguous_label(row.image, f"line {row.line}", files, row.label.split))
    return row


@dataclass(frozen=True)
class LocatedFiles:
    """The files of a table whose paths it writes in another way.

    Attributes:
        files: path -> the files that it fits equally well, maybe none; without the paths that hold as they are.
        remarks: what is to be known of them, a sentence each.
    """

    files: dict[str, Sequence[str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def locate_files(source: str, folder: Folder, table: str, paths: Set[str]) -> LocatedFiles:
    """Find the files that paths of a table mean where they are written in another way, say in decomposed Unicode.

    The folder is listed as soon as a single path is not there as it is written. A file that another path names as it
    is written is meant by no other.

    Args:
        source: as messages name it.
        folder: in which the table lies.
        table: its name.
        paths: that stand in it, normalised.

    Raises:
        UserError: the folder cannot be listed, and no path holds.
    """
    own_paths = {path for path in paths if not is_address(path)}
    if folder.local_path is not None:
        missing = _list_missing(folder.local_path, own_paths)
        files = _list_files(source, folder, missing == own_paths) if missing else []
    else:  # of an object store one request lists a thousand files, or looks for a single one
        files = walk_folder(source, folder) if own_paths else []
        missing = own_paths - {file.name for file in files}
    if not missing:
        return LocatedFiles()
    named = own_paths - missing
    index = PathIndex(file.name for file in files if file.problem is None and file.name not in named)
    located = {path: index.find_files(path) for path in missing}
    remarks = [*index.describe_decoded(table), *index.describe_numbers(table)]
    if named:
        as_written = {path: files for path, files in located.items() if path not in index.decoded | index.numbers}
        remarks += _describe_other_files(table, as_written)
    nowhere = (path for path, files in located.items() if not files)
    remarks += describe_other_suffixes(index.find_other_suffixes(nowhere), table)
    return LocatedFiles(located, remarks)


def list_image_names(source: str, folder: Folder) -> list[str]:
    """Return the paths of the images in the folder of a table, if it can be listed."""
    return [file.name for file in _list_files(source, folder, is_needed=False) if is_image_name(file.name)]


def _list_files(source: str, folder: Folder, is_needed: bool) -> list[WalkedFile]:
    """List a folder. Where that is not needed and fails, say at a folder that is not the user's, there are no files."""
    try:
        return walk_folder(source, folder)
    except UserError:
        if is_needed:
            raise
        return []


def _describe_other_files(table: str, located: Mapping[str, Sequence[str]]) -> list[str]:
    """Say which paths of a table, in which others hold, are taken for files that are not merely spelled otherwise."""
    differing = []
    for path, files in sorted(located.items()):
        if len(files) == 1 and not is_same_spelling(path, files[0]):
            differing.append(f"{path} for {files[0]}")
    if not differing:
        return []
    return [
        f"{table}: {format_count(len(differing), 'path is', 'paths are')} not there as written, so files in another "
        f"folder, case or suffix are used, such as {differing[0]}; correct the table if other images are meant"
    ]


def _list_missing(root: Path, paths: Set[str]) -> set[str]:
    is_file = os.path.isfile  # false too of a path that is too long or that may not be looked at
    return {path for path in paths if not is_file(path if path.startswith("/") else f"{root}/{path}")}


def make_ambiguous_label(path: str, row: str, files: Sequence[str], split: str | None) -> Label:
    """Return the label of a row of a table whose path fits several files equally well."""
    return Label(None, (LABEL_CONFLICT, f"{path} in {row} fits {' and '.join(files[:3])}"), split)


def _read_listed(source: str, rows: Sequence[TableRow]) -> Iterator[RawImage]:
    folder, name = open_file(source)
    for row in rows:
        if not row.image:
            assert row.label.objection is not None
            yield make_image(f"{name}#{row.line}", row.label, UnreadableError("no image", row.label.objection[1]))
        else:
            content = read_listed_file(folder, row.image, f"{name} line {row.line}")
            if (
                isinstance(content, UnreadableError)
                and row.label.objection
                and row.label.objection[0] == LABEL_CONFLICT
            ):
                content = UnreadableError(*row.label.objection)  # as where several files fit its path
            yield make_image(row.image, row.label, content)


def read_listed_file(folder: Folder, path: str, row: str) -> bytes | UnreadableError:
    """Return the content of an image that a row of a table names, or why there is none."""
    if is_address(path):
        return UnreadableError("address", f"{row} names {path:.100}, and addresses are not downloaded")
    try:
        if folder.local_path is not None:
            if path.startswith("/"):
                folder, path = Folder.from_uri("/"), path.lstrip("/")
            if _is_special(f"{folder.path.rstrip('/')}/{path}"):
                return UnreadableError("not a file", f"{row} names a pipe, a socket or a device")
        return folder.read_bytes(path)
    except OSError as error:
        if BASE64_IMAGE.match(path):
            return UnreadableError("no path", f"{path[:20]}… is an image in base64; write its bytes, or a path")
        if isinstance(error, FileNotFoundError):
            return UnreadableError("cannot be read", f"there is no such file; {row} names it")
        return UnreadableError("cannot be read", error.strerror or str(error))


def _is_special(path: str) -> bool:
    """Whether a local path is neither a file nor a folder, so that reading it might never end."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # whoever reads it says so
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
