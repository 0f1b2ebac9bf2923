"""Finds the label of each file of a source in a table, whose paths may be written in another way than the files'."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ganaug_ray.config import ColumnsConfig
from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.label_tables import LabelTable, TableRow, read_table
from ganaug_ray.data.sources.label_text import make_label
from ganaug_ray.data.sources.masks import describe_masks
from ganaug_ray.data.sources.path_matching import PathIndex
from ganaug_ray.data.sources.paths import find_split, is_address, is_image_name
from ganaug_ray.data.sources.raw import LABEL_CONFLICT, NO_CLASS, Label
from ganaug_ray.data.sources.table_remarks import (
    describe_addresses,
    describe_found_addresses,
    describe_listed_masks,
    describe_moved_images,
    describe_nameless_rows,
    describe_other_suffixes,
    describe_several_splits,
)

SPLIT_ORDER = ("train", "val", "test")


class TableLabels:
    """The labels of images by a table.

    Args:
        table: its address.
        columns: of it.
        images: their paths, normalised.
        asides: images beside others that are no examples, such as masks -> the label that says so. A row means one only
            where it fits nothing else.
        below: the folder that the table's paths begin in, with a slash at its end: images elsewhere have no label.
        remedy: what to do where images have no row; empty, or the end of a sentence.

    Attributes:
        remarks: what is to be known of them, a sentence each.

    Raises:
        UserError: the table cannot be read.
    """

    def __init__(
        self,
        table: str,
        columns: ColumnsConfig,
        images: Sequence[str],
        asides: Mapping[str, Label] | None = None,
        below: str = "",
        remedy: str = "",
    ) -> None:
        self._name = below + table.rpartition("/")[2]
        self._below = below
        self._asides = asides or {}
        own_images = [path for path in images if path.startswith(below)]
        content = read_table(table, columns, list_files=lambda: own_images)
        rows = [row for row in content.rows if row.image]
        index = PathIndex(path.removeprefix(below) for path in own_images if path not in self._asides)
        aside_index = PathIndex(path.removeprefix(below) for path in own_images if path in self._asides)
        self._sure_rows: dict[str, list[TableRow]] = defaultdict(list)
        self._unsure_rows: dict[str, str] = {}
        unmatched: list[TableRow] = []
        ambiguous: set[str] = set()  # paths, each of which may fit every file
        for row in rows:
            if row.image in ambiguous:
                continue
            files: Sequence[str] = [row.image]
            if below + row.image not in self._asides:
                files = index.find_files(row.image) or aside_index.find_files(row.image)
                files = _prefer_split(files, below, row.label.split)
            if len(files) == 1:
                self._sure_rows[files[0]].append(row)
            elif not files:
                unmatched.append(row)
            if len(files) > 1:
                ambiguous.add(row.image)
            for file in files if len(files) > 1 else ():
                named = f"{self._name} line {row.line} names {row.image}"
                self._unsure_rows[file] = f"{named}, which fits {' and '.join(files[:3])}"
        nameless = [row for row in content.rows if not row.image]
        self.remarks = [
            *content.remarks,
            *describe_nameless_rows([row.line for row in nameless], len(content.rows), self._name),
            *index.describe_decoded(self._name),
            *index.describe_numbers(self._name),
        ]
        addresses = [(row.image, f"line {row.line}") for row in unmatched if is_address(row.image)]
        self.remarks += describe_addresses(addresses, len(rows), self._name)
        self.remarks += describe_found_addresses(self._find_address_files(), self._name)
        unmatched = [row for row in unmatched if not is_address(row.image)]
        if unmatched:
            verb = "fits" if len(unmatched) == 1 else "fit"
            self.remarks.append(
                f"{len(unmatched)} of {format_count(len(rows), 'row')} of {self._name} {verb} no image, such as "
                f"{unmatched[0].image} in line {unmatched[0].line}{_advise_column(unmatched, content)}"
            )
        self.remarks += describe_other_suffixes(index.find_other_suffixes(row.image for row in unmatched), self._name)
        splits_by_file = {
            below + file: (find_split(below + file), _choose_split(rows)) for file, rows in self._sure_rows.items()
        }
        self.remarks += describe_moved_images(splits_by_file, self._name)
        own_asides = [path for path in self._asides if path.startswith(below)]
        listed = {path for path in own_asides if path.removeprefix(below) in self._sure_rows}
        self.remarks += describe_masks([path for path in own_asides if path not in listed])
        self.remarks += describe_listed_masks(listed, self._name)
        several = [file for file, rows in self._sure_rows.items() if len(_list_splits(rows)) > 1]
        self.remarks += describe_several_splits(several, self._name)
        example = f", such as {rows[0].image}" if rows else ""
        names = format_count(len(rows), "row names", "rows name")
        cause = ", and addresses are not downloaded: name the files" if addresses else ""
        if len(unmatched) == len(rows):
            cause += _advise_column(unmatched, content)
        self._nowhere = (NO_CLASS, f"{self._name} has no row that fits it; its {names} images{example}{cause}{remedy}")
        self._labels: dict[tuple[str | None, ...], Label] = {}  # the same object for all images of a class

    def _find_address_files(self) -> dict[str, str]:
        """Find the addresses in the table that are taken for files."""
        files: dict[str, str] = {}
        for file, rows in self._sure_rows.items():
            files |= {row.image: file for row in rows if is_address(row.image)}
        return files

    def find_label(self, path: str) -> Label:
        """Return the label of an image."""
        split = find_split(path)
        aside = self._asides.get(path)
        path = path.removeprefix(self._below)
        if path in self._sure_rows:
            label = merge_rows(self._sure_rows[path], self._name)
        elif path in self._unsure_rows:
            label = Label(None, (LABEL_CONFLICT, self._unsure_rows[path]))
        elif aside is not None:
            return aside
        else:
            label = Label(None, self._nowhere)
        label = Label(label.name, label.objection, label.split or split)
        return label if label.objection else self._labels.setdefault((label.name, label.split), label)


def _prefer_split(files: Sequence[str], below: str, split: str | None) -> Sequence[str]:
    """Return those of several files that a row may mean which lie in its split; all of them where none does.

    >>> _prefer_split(["train/1.png", "test/1.png"], "", "test"), _prefer_split(["a/1.png", "b/1.png"], "", "test")
    (['test/1.png'], ['a/1.png', 'b/1.png'])
    """
    if len(files) < 2 or split is None:
        return files
    return [file for file in files if find_split(below + file) == split] or files


def _advise_column(unmatched: Sequence[TableRow], table: LabelTable) -> str:
    """Say that another column may be that of images, where there is one and this has no names of image files."""
    if not unmatched or any(is_image_name(row.image) for row in unmatched):
        return ""
    if not table.other_columns:
        return f"; they stand in column {table.image_column}: write the files' names there"
    return f"; they stand in column {table.image_column}, and data.columns: {{image: ...}} names another"


def merge_rows(rows: Sequence[TableRow], table: str) -> Label:
    """Return the label of an image by all rows of a table that name it."""
    if len(rows) == 1:
        return rows[0].label
    unsure = [row.label for row in rows if row.label.objection and row.label.objection[0] == LABEL_CONFLICT]
    if unsure:
        return unsure[0]
    lines = " and ".join(str(row.line) for row in rows[:3])
    label = make_label([row.label.name for row in rows if row.label.name is not None], f"{table} lines {lines}")
    return Label(label.name, label.objection, _choose_split(rows))


def _list_splits(rows: Sequence[TableRow]) -> set[str]:
    return {row.label.split for row in rows if row.label.split}


def _choose_split(rows: Sequence[TableRow]) -> str | None:
    """Return the split of an image by its rows: the last of several, for trained on it would leak from the test."""
    splits = _list_splits(rows)
    return max(splits, key=SPLIT_ORDER.index) if splits else None
