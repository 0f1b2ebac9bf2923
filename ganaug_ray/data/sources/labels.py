"""Finds the label of each file of a source: by its folders, by its name, or in a table."""

import math
import re
from collections.abc import Callable, Mapping, Sequence

import yaml

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.sources import json_lines
from ganaug_ray.data.sources.folder_labels import FolderLabels
from ganaug_ray.data.sources.label_text import make_path_class
from ganaug_ray.data.sources.masks import describe_masks, find_masks, set_aside
from ganaug_ray.data.sources.metadata_labels import METADATA_NAMES, MetadataLabels
from ganaug_ray.data.sources.paths import find_split, is_sidecar, normalize_path
from ganaug_ray.data.sources.raw import NO_CLASS, Label
from ganaug_ray.data.sources.table_labels import TableLabels

FindLabel = Callable[[str], Label]
TABLE_SUFFIXES = (".csv", ".tsv", *json_lines.SUFFIXES)


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
            self._find = self._make_name_labeller(label_from.regex, images)
        elif label_from.csv is not None:
            table = TableLabels(label_from.csv, columns, images)
            self.remarks += table.remarks
            self._find = table.find_label
        else:
            self._find = self._make_folder_labeller(columns, paths, images, folder)

    def find_label(self, path: str) -> Label:
        """Return the label of a file."""
        return self._find(normalize_path(path))

    def _make_folder_labeller(
        self, columns: ColumnsConfig, paths: Sequence[str], images: Sequence[str], folder: str
    ) -> FindLabel:
        metadata = MetadataLabels(folder, columns, paths if folder else [], images)
        rest = [path for path in images if metadata.find_label(path) is None]
        folder_labels = FolderLabels(rest, _suggest_table(folder, paths) if folder else "")
        self.remarks += metadata.remarks if folder else _suggest_unpacking(paths)
        self.remarks += folder_labels.describe_nesting()
        find = self._set_masks_aside(find_masks(rest), folder_labels.find_label)
        return lambda path: metadata.find_label(path) or find(path)

    def _make_name_labeller(self, regex: str, images: Sequence[str]) -> FindLabel:
        find = _make_name_labeller(regex)
        masks = {}
        for mask, image in find_masks(images).items():
            if find(mask).name in (None, find(image).name):  # else the words are what tells classes apart
                masks[mask] = image
        return self._set_masks_aside(masks, find)

    def _set_masks_aside(self, masks: Mapping[str, str], find_label: FindLabel) -> FindLabel:
        self.remarks += describe_masks(masks)
        return set_aside(masks, find_label)


def _suggest_table(folder: str, paths: Sequence[str]) -> str:
    """Say how a table that lies in a folder of images is used as that of their labels; empty if there is no such."""
    tables = [path for path in paths if "/" not in path and path.lower().endswith(TABLE_SUFFIXES)]
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


def _suggest_unpacking(paths: Sequence[str]) -> list[str]:
    """Say that a table which would have the labels in a folder is not read in an archive, if there is one."""
    table = next((path for path in paths if path.rpartition("/")[2] in METADATA_NAMES), None)
    if table is None:
        return []
    return [f"{table} is not read in an archive; if it has the labels, unpack the archive and give the folder"]


def _find_no_label(path: str) -> Label:
    return Label(None)


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
