"""Readers of image sources: one for each kind of source, all giving the same RawImage.

| source                        | reader       | label                                                  |
|-------------------------------|--------------|--------------------------------------------------------|
| a folder                      | folders      | label_from                                             |
| a .zip, .tar, .tar.gz or .tgz | archives     | label_from; read in place                              |
| a .csv with image and label   | tables       | its label column                                       |
| a .parquet                    | tables       | its label column; images encoded, in a column image    |
| idx:FOLDER                    | idx          | the label files beside the image files                 |
| sklearn:digits                | packaged     | the digit                                              |
| torchvision:NAME              | packaged     | the data set's class names                             |

Folders, archives and tables lie on any filesystem that pyarrow knows; archives and tables also behind an https URL.
A reader looks at a source without reading its images and returns its parts, to be read one by one or side by side.
"""

import functools
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace

from ganaug_ray.config import LabelFrom
from ganaug_ray.data.sources.raw import CountedPart, RawImage, SourcePart

SourceReader = Callable[[str, LabelFrom], Iterator[CountedPart]]


def list_parts(sources: list[str], label_from: LabelFrom) -> Iterator[CountedPart]:
    """Yield the parts of all sources, in an order that depends on nothing but the sources.

    Labels are NFC-normalised: the two ways of writing an accented letter are one class. So is the third, that old zip
    programs make of it: the published Best Artworks have Albrecht_Dürer's folder twice, as DuΓòá├¬rer and as Du╠êrer.

    Raises:
        UserError: there is no such source, or it cannot be read as what it is; also while a part is read.
    """
    for source in sources:
        for part in _choose_reader(source)(source, label_from):
            yield CountedPart(functools.partial(_read_part, source, part), part.images)


def count_images(sources: list[str], label_from: LabelFrom) -> int:
    """Count the images of all sources by their listings; a tar archive, which has none, is read through.

    Copies and what will turn out unreadable are among them. No image is decoded.

    Raises:
        UserError: as ``list_parts``.
    """
    total = 0
    for part in list_parts(sources, label_from):
        total += part.images if part.images is not None else sum(1 for _ in part())
    return total


def _read_part(source: str, part: SourcePart) -> Iterator[RawImage]:
    for raw in part():
        label = None if raw.label is None else unicodedata.normalize("NFC", _repair_encoding(raw.label))
        yield replace(raw, label=label, provenance=source)


def _repair_encoding(label: str) -> str:
    """Undo UTF-8 taken for code page 437, as often as it was done; other text does not decode, and stays.

    >>> [_repair_encoding(label) for label in ("caf├⌐", "café", "cat")]
    ['café', 'café', 'cat']
    """
    while not label.isascii():
        try:
            label = label.encode("cp437").decode("utf-8")
        except UnicodeError:
            break
    return label


def _choose_reader(source: str) -> SourceReader:
    from ganaug_ray.data.sources import archives, folders, idx, packaged, tables

    schemes: dict[str, SourceReader] = {
        "idx": idx.list_parts,
        "sklearn": packaged.list_sklearn_parts,
        "torchvision": packaged.list_torchvision_parts,
    }
    scheme = source.split(":", 1)[0]
    if scheme in schemes:
        return schemes[scheme]
    name = source.split("?")[0].split("#")[0].lower()
    if name.endswith(".zip"):
        return archives.list_zip_parts
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return archives.list_tar_parts
    if name.endswith(".csv"):
        return tables.list_csv_parts
    if name.endswith(".parquet"):
        return tables.list_parquet_parts
    return folders.list_parts
