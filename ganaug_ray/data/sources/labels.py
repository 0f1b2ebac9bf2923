"""Finds the label of each file of a source: by its folders, by its name, or in a table."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.data.sources.folder_labels import FolderLabels
from ganaug_ray.data.sources.folder_tree import IMAGE_FOLDERS
from ganaug_ray.data.sources.label_files import describe_pixel_tables, suggest_label_file
from ganaug_ray.data.sources.label_text import make_path_class
from ganaug_ray.data.sources.listing_tables import TABLE_SUFFIXES, ListingTables
from ganaug_ray.data.sources.masks import (
    SIDECAR_FOLDERS,
    describe_mask_sets,
    describe_masks,
    find_mask_sets,
    find_masks,
    find_masks_in_folders,
    label_masks,
)
from ganaug_ray.data.sources.metadata_labels import METADATA_NAMES, MetadataLabels
from ganaug_ray.data.sources.name_classes import describe_name_classes
from ganaug_ray.data.sources.part_folders import are_parts
from ganaug_ray.data.sources.paths import find_files_beside, find_split, is_sidecar, normalize_path
from ganaug_ray.data.sources.raw import NO_CLASS, Label
from ganaug_ray.data.sources.split_folders import SplitFolders
from ganaug_ray.data.sources.table_labels import TableLabels
from ganaug_ray.data.sources.unread_tables import describe_unread_tables
from ganaug_ray.errors import UserError

FindLabel = Callable[[str], Label]


class FileLabels:
    """The labels of the files of a source.

    Args:
        label_from: where they come from; None: no file has one.
        columns: of a table of labels.
        paths: of all files but hidden ones, as the source has them.
        source: the source.
        is_archive: whether it is one, so that no table in it is read.

    Attributes:
        remarks: what is to be known of them, a sentence each.

    Raises:
        UserError: the table of labels cannot be read, or nobody can know which folders are the classes.
    """

    def __init__(
        self,
        label_from: LabelFrom | None,
        columns: ColumnsConfig,
        paths: Sequence[str],
        source: str = "",
        is_archive: bool = False,
    ) -> None:
        self.remarks: list[str] = []
        self._beside = find_files_beside(map(normalize_path, paths))
        images = [path for path in map(normalize_path, paths) if not is_sidecar(path) and path not in self._beside]
        self._find: FindLabel = _find_no_label
        if label_from is None:
            return
        if label_from.regex is not None:
            self._find = self._make_name_labeller(label_from.regex, images)
        elif label_from.csv is not None:
            table = TableLabels(label_from.csv, columns, images, _list_asides(images, find_masks(images)))
            self.remarks += table.remarks
            self._find = table.find_label
        else:
            self._find = self._make_folder_labeller(columns, paths, images, source, is_archive)

    def find_label(self, path: str) -> Label:
        """Return the label of a file."""
        path = normalize_path(path)
        label = self._find(path)
        return replace(label, is_beside=True) if path in self._beside else label

    def _make_folder_labeller(
        self, columns: ColumnsConfig, paths: Sequence[str], images: Sequence[str], source: str, is_archive: bool
    ) -> FindLabel:
        folder = "" if is_archive else source
        metadata_paths = paths if any(path.rpartition("/")[2] in METADATA_NAMES for path in paths) and folder else []
        asides = _list_asides(images, find_masks(images)) if metadata_paths else {}
        metadata = MetadataLabels(folder, columns, metadata_paths, images, asides)
        unlabelled = [path for path in images if metadata.find_label(path) is None]
        splits = SplitFolders(unlabelled)
        written = [splits.rewrite(path) for path in unlabelled]
        folder_labels = FolderLabels(written)
        if levels := folder_labels.find_other_level():
            raise UserError(f"data.source {source}: {levels}")

        def find_by_folder(path: str) -> Label:
            return folder_labels.find_label(splits.rewrite(path))

        listing = ListingTables(
            folder,
            columns,
            paths if folder else [],
            unlabelled,
            find_by_folder,
            lambda: _list_asides(images, find_masks(images)),
        )
        unlabelled = [path for path in unlabelled if listing.find_label(path) is None]
        self.remarks += [*metadata.remarks, *listing.remarks]
        names = {find_by_folder(path).name for path in unlabelled}
        if len(names) == 1 or None in names:  # a folder alone tells no classes apart
            suggestion = listing.suggestion or suggest_label_file(folder, paths, unlabelled) if folder else ""
            folder_labels.set_remedy(suggestion or _explain_class_files(paths))
            if None not in names:
                self.remarks += filter(None, [suggestion.removeprefix("; ")])
        if not folder:
            self.remarks += _suggest_unpacking(paths, unlabelled, find_by_folder)
        self.remarks += splits.remarks
        if unlabelled:
            self.remarks += [*folder_labels.describe_nesting(), *folder_labels.describe_spellings()]
            self.remarks += [*folder_labels.describe_bare_tests(), *folder_labels.describe_joined_names()]
        masks = find_masks(unlabelled)
        self.remarks += describe_masks(masks)
        self.remarks += _describe_copied_classes(unlabelled, find_by_folder)
        self.remarks += _describe_mask_sets([path for path in unlabelled if path not in masks], find_by_folder)
        has_table = any(path.lower().endswith(TABLE_SUFFIXES) for path in paths)
        if not has_table and len(names - {None}) < 2:
            self.remarks += describe_name_classes(unlabelled)
        if folder:
            self.remarks += describe_pixel_tables(folder, paths, images)
            self.remarks += describe_unread_tables(folder, paths, unlabelled, columns, find_by_folder)
        mask_labels = label_masks(masks)

        def find(path: str) -> Label:
            listed = metadata.find_label(path) or listing.find_label(path)
            return listed or mask_labels.get(path) or find_by_folder(path)

        return find

    def _make_name_labeller(self, regex: str, images: Sequence[str]) -> FindLabel:
        find = _make_name_labeller(regex)
        masks = {}
        for mask, image in find_masks(images).items():
            if find(mask).name in (None, find(image).name):  # else the words are what tells classes apart
                masks[mask] = image
        asides = _list_asides(images, masks)
        self.remarks += describe_masks(asides)
        self.remarks += _describe_mask_sets([path for path in images if path not in asides], find)
        return lambda path: asides.get(path) or find(path)


def _describe_copied_classes(images: Sequence[str], find: FindLabel) -> list[str]:
    """Say which classes are called as folders of masks or of copies are, and all their files as images beside them."""
    twins = find_masks_in_folders(images, SIDECAR_FOLDERS | IMAGE_FOLDERS)
    twins = {copy: image for copy, image in twins.items() if find(copy).name not in (None, find(image).name)}
    if not twins:
        return []
    counts = Counter(find(path).name for path in images)
    copy_counts = Counter(find(copy).name for copy in twins)
    sentences = []
    for name in sorted(name for name, n in copy_counts.items() if name and n == counts[name]):
        copy = min(copy for copy in twins if find(copy).name == name)
        sentences.append(
            f"{name} is taken for a class, though all its files are named like images beside it, such as {copy} and "
            f"{twins[copy]}; if they are masks or copies of these, move the folder out"
        )
    return sentences


def _describe_mask_sets(images: Sequence[str], find: FindLabel) -> list[str]:
    """Say which images are named like masks of others of their class, where nothing else is called as these."""
    masks = find_mask_sets(images)
    return describe_mask_sets(
        {mask: image for mask, image in masks.items() if find(mask).name and find(mask).name == find(image).name}
    )


def _list_asides(images: Sequence[str], masks: Mapping[str, str]) -> dict[str, Label]:
    """Find the images that lie beside those that they are masks of; ``masks`` are those by their names alone."""
    folder_labels = FolderLabels(images)
    in_folders = {path: label for path in images if (label := folder_labels.find_sidecar(path)) is not None}
    return in_folders | label_masks(find_masks_in_folders(images) | {**masks})


def _explain_class_files(paths: Sequence[str]) -> str:
    """Say that files which hold the class of the image beside them are not read; empty if there are none."""
    example = next((path for path in paths if path.endswith(".cls")), None)
    if example is None:
        return ""
    return (
        f"; {example} seems to hold its class, as in shards of WebDataset, and is not read: write a table with the "
        "columns image and label, and name it in data.label_from.csv"
    )


def _suggest_unpacking(paths: Sequence[str], images: Sequence[str], find: FindLabel) -> list[str]:
    """Say that a table which would have the labels in a folder is not read in an archive, if there is one."""
    tables = [path for path in paths if path.lower().endswith(TABLE_SUFFIXES)]
    table = next((path for path in tables if path.rpartition("/")[2] in METADATA_NAMES), None)
    if tables and table is None:
        classes = {name for path in images if (name := find(path).name)}
        table = tables[0] if not classes or are_parts(classes) else None
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
        hint = "; it fits the path, but only the file's name is searched" if pattern.search(path) else ""
        return Label(
            None, (NO_CLASS, f"data.label_from.regex {regex!r} finds no label in {name}{hint}"), find_split(path)
        )

    return find
