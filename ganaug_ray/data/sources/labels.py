"""Finds the label of each file of a source: by its folders, by its name, or in a table."""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence

import yaml

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.folder_labels import FolderLabels
from ganaug_ray.data.sources.label_tables import TableRow, read_table
from ganaug_ray.data.sources.label_text import make_label, make_path_class
from ganaug_ray.data.sources.path_matching import PathIndex
from ganaug_ray.data.sources.paths import find_split, is_sidecar, normalize_path
from ganaug_ray.data.sources.raw import LABEL_CONFLICT, NO_CLASS, Label

FindLabel = Callable[[str], Label]


class FileLabels:
    """The labels of the files of a source.

    Args:
        label_from: where they come from; None: no file has one.
        columns: of a table of labels.
        paths: of all files but hidden ones, as the source has them.
        folder: the source, where a table in it could be read; else empty.

    Attributes:
        remarks: what is to be known of them, a sentence each.

    Raises:
        UserError: the table of labels cannot be read.
    """

    def __init__(
        self, label_from: LabelFrom | None, columns: ColumnsConfig, paths: Sequence[str], folder: str = ""
    ) -> None:
        self.remarks: list[str] = []
        images = [path for path in map(normalize_path, paths) if not is_sidecar(path)]
        self._find: FindLabel = _find_no_label
        if label_from is None:
            return
        if label_from.regex is not None:
            self._find = _make_name_labeller(label_from.regex)
        elif label_from.csv is not None:
            self._find = self._make_table_labeller(label_from.csv, columns, images)
        else:
            folder_labels = FolderLabels(images, _suggest_table(folder, paths) if folder else "")
            self.remarks += folder_labels.describe_repeated_classes()
            self.remarks += folder_labels.describe_masks()
            self._find = folder_labels.find_label

    def find_label(self, path: str) -> Label:
        """Return the label of a file."""
        return self._find(normalize_path(path))

    def _make_table_labeller(self, table: str, columns: ColumnsConfig, images: Sequence[str]) -> FindLabel:
        name = table.rpartition("/")[2]
        content = read_table(table, columns)
        self.remarks += content.remarks
        rows = [row for row in content.rows if row.image]
        index = PathIndex(images)
        sure_rows: dict[str, list[TableRow]] = defaultdict(list)
        unsure_rows: dict[str, str] = {}
        unmatched: list[TableRow] = []
        for row in rows:
            files = index.find_files(row.image)
            if len(files) == 1:
                sure_rows[files[0]].append(row)
            elif not files:
                unmatched.append(row)
            for file in files if len(files) > 1 else ():
                unsure_rows[file] = f"{name} line {row.line} names {row.image}, which fits {' and '.join(files[:3])}"
        self.remarks += index.describe_decoded(name)
        if unmatched:
            verb = "fits" if len(unmatched) == 1 else "fit"
            self.remarks.append(
                f"{len(unmatched)} of {format_count(len(rows), 'row')} of {name} {verb} no image, such as "
                f"{unmatched[0].image} in line {unmatched[0].line}"
            )
        example = f", such as {rows[0].image}" if rows else ""
        names = format_count(len(rows), "row names", "rows name")
        nowhere = (NO_CLASS, f"{name} has no row that fits it; its {names} images{example}")
        labels: dict[tuple[str | None, ...], Label] = {}  # the same object for all images of a class

        def find(path: str) -> Label:
            split = find_split(path)
            if path in sure_rows:
                label = _merge_rows(sure_rows[path], name)
            elif path in unsure_rows:
                label = Label(None, (LABEL_CONFLICT, unsure_rows[path]))
            else:
                label = Label(None, nowhere)
            label = Label(label.name, label.objection, label.split or split)
            return label if label.objection else labels.setdefault((label.name, label.split), label)

        return find


def _suggest_table(folder: str, paths: Sequence[str]) -> str:
    """Say how a table that lies in a folder of images is used as that of their labels; empty if there is no such."""
    tables = [path for path in paths if "/" not in path and path.lower().endswith((".csv", ".tsv"))]
    table = "metadata.csv" if "metadata.csv" in tables else "".join(tables[:1])
    if not table or (len(tables) > 1 and table != "metadata.csv"):
        return ""
    setting = yaml.safe_dump(
        {"csv": str(Folder.from_uri(folder.rstrip("/")) / table)},
        default_flow_style=True,
        allow_unicode=True,
        width=math.inf,
    )
    return f"; if {table} lists the classes, set data.label_from: {setting.strip()}"


def _find_no_label(path: str) -> Label:
    return Label(None)


def _merge_rows(rows: Sequence[TableRow], table: str) -> Label:
    if len(rows) == 1:
        return rows[0].label
    unsure = [row.label for row in rows if row.label.objection and row.label.objection[0] == LABEL_CONFLICT]
    if unsure:
        return unsure[0]
    lines = " and ".join(str(row.line) for row in rows[:3])
    splits = {row.label.split for row in rows}
    label = make_label([row.label.name for row in rows if row.label.name is not None], f"{table} lines {lines}")
    return Label(label.name, label.objection, splits.pop() if len(splits) == 1 else None)


def _make_name_labeller(regex: str) -> FindLabel:
    pattern = re.compile(regex)

    def find(path: str) -> Label:
        name = path.rpartition("/")[2]
        match = pattern.search(name)
        if match and (label := make_path_class(match["label"])):
            return Label(label, None, find_split(path))
        hint = "; it fits its path, but only names are searched" if pattern.search(path) else ""
        return Label(
            None, (NO_CLASS, f"data.label_from.regex {regex!r} finds no label in {name}{hint}"), find_split(path)
        )

    return find
