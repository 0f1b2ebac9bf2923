"""Looks through a table before its images are read: at its labels, its splits, and the paths of its images."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.sources.columns import Columns
from ganaug_ray.data.sources.label_text import name_missing_value
from ganaug_ray.data.sources.manifests import locate_files
from ganaug_ray.data.sources.masks import find_listed_masks
from ganaug_ray.data.sources.paths import find_outer_folder, find_split, read_path_cell
from ganaug_ray.data.sources.raw import NO_CLASS, Label
from ganaug_ray.data.sources.table_file import TableFile
from ganaug_ray.data.sources.table_remarks import (
    describe_labels,
    describe_listed_masks,
    describe_moved_images,
    describe_splits,
)
from ganaug_ray.errors import UserError

ClassNames = Mapping[str, Sequence[str] | None]
"""Column -> the names of its numbers, where the schema has them."""
Row = dict[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class TableValues:
    """What stands in a table, each value with its number of rows.

    Attributes:
        labels: cells of the column of labels, if there is one.
        splits: texts in the column of splits, if there is one.
        split_column: its name.
    """

    labels: Counter[Any] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    split_column: str = ""

    def add(self, other: "TableValues") -> "TableValues":
        """Return the values of two tables."""
        return TableValues(self.labels + other.labels, self.splits + other.splits, other.split_column)

    def describe(self, table: str) -> list[str]:
        """Say which values are read in a way that a user may not expect."""
        remarks = list(describe_splits(self.splits, self.split_column, table))
        with suppress(ValueError):  # bytes that are no text: whoever reads the row says so
            remarks += describe_labels(self.labels, table)
        return remarks


@dataclass(frozen=True)
class TableRows:
    """The rows of a table without their images.

    Attributes:
        columns: which they are.
        class_names: of columns with numbers.
        group_rows: number of rows of each row group.
        keys: of each row, its cells in the columns of labels and of the split; equal ones are the same object.
        paths: of each row, the path of its image, empty where it holds the image itself.
    """

    columns: Columns
    class_names: ClassNames
    group_rows: Sequence[int]
    keys: Sequence[Key]
    paths: Sequence[str]

    def list_cells(self, column: str) -> list[Any]:
        """Return the different cells of a column of labels, without those that are empty."""
        column_number = self.columns.label_and_split_names.index(column)
        cells = dict.fromkeys(key[column_number] for key in dict.fromkeys(self.keys))
        return [cell for cell in cells if not _is_empty(cell)]

    def name_images(self) -> list[tuple[str, str]]:
        """Return the path of each image that has one, and what its row is called."""
        return [(path, f"row {number}") for number, path in enumerate(self.paths) if path]


@dataclass(frozen=True)
class Listing:
    """What is known of a table without its images.

    Attributes:
        splits: of each row group, those in which labelled images lie, "" for those outside any.
        files: of each row group, path in the table -> the files that it fits, of those that do not hold as they are.
        outer_folder: in front of its paths, see paths.find_outer_folder.
        values: that stand in the table.
        remarks: what is to be known of its files, a sentence each.
    """

    splits: list[frozenset[str]]
    files: list[dict[str, Sequence[str]]]
    outer_folder: str
    values: TableValues
    remarks: list[str]


def read_rows(table: TableFile, columns: Columns, class_names: ClassNames) -> TableRows:
    """Read all of a table but its images."""
    path_column = _find_path_column(table, columns.image)
    named_columns = columns.label_and_split_names
    content = table.read([*named_columns, *([path_column] if path_column else [])])
    # Of the rows of a large table few differ in their labels and splits, so that each such pair is understood once.
    keys: list[Key] = [()] * sum(table.group_rows)
    if named_columns:
        known: dict[Key, Key] = {}
        cells = [map(_make_key, content[name].to_pylist()) for name in named_columns]
        keys = [known.setdefault(key, key) for key in zip(*cells, strict=True)]
    paths = [""] * len(keys)
    if path_column:
        paths = [extract_path(cell) for cell in content[columns.image].to_pylist()]
    return TableRows(columns, class_names, table.group_rows, keys, paths)


def list_rows(source: str, folder: Folder, name: str, rows: TableRows, table_split: str | None) -> Listing:
    """Look through a table that lies in a folder; ``table_split`` is the split that its place or name says.

    Raises:
        UserError: the folder cannot be listed, where the table's paths are not those of its files.
    """
    keys, paths, columns, names = rows.keys, rows.paths, rows.columns, rows.class_names
    key_counts = Counter(keys)
    key_splits = {
        key: _find_labelled_split(dict(zip(columns.label_and_split_names, key, strict=True)), columns, names)
        for key in key_counts
    }
    own_paths = {path for path in paths if path}
    located = locate_files(source, folder, name, own_paths)
    outer_folder = find_outer_folder(paths, str(folder.local_path or folder.path))
    splits = []
    files = []
    moved = {}
    start = 0
    for group_rows in rows.group_rows:
        end = start + group_rows
        group_splits = set()
        for key, path in set(zip(keys[start:end], paths[start:end], strict=True)):
            split = key_splits[key]
            place_split = find_split(path.removeprefix(outer_folder)) or table_split
            if split is not None:
                group_splits.add(split or place_split or "")
                if path:
                    moved[path] = place_split, split or None
        splits.append(frozenset(group_splits))
        files.append({path: located.files[path] for path in located.files.keys() & set(paths[start:end])})
        start = end
    masks = describe_listed_masks(find_listed_masks(own_paths), name)
    remarks = [*located.remarks, *describe_moved_images(moved, name), *masks]
    return Listing(splits, files, outer_folder, _count_values(key_counts, columns, names), remarks)


def extract_path(cell: Any) -> str:
    """Return the path in a cell of images that names a file beside the table; empty in one that holds the image."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    return read_path_cell(cell)


def name_classes(row: Row, names: ClassNames) -> Row:
    """Return a row with the names of classes in the place of their numbers; a number without a name is no class."""
    named = dict(row)
    for column, texts in names.items():
        cell = row[column]
        if not texts or cell is None:
            continue
        with suppress(ValueError, TypeError):  # some programs write numbers as text; what is no number is a name
            number = float(cell)  # pandas makes floats of them where one is missing
            named[column] = texts[int(number)] if 0 <= number < len(texts) and number == int(number) else None
    return named


def read_named_label(row: Row, columns: Columns, names: ClassNames, where: str) -> Label:
    """Return the label of a row whose numbers may have names; ``where`` is what to call it. Raises as read_label."""
    label = columns.read_label(name_classes(row, names), where)
    if label.name is None and len(columns.labels) == 1:
        (column,) = columns.labels
        if names[column] and not _is_empty(row[column]):
            classes = f"{len(names[column] or ())} classes"
            words = f"{where}: labelled {row[column]}, which is not the number of any of the {classes}"
            return replace(label, objection=(NO_CLASS, words))
    return label


def _find_path_column(table: TableFile, image: str) -> str | None:
    """Return what to read of a column of images for their paths; None where it holds the images themselves."""
    kind = table.schema.field(image).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        return image
    if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        return None
    if kind.get_field_index("bytes") >= 0 and not table.is_empty_field(image, "bytes"):
        return None
    return f"{image}.path"


def _is_empty(cell: Any) -> bool:
    """Whether a cell says that its value is missing."""
    with suppress(ValueError):  # bytes that are no text
        return cell == "" or name_missing_value(cell) is not None
    return False


def _make_key(cell: Any) -> Any:
    """Return a cell as one that equals itself, so that it can be counted, whatever it holds."""
    if cell != cell:
        return math.nan
    return cell if isinstance(cell, str | bytes | int | float | None) else str(cell)


def _find_labelled_split(row: Row, columns: Columns, names: ClassNames) -> str | None:
    """Return the split that a row states, "" where it states none; None of one without a label."""
    with suppress(UserError):  # whoever reads the row says so
        label = read_named_label(row, columns, names, "")
        if label.name is not None:
            return label.split or ""
    return None


def _count_values(key_counts: Counter[Key], columns: Columns, names: ClassNames) -> TableValues:
    labels: Counter[Any] = Counter()
    splits: Counter[str] = Counter()
    for key, n in key_counts.items():
        row = dict(zip(columns.label_and_split_names, key, strict=True))
        if len(columns.labels) == 1:
            cell = row[columns.labels[0]]
            # Of names in a schema, none is what a missing value is called.
            if not columns.has_named_classes or cell is None or cell is math.nan:
                labels[cell] += n
        if columns.split:
            splits[columns.read_split(name_classes(row, names)[columns.split])] += n
    return TableValues(labels, splits, columns.split or "")
