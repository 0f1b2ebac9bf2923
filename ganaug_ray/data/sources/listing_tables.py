"""Finds tables that list images whose folders name no class: such a table has their labels.

These are images beside a table, in splits (train/labels.csv and train/1.png), or in numbered parts of a set (part_1).
The table may lie in a folder of its own beside those of the images (annotations/labels.csv).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pyarrow import ArrowException
from pyarrow.fs import FileType

from ganaug_ray.config import ColumnsConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources import json_lines
from ganaug_ray.data.sources.columns import has_image_and_label
from ganaug_ray.data.sources.label_tables import read_column_names, read_sample, read_table
from ganaug_ray.data.sources.part_folders import are_beginnings, are_parts
from ganaug_ray.data.sources.path_matching import PathIndex
from ganaug_ray.data.sources.paths import drop_suffix, is_image_name
from ganaug_ray.data.sources.raw import Label
from ganaug_ray.data.sources.remedies import write_setting
from ganaug_ray.data.sources.table_labels import TableLabels
from ganaug_ray.errors import UserError

TABLE_SUFFIXES = (".csv", ".tsv", *json_lines.SUFFIXES)
NO_LABELS = "submission"  # in the name of a table: the form for a competition's answers, with the same one for all
MIN_LISTED_SHARE = 0.5  # of the images below its folder, that a table must list
MAX_TABLES = 64  # that are looked into
MAX_TABLE_BYTES = 2**26
MAX_CLASS_SHARE = 0.2  # classes for each row of a table, at the most, where its column of labels is guessed
MAX_COLUMNS = 16  # among which that of images is looked for, and which are named in a sentence


class ListingTables:
    """The labels in such tables of a source: each is of the images in its own folder and below, or beside that.

    Args:
        source: the folder.
        columns: of the tables.
        paths: of all files in it.
        images: of these the images, normalised.
        find_label: gives the label of an image by its folder.
        list_asides: see the argument asides of TableLabels; called where there is such a table.

    Attributes:
        remarks: what is to be known of them, a sentence each.
        suggestion: how a table is used that lists images and is not used: the end of a sentence, or empty.

    Raises:
        UserError: nobody can know which of several tables, or of the columns of one, has the labels, and the folders
            are numbered parts, which would be taken for classes.
    """

    def __init__(
        self,
        source: str,
        columns: ColumnsConfig,
        paths: Sequence[str],
        images: Sequence[str],
        find_label: Callable[[str], Label],
        list_asides: Callable[[], Mapping[str, Label]],
    ) -> None:
        self.remarks: list[str] = []
        self.suggestion = ""
        self._source = source
        self._columns = columns
        self._find_by_folder = find_label
        self._tables: dict[str, TableLabels] = {}  # by the folder, with a slash at its end
        names = _list_tables(paths, images)
        classes = {name for image in images if (name := find_label(image).name)} if names else set()
        self._part, self._likeness = "", ""  # one of several folders that are no classes, and what tells so
        if len(classes) > 1:
            self._part, self._likeness = _find_part(classes, images)
            if not self._part:
                return
        self._only_folder = min(classes) if len(classes) == 1 else ""  # one alone tells no classes apart
        used = []
        for below, group in names.items():
            own_images = [image for image in images if image.startswith(below) and self.find_label(image) is None]
            name = self._choose_table(group, [image.removeprefix(below) for image in own_images])
            if name is not None:
                remedy = f"; to have the folders' names as labels, move {name} out of the folder" if classes else ""
                self._tables[below] = TableLabels(
                    self._get_address(name), columns, own_images, list_asides(), below, remedy
                )
                self.remarks += self._tables[below].remarks
                used.append(name)
        if used:
            self.remarks.append(self._describe_use(sorted(used)))

    def find_label(self, path: str) -> Label | None:
        """Return the label of an image by the nearest table above it; None where there is none."""
        label = find_nearest_label(self._tables, path)
        return replace(label, split=label.split or self._find_by_folder(path).split) if label else None

    def _get_address(self, name: str) -> str:
        return str(Folder.from_uri(self._source.rstrip("/")) / name)

    def _choose_table(self, names: Sequence[str], images: Sequence[str]) -> str | None:
        """Return the one table of a folder that lists its images and has labels; None if there is no such."""
        image_columns = {name: column for name in names if (column := self._find_image_column(name, images))}
        labelled = list(filter(self._has_labels, image_columns))
        if len(labelled) == 1:
            return labelled[0]
        if len(image_columns) > 1:
            first, second, *_ = labelled or image_columns
            if self._part:
                raise UserError(
                    f"data.source {self._source}: {first} and {second} list images in folders such as {self._part}, "
                    f"which are {self._likeness}; name the table that has the labels in data.label_from: "
                    "{csv: ...}, or move both out of the folder if the folders are the classes"
                )
            setting = write_setting("data.label_from", csv=self._get_address(first))
            self.suggestion = f"; {first} and {second} list images; if {first} has the labels, set {setting}"
        for name, column in image_columns.items():
            self._describe_one_table(name, column)
        return None

    def _describe_one_table(self, name: str, image_column: str) -> None:
        """Say how the column of labels is named of a table that has one of images."""
        columns = read_column_names(self._get_address(name), self._columns)
        others = [other for other in columns if other.strip() and other != image_column]
        if not others or self.suggestion:
            return
        advice = _describe_columns(image_column, others, read_sample(self._get_address(name), self._columns))
        if self._part:
            raise UserError(
                f"data.source {self._source}: {name} lists the images in folders such as {self._part}, which are "
                f"{self._likeness}, and {advice}, or move the table out of the folder if the folders are the classes"
            )
        self.suggestion = f"; {name} lists images, and {advice}"

    def _has_labels(self, name: str) -> bool:
        """Whether a table has labels: in a column of a usual name, or a column for each class, with a 1 in each row."""
        names = read_column_names(self._get_address(name), self._columns)
        if has_image_and_label(names, self._columns) or _has_no_names(names):
            return True
        with suppress(UserError):
            table = read_table(self._get_address(name), self._columns)
            return bool(table.class_columns) and all(row.label.name for row in table.rows)
        return False

    def _find_image_column(self, name: str, images: Sequence[str]) -> str | None:
        """Return the column of a table in which most of the images stand; None if there is none, or it is no table."""
        if not images:
            return None
        with suppress(UserError, OSError, ArrowException):  # any program may have written it
            if not is_small_file(Folder.from_uri(self._source.rstrip("/")), name):
                return None
            address = self._get_address(name)
            index = PathIndex(images)
            names = read_column_names(address, self._columns)
            candidates = [self._columns.image] if self._columns.image else [None, *names[:MAX_COLUMNS]]
            for column in candidates:
                with suppress(UserError):  # no column has a usual name
                    settings = self._columns.model_copy(update={"image": column})
                    table = read_table(address, settings, with_labels=False, list_files=lambda: images)
                    files = {file for row in table.rows for file in index.find_files(row.image)}
                    if len(files) >= MIN_LISTED_SHARE * len(images):
                        return table.image_column
        return None

    def _describe_use(self, names: Sequence[str]) -> str:
        tables = names[0] if len(names) == 1 else f"{format_count(len(names), 'table')}, such as {names[0]}"
        if not self._part:
            cause = f"all images lie in {self._only_folder}" if self._only_folder else "no folder names a class"
            return f"labels are those of {tables}, since {cause}"
        them = "it" if len(names) == 1 else "such tables"
        return (
            f"labels are those of {tables}, since folders such as {self._part} are {self._likeness}; to have the "
            f"folders' names as labels, move {them} out of the folder"
        )


def _find_part(classes: Collection[str], images: Sequence[str]) -> tuple[str, str]:
    """Return one of the folders that only divide a set, and how they are named; two empty texts where they may not."""
    if are_parts(classes):
        return min(classes), "named like numbered parts of one set"
    if are_beginnings(images):
        return min(images).rpartition("/")[0], "named as the images in them begin"
    return "", ""


def _describe_columns(image_column: str, others: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str:
    named = ", ".join(f"{column:.60}" for column in [image_column, *others][:MAX_COLUMNS])
    setting = write_setting("data.columns", image=image_column, label=_guess_label_column(others, sample))
    return f"has the columns {named}; name the column of the labels, for instance with {setting}"


def _guess_label_column(columns: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str:
    """Return the column that looks most like one of classes: few different words, else few numbers, else the first."""
    values = {column: {str(row.get(column) or "").strip() for row in sample} - {""} for column in columns}
    few = [column for column in columns if 2 <= len(values[column]) <= max(2, MAX_CLASS_SHARE * len(sample))]
    words = [column for column in few if not any(re.search(r"\d", value) for value in values[column])]
    return next(iter([*words, *few, *columns]))


def is_small_file(folder: Folder, name: str) -> bool:
    """Whether what may be a table is a file, and not too large to be looked into."""
    info = folder.fs.get_file_info(f"{folder.path}/{name}")
    return info.type == FileType.File and info.size <= MAX_TABLE_BYTES


def find_nearest_label(tables: Mapping[str, TableLabels], path: str) -> Label | None:
    """Return the label of an image by the nearest table above it; None where there is no table above it.

    Args:
        tables: by their folders, with a slash at the end.
        path: of the image.
    """
    folder = path.rpartition("/")[0]
    while tables:
        below = f"{folder}/" if folder else ""
        if below in tables:
            return tables[below].find_label(path)
        if not folder:
            break
        folder = folder.rpartition("/")[0]
    return None


def _list_tables(paths: Sequence[str], images: Sequence[str]) -> dict[str, list[str]]:
    """List the tables: the folder of the images that each is about -> its tables, the innermost folders first.

    It is that of the table, or the nearest above it that has images, with a slash at its end. Texts beside single
    images are none.
    """
    tables = [path for path in paths if path.lower().endswith(TABLE_SUFFIXES) and NO_LABELS not in path.lower()]
    if not tables:
        return {}
    stems = {drop_suffix(image) for image in images}
    places = {"", *(place for image in images for place in _list_places(image))}
    tables_by_place: dict[str, list[str]] = defaultdict(list)
    for table in sorted(path for path in tables if drop_suffix(path) not in stems)[:MAX_TABLES]:
        place = next((place for place in _list_places(table) if place in places), "")
        tables_by_place[place].append(table)
    return dict(sorted(tables_by_place.items(), key=lambda item: (-item[0].count("/"), item[0])))


def _list_places(path: str) -> Iterator[str]:
    """Yield the folders that a file lies in, the innermost first, each with a slash at its end."""
    end = path.rfind("/")
    while end >= 0:
        yield path[: end + 1]
        end = path.rfind("/", 0, end)


def _has_no_names(first_row: Sequence[str]) -> bool:
    """Whether the first row of a table is an image and its label already."""
    return len(first_row) == 2 and is_image_name(first_row[0])
