"""Readers of image sources: one for each kind of source, all giving the same RawImage.

| source                        | reader       | label                                                  |
|-------------------------------|--------------|--------------------------------------------------------|
| a folder                      | folders      | label_from                                             |
| a .zip, .tar, .tar.gz or .tgz | archives     | label_from; read in place                              |
| a .csv, .tsv or .jsonl        | manifests    | its label column                                       |
| a .parquet, or a folder of it | parquet      | its label column; images encoded, in a column image    |
| a folder of save_to_disk      | parquet      | its label column; found by saved_dataset               |
| hf:OWNER/NAME                 | hub          | as of the folder that is downloaded                    |
| idx:FOLDER                    | idx          | the label files beside the image files                 |
| sklearn:digits                | packaged     | the digit                                              |
| torchvision:NAME              | packaged     | the data set's class names                             |

Folders, archives and tables lie on any filesystem that pyarrow knows; archives and tables also behind an https URL.
A reader looks at a source without reading its images and returns its parts, to be read one by one or side by side.
Paths are understood in paths.py and path_matching.py, labels in label_text.py and labels.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from pyarrow import ArrowException
from pyarrow.fs import FileType

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.sources import web
from ganaug_ray.data.sources.bare_tests import ListedSource, set_aside_bare_tests
from ganaug_ray.data.sources.companions import settle_companion
from ganaug_ray.data.sources.paths import strip_query
from ganaug_ray.data.sources.raw import PartReader, RawImage, SourcePart, make_remarks
from ganaug_ray.data.sources.source_splits import describe_unused_splits, name_splits_of_sources
from ganaug_ray.errors import UserError

if TYPE_CHECKING:
    from ganaug_ray.config import ColumnsConfig, LabelFrom

    SourceReader = Callable[[str, LabelFrom | None, ColumnsConfig], Iterator[SourcePart]]


def list_parts(
    sources: list[str], label_from: LabelFrom | None, columns: ColumnsConfig | None = None
) -> Iterator[SourcePart]:
    """Yield the parts of all sources, in an order that depends on nothing but the sources.

    Args:
        sources: as the table above has them.
        label_from: where labels come from; None where no labels are needed: then tables need none.
        columns: of tables.

    Raises:
        UserError: there is no such source, or it cannot be read as what it is; also while a part is read.
    """
    from ganaug_ray.config import ColumnsConfig  # not above: an image file by itself is read without

    listed = []
    source_splits = name_splits_of_sources(sources) if len(sources) > 1 else {}
    remarks = describe_unused_splits(source_splits) if source_splits and label_from is not None else []
    if remarks:
        yield SourcePart(functools.partial(make_remarks, sources[0], remarks), frozenset(), 0)
    for source in sources:
        split = source_splits.get(source)
        parts = _choose_reader(source)(source, label_from, columns or ColumnsConfig())
        listed.append(ListedSource(source, split, parts))
    if label_from is not None and label_from.regex is None and label_from.csv is None:
        listed = set_aside_bare_tests(listed)
    for item in listed:
        for part in item.parts:
            splits = frozenset(name or item.split or "" for name in part.labelled_splits)
            read = functools.partial(_read_part, item.source, item.split, part.read)
            yield replace(part, read=read, labelled_splits=splits)


def count_images(parts: Iterable[SourcePart]) -> int:
    """Count the images of parts of sources by their listings; a tar archive, which has none, is read through.

    Copies and what will turn out unreadable are among them, files beside images are not. No image is decoded.

    Raises:
        UserError: as ``list_parts``.
    """
    total = 0
    for part in parts:
        if part.images is None:
            total += _count_read_images(part)
        else:
            total += part.images
    return total


def _count_read_images(part: SourcePart) -> int:
    images = 0
    for raw in part():
        if not raw.is_beside:
            images += 1
    return images


def _read_part(source: str, split: str | None, read: PartReader) -> Iterator[RawImage]:
    for raw in read():
        yield settle_companion(replace(raw, provenance=source, split=raw.split or split))


def _choose_reader(source: str) -> SourceReader:
    from ganaug_ray.data.sources import (
        folders,
        hub,
        idx,
        json_lines,
        manifests,
        packaged,
        parquet,
        tar_archives,
        zip_archives,
    )

    schemes: dict[str, SourceReader] = {
        "hf": hub.list_parts,
        "idx": idx.list_parts,
        "sklearn": packaged.list_sklearn_parts,
        "torchvision": packaged.list_torchvision_parts,
    }
    suffixes: dict[str, SourceReader] = {
        ".zip": zip_archives.list_parts,
        ".tar": tar_archives.list_parts,
        ".tar.gz": tar_archives.list_parts,
        ".tgz": tar_archives.list_parts,
        ".csv": manifests.list_parts,
        ".tsv": manifests.list_parts,
        **dict.fromkeys(json_lines.SUFFIXES, manifests.list_parts),
        ".parquet": parquet.list_parts,
    }
    scheme = source.split(":", 1)[0]
    if scheme in schemes:
        return schemes[scheme]
    name = strip_query(source).lower().rstrip("/")
    reader = next((reader for suffix, reader in suffixes.items() if name.endswith(suffix)), folders.list_parts)
    return folders.list_parts if reader is not folders.list_parts and _is_folder(source) else reader


def _is_folder(source: str) -> bool:
    """Whether a source with the suffix of a file is a folder, such as Spark writes."""
    if web.is_url(source):
        return False
    try:
        folder = Folder.from_uri(source.rstrip("/"))
        return bool(folder.fs.get_file_info(folder.path).type == FileType.Directory)
    except (OSError, ArrowException, UserError):
        return False  # whoever reads it says what is wrong
