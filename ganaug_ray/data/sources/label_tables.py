"""Reads tables of labels: text with a row an image, whatever separates its columns and whatever they are called."""

import csv
import io
import json
import re
from _csv import Reader
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ganaug_ray.config import ColumnsConfig
from ganaug_ray.data.sources.columns import Columns, choose_columns, has_image_and_label, has_usual_columns
from ganaug_ray.data.sources.paths import is_image_name, normalize_path
from ganaug_ray.data.sources.raw import NO_CLASS, Label, open_file
from ganaug_ray.data.sources.table_remarks import describe_labels, describe_splits
from ganaug_ray.errors import UserError

SEPARATORS = ",;\t|"
NO_SEPARATORS = "\"'_-./\\ " + SEPARATORS  # of what is no letter in a first line, not asked whether it separates


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
    """A table of labels: its rows, and what is to be known of it, a sentence each."""

    rows: list[TableRow]
    remarks: list[str]


def read_table(path: str, setting: ColumnsConfig, with_labels: bool = True) -> LabelTable:
    """Read a table of labels; a row that lacks something says so in its label.

    Without ``with_labels`` it needs no column of labels, and one that it has is not read.

    Raises:
        UserError: it is missing, no UTF-8 or UTF-16 text, no CSV, or lacks the columns.
    """
    text = _read_text(path)
    declared, text = _split_declaration(text)
    separator = setting.separator or declared or _guess_separator(text, path, setting)
    lines = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    try:
        return _read_lines(lines, path, setting, with_labels)
    except csv.Error as error:
        raise UserError(f"{path}: line {lines.line_num} is no CSV ({error})") from None


def _read_text(path: str) -> str:
    folder, name = open_file(path)
    content = folder.read_bytes(name)
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise UserError(f"{path}: is no UTF-8 text; expected a CSV file with the columns image and label") from None
    return text if "\n" in text else text.replace("\r", "\n")  # as old Macs, and Excel still, end lines


def _split_declaration(text: str) -> tuple[str | None, str]:
    """Return the separator that Excel declares in a first line of its own, and the text with that line blank."""
    declaration = re.match(r"sep=(.)(?=\r?\n)", text, re.IGNORECASE)
    return (declaration[1], text[declaration.end() :]) if declaration else (None, text)


def _guess_separator(text: str, path: str, setting: ColumnsConfig) -> str:
    """Return the separator that is most often in the first line, of those that give columns that are known, if any.

    In a file without any it is a space.

    Raises:
        UserError: there is another sign between columns that are known.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    fitting = [separator for separator in SEPARATORS if _is_first_row(first.split(separator), setting)]
    signs = [] if fitting else [sign for sign in first if not sign.isalnum() and sign not in NO_SEPARATORS]
    other = next((sign for sign in signs if _is_first_row(first.split(sign), setting)), None)
    if other:
        advice = f"set data.columns: {{separator: {json.dumps(other, ensure_ascii=False)}}}"
        raise UserError(f"{path}: its columns seem to be separated by {other!r}, in {first[:60]!r}; {advice}")
    best = max(fitting or SEPARATORS, key=first.count)
    return best if best in first or " " not in first.strip() else " "


def _is_first_row(cells: Sequence[str], setting: ColumnsConfig) -> bool:
    """Whether a first row names columns of images and labels, or is an image and its label."""
    names = [cell.strip().strip("\"'") for cell in cells]
    return has_image_and_label(names, setting) or (len(names) == 2 and is_image_name(names[0]))


def _read_lines(lines: Reader, path: str, setting: ColumnsConfig, with_labels: bool) -> LabelTable:
    first = next((cells for cells in lines if any(map(str.strip, cells))), [])
    names = [name.strip() for name in first]
    rows = []
    columns = _find_unnamed_columns(names, setting)
    if columns:
        names = list(columns.names)
        rows.append(_read_row(columns, names, first, path, lines.line_num))
    else:
        columns = choose_columns(names, setting, path, with_labels)
        _refuse_equal_names(columns, names, path)
    label_cells: Counter[str] = Counter()
    split_cells: Counter[str] = Counter()
    label_at = names.index(columns.labels[0]) if len(columns.labels) == 1 else len(names)
    split_at = names.index(columns.split) if columns.split else len(names)
    read_at = [names.index(name) for name in columns.names]
    line_before = lines.line_num
    for cells in lines:
        _refuse_open_quote([cells[at] for at in read_at if at < len(cells)], path, line_before + 1, lines.line_num)
        line_before = lines.line_num
        if any(map(str.strip, cells)):
            rows.append(_read_row(columns, names, cells, path, lines.line_num))
            label_cells.update(cell.strip() for cell in cells[label_at : label_at + 1])
            split_cells.update(cell.strip() for cell in cells[split_at : split_at + 1])
    name = path.rpartition("/")[2]
    remarks = [*columns.describe_choice(name), *describe_labels(label_cells, name)]
    if columns.split:
        remarks += describe_splits(split_cells, columns.split, name)
    return LabelTable(rows, remarks)


def _refuse_equal_names(columns: Columns, names: Sequence[str], path: str) -> None:
    for name in columns.names:
        if names.count(name) > 1:
            raise UserError(f"{path}: {names.count(name)} columns are called {name}; rename all but the one to be used")


def _refuse_open_quote(cells: Sequence[str], path: str, first_line: int, last_line: int) -> None:
    """Raise an error if a row has swallowed others, as it does from a stray quotation mark to the next one."""
    if any("\n" in cell.strip() for cell in cells):
        raise UserError(
            f"{path}: a quotation mark that is opened in line {first_line} is closed in line {last_line} only, so that "
            "the rows between are one; mend it, or write it twice"
        )


def _find_unnamed_columns(first: Sequence[str], setting: ColumnsConfig) -> Columns | None:
    """Return the columns of a table whose first row is an image and its label already, not their names."""
    if setting.image or setting.label or has_usual_columns(first) or len(first) != 2 or not is_image_name(first[0]):
        return None
    return Columns("image", ("label",))


def _read_row(columns: Columns, names: Sequence[str], cells: Sequence[str], path: str, line: int) -> TableRow:
    where = f"{path.rpartition('/')[2]} line {line}"
    row = dict.fromkeys(names, "") | dict(zip(names, cells, strict=False))
    image = normalize_path(row[columns.image].strip())
    label = columns.read_label(row, where)
    if any(map(str.strip, cells[len(names) :])):
        label = Label(None, (NO_CLASS, f"{where}: more cells than columns; one with a separator in it needs quotes"))
    if not image:
        label = Label(None, (NO_CLASS, f"{where}: names no image"))
    return TableRow(line, image, label)
