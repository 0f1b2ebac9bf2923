"""Where images come from: one small reader each, all giving the same Raw.

| source                        | reader       | label                                                  |
|-------------------------------|--------------|--------------------------------------------------------|
| a folder                      | folders      | label_from                                             |
| a .zip, .tar, .tar.gz or .tgz | archives     | label_from; read in place                              |
| a .csv with image and label   | tables       | its label column                                       |
| a .parquet                    | tables       | its label column; images encoded, in a column image    |
| idx:FOLDER                    | idx          | the label files beside the image files                 |
| sklearn:digits                | packaged     | the digit                                              |
| torchvision:NAME              | packaged     | the data set's class names                             |

Folders, archives and tables lie on any filesystem that pyarrow knows.
"""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace

from ganaug_ray.config import LabelFrom
from ganaug_ray.data.sources.raw import Raw

Reader = Callable[[str, LabelFrom], Iterator[Raw]]


def read(sources: list[str], label_from: LabelFrom) -> Iterator[Raw]:
    """Read every image of all sources, in an order that depends on nothing but the sources.

    Labels are NFC-normalised: the two ways of writing an accented letter are one class.

    Raises:
        UserError: there is no such source, or it cannot be read as what it is.
    """
    for source in sources:
        for raw in _reader(source)(source, label_from):
            label = None if raw.label is None else unicodedata.normalize("NFC", raw.label)
            yield replace(raw, label=label, provenance=source)


def _reader(source: str) -> Reader:
    from ganaug_ray.data.sources import archives, folders, idx, packaged, tables

    schemes: dict[str, Reader] = {
        "idx": idx.read,
        "sklearn": packaged.read_sklearn,
        "torchvision": packaged.read_torchvision,
    }
    scheme = source.split(":", 1)[0]
    if scheme in schemes:
        return schemes[scheme]
    name = source.lower()
    if name.endswith(".zip"):
        return archives.read_zip
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return archives.read_tar
    if name.endswith(".csv"):
        return tables.read_csv
    if name.endswith(".parquet"):
        return tables.read_parquet
    return folders.read
