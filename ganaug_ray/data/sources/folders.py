"""Reads folders of image files, at any depth, and folders of tables."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources import parquet, saved_dataset
from ganaug_ray.data.sources.empty_folders import describe_empty_folders
from ganaug_ray.data.sources.labels import FileLabels
from ganaug_ray.data.sources.paths import is_sidecar
from ganaug_ray.data.sources.raw import (
    HIDDEN,
    LEFTOVER,
    MAX_IMAGE_BYTES,
    PASSED_OVER,
    SIDECAR,
    Label,
    RawImage,
    SourcePart,
    collect_classes,
    collect_splits,
    count_images,
    cut_parts,
    make_image,
    make_remarks,
)
from ganaug_ray.data.sources.walk import WalkedFile, describe_links, walk_folder
from ganaug_ray.errors import UserError


def list_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the parts of a folder: all files below it sorted by path, the hidden ones first."""
    walked = walk_folder(source, Folder.from_uri(source))
    hidden = [(file, Label(None)) for file in walked if _is_hidden(file)]
    if hidden:
        yield SourcePart(functools.partial(_read_files, source, hidden), frozenset(), 0)
    files = [file for file in walked if not _is_hidden(file)]
    if not files:
        raise UserError(f"data.source {source}: is empty; expected a folder of images for each class")
    shards = [file.name for file in files if _is_table(file)]
    saved = saved_dataset.list_saved_files(source, Folder.from_uri(source), [file.name for file in files])
    if saved and not shards:
        shards = saved
        files = [file for file in files if file.name in saved or not saved_dataset.is_arrow(file.name)]
    siblings = [file.name for file in files if file.name not in shards and not is_sidecar(file.name)]
    if siblings and all(map(saved_dataset.is_arrow, siblings)):
        raise UserError(
            f"data.source {source}: holds Arrow files, such as {siblings[0]}, but no {saved_dataset.STATE_FILE}, which "
            "save_to_disk of Hugging Face's datasets writes beside them; save the data set again with save_to_disk"
        )
    if shards and siblings and label_from is None:  # such as the predictions for these images
        files = [replace(file, problem=UnreadableError(SIDECAR)) if _is_table(file) else file for file in files]
    elif shards and siblings:
        raise UserError(
            f"data.source {source}: has a Parquet table, {shards[0]}, beside other files, such as {siblings[0]}, but "
            f"a folder is read as one or the other; to read the table and the images that it names, give "
            f"{source.rstrip('/')}/{shards[0]}; to read the other files, move the table out of the folder"
        )
    elif shards:
        yield from parquet.list_shard_parts(source, shards, label_from, columns)
        files = [file for file in files if file.name not in shards]
    labels = FileLabels(label_from, columns, [file.name for file in files], source)
    labelled = [(file, labels.find_label(file.name)) for file in files]
    remarks = labels.remarks if label_from is None else [*labels.remarks, *_describe_folders(source, walked, labelled)]
    if remarks:
        yield SourcePart(functools.partial(make_remarks, source, remarks), frozenset(), 0)
    for part_files in cut_parts(labelled):
        found_labels = [label for _, label in part_files]
        images = count_images((file.name, label) for file, label in part_files if not _is_passed_over(file))
        read = functools.partial(_read_files, source, part_files)
        yield SourcePart(read, collect_splits(found_labels), images, collect_classes(found_labels))


def _describe_folders(
    source: str, walked: Sequence[WalkedFile], labelled: Sequence[tuple[WalkedFile, Label]]
) -> list[str]:
    """Say which folders a user may have meant as a class: links to others, and empty ones."""
    root = Folder.from_uri(source).local_path
    empty = describe_empty_folders(root, ((file.name, label.name) for file, label in labelled)) if root else []
    return [*describe_links(walked), *empty]


def _is_table(file: WalkedFile) -> bool:
    return file.name.lower().endswith(".parquet")


def _is_passed_over(file: WalkedFile) -> bool:
    return file.problem is not None and file.problem.reason in PASSED_OVER


def _is_hidden(file: WalkedFile) -> bool:
    return file.problem is not None and file.problem.reason in (HIDDEN, LEFTOVER)


def _read_files(source: str, files: Sequence[tuple[WalkedFile, Label]]) -> Iterator[RawImage]:
    folder = Folder.from_uri(source)
    for file, label in files:
        yield make_image(file.name, label, file.problem or _read_content(folder, file))


def _read_content(folder: Folder, file: WalkedFile) -> bytes | UnreadableError:
    if file.size > MAX_IMAGE_BYTES:
        return UnreadableError("too large", f"{file.size} bytes")
    try:
        return folder.read_bytes(file.name)
    except OSError as error:
        return UnreadableError("cannot be read", error.strerror or str(error))
