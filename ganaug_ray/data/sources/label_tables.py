"""Reads tables of labels: text with a row an image, whatever separates its columns and whatever they are called.

JSON Lines are read as such a table whose rows name their columns.
"""

import csv
import functools
import itertools
from _csv import Reader
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from ganaug_ray.config import ColumnsConfig
from ganaug_ray.data.sources import json_lines
from ganaug_ray.data.sources.columns import (
    Columns,
    choose_columns,
    has_usual_columns,
    refuse_equal_names,
)
from ganaug_ray.data.sources.paths import is_image_name, read_path_cell
from ganaug_ray.data.sources.raw import NO_CLASS, Label
from ganaug_ray.data.sources.table_remarks import describe_labels, describe_splits
from ganaug_ray.data.sources.table_text import is_json_lines, open_lines, read_text
from ganaug_ray.errors import UserError

Row = dict[str, Any]
SURPLUS = "\0"  # key of a row that has more cells than columns
SAMPLE_ROWS = 1000  # by which columns are told apart


@dataclass(frozen=True)
class TableRow:
    """A row of a table of labels.

    Attributes:
        line: of the file, from 1.
        image: the path as it stands there, normalised; empty where there is none.
        label: its label.
    """

    line: int
    image: str
    label: Label


@dataclass(frozen=True)
class LabelTable:
    """A table of labels.

    Attributes:
        rows: of it.
        remarks: what is to be known of it, a sentence each.
        image_column: the name of its column of images.
        class_columns: names of its columns of labels, if each stands for a class; else none.
        other_columns: names of those that are neither of images nor of labels nor of splits.
    """

    rows: list[TableRow]
    remarks: list[str]
    image_column: str
    class_columns: Sequence[str] = ()
    other_columns: Sequence[str] = ()


def read_table(
    path: str,
    setting: ColumnsConfig,
    with_labels: bool = True,
    list_files: Callable[[], Iterable[str]] = tuple,
) -> LabelTable:
    """Read a table of labels, CSV or JSON Lines; a row that lacks something says so in its label.

    Without ``with_labels`` it needs no column of labels, and one that it has is not read. ``list_files`` gives the
    paths of images that it may mean, asked for where several columns may be that of images.

    Raises:
        UserError: it is missing, no UTF-8 or UTF-16 text, no CSV or JSON Lines, or lacks the columns.
    """
    text = read_text(path)
    if is_json_lines(text, path):
        return _read_json_lines(text, path, setting, with_labels, list_files)
    lines = open_lines(text, path, setting)
    try:
        sample = _sample_rows(open_lines(text, path, setting))
        choose = functools.partial(
            choose_columns, setting=setting, table=path, with_labels=with_labels, sample=sample, list_files=list_files
        )
        return _read_lines(lines, path, setting, choose)
    except csv.Error as error:
        raise UserError(f"{path}: line {lines.line_num} is not CSV ({error})") from None


def read_column_names(path: str, setting: ColumnsConfig) -> list[str]:
    """Return the names of a table's columns. Raises UserError as ``read_table``."""
    text = read_text(path)
    if is_json_lines(text, path):
        return list(next(json_lines.read_objects(text, path), (0, {}))[1])
    return _read_first_row(open_lines(text, path, setting))


def read_sample(path: str, setting: ColumnsConfig) -> list[Row]:
    """Return the first rows of a table, name of a column -> cell. Raises UserError as ``read_table``."""
    text = read_text(path)
    if is_json_lines(text, path):
        return [row for _, row in itertools.islice(json_lines.read_objects(text, path), SAMPLE_ROWS)]
    return _sample_rows(open_lines(text, path, setting))


def _sample_rows(lines: Reader) -> list[Row]:
    names = [name.strip() for name in _read_first_row(lines)]
    rows: list[Row] = []
    with suppress(csv.Error):  # whoever reads all rows says so
        rows.extend(_make_row(names, cells) for cells in itertools.islice(lines, SAMPLE_ROWS))
    return rows


def _read_json_lines(
    text: str, path: str, setting: ColumnsConfig, with_labels: bool, list_files: Callable[[], Iterable[str]]
) -> LabelTable:
    rows = list(json_lines.read_objects(text, path))
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    sample = [row for _, row in rows[:SAMPLE_ROWS]]
    columns = choose_columns(names, setting, path, with_labels, sample, list_files)
    return _make_table(columns, ((line, dict.fromkeys(names) | row) for line, row in rows), path)


def _read_lines(lines: Reader, path: str, setting: ColumnsConfig, choose: Callable[..., Columns]) -> LabelTable:
    first = _read_first_row(lines)
    names = [name.strip() for name in first]
    unnamed = _find_unnamed_columns(names, setting)
    if unnamed:
        names = list(unnamed.names)
        first_rows = [(lines.line_num, _make_row(names, first))]
        return _make_table(unnamed, itertools.chain(first_rows, _list_rows(lines, names, unnamed, path)), path)
    columns = choose(names)
    refuse_equal_names(columns, names, path)
    return _make_table(columns, _list_rows(lines, names, columns, path), path)


def _list_rows(lines: Reader, names: Sequence[str], columns: Columns, path: str) -> Iterator[tuple[int, Row]]:
    read_at = [names.index(name) for name in columns.names]
    line_before = lines.line_num
    for cells in lines:
        is_open = any("\n" in cells[at].strip() for at in read_at if at < len(cells))
        if is_open or _holds_rows(cells, lines.dialect.delimiter, len(names)):
            _refuse_open_quote(path, line_before + 1, lines.line_num)
        line_before = lines.line_num
        if any(map(str.strip, cells)):
            yield lines.line_num, _make_row(names, cells)


def _read_first_row(lines: Reader) -> list[str]:
    return next((cells for cells in lines if any(map(str.strip, cells))), [])


def _make_row(names: Sequence[str], cells: Sequence[str]) -> Row:
    surplus = any(map(str.strip, cells[len(names) :]))
    return dict.fromkeys(names, "") | dict(zip(names, cells, strict=False)) | ({SURPLUS: True} if surplus else {})


def _make_table(columns: Columns, rows: Iterable[tuple[int, Row]], path: str) -> LabelTable:
    table_rows = []
    label_cells: Counter[Any] = Counter()
    split_cells: Counter[str] = Counter()
    other_columns: list[str] | None = None
    for line, row in rows:
        if other_columns is None:
            other_columns = [name for name in row if name and name not in (*columns.names, SURPLUS)]
        table_rows.append(_read_row(columns, row, path, line))
        if len(columns.labels) == 1:
            cell = row[columns.labels[0]]
            label_cells[cell.strip() if isinstance(cell, str) else cell] += 1
        if columns.split:
            split_cells[columns.read_split(row[columns.split])] += 1
    name = path.rpartition("/")[2]
    remarks = [*columns.describe_choice(name), *describe_labels(label_cells, name)]
    if columns.split:
        remarks += describe_splits(split_cells, columns.split, name)
    class_columns = columns.labels if len(columns.labels) > 1 else ()
    return LabelTable(table_rows, remarks, columns.image, class_columns, other_columns or ())


def _holds_rows(cells: Sequence[str], separator: str, columns: int) -> bool:
    """Whether a cell of any column holds what looks like rows; a caption of several lines in one not read is fine."""
    lines = [line.split(separator) for cell in cells for line in cell.split("\n")[1:]]
    if any(map(is_image_name, cells)):  # so do other rows, and captions have commas too
        return any(map(is_image_name, itertools.chain.from_iterable(line for line in lines if len(line) > 1)))
    return any(len(line) >= columns > 1 for line in lines)


def _refuse_open_quote(path: str, first_line: int, last_line: int) -> NoReturn:
    """Raise an error: a row has swallowed others, as it does from a stray quotation mark to the next one."""
    raise UserError(
        f"{path}: a quotation mark opens in line {first_line} and closes in line {last_line}, so the rows between are "
        "read as one; remove the mark, or write it twice"
    )


def _find_unnamed_columns(first: Sequence[str], setting: ColumnsConfig) -> Columns | None:
    """Return the columns of a table whose first row is an image and its label already, not their names."""
    if setting.image or setting.label or has_usual_columns(first) or len(first) != 2 or not is_image_name(first[0]):
        return None
    return Columns("image", ("label",))


def _read_row(columns: Columns, row: Row, path: str, line: int) -> TableRow:
    where = f"{path.rpartition('/')[2]} line {line}"
    cell = row[columns.image]
    image = read_path_cell(cell.get("path") if isinstance(cell, dict) else cell)  # a dict as in Hugging Face's tables
    label = columns.read_label(row, where)
    if SURPLUS in row:
        words = f"{where}: has more cells than columns; put quotes around a cell that holds the separator"
        label = Label(None, (NO_CLASS, words))
    if not image:
        label = Label(None, (NO_CLASS, f"{where}: names no image"))
    return TableRow(line, image, label)
