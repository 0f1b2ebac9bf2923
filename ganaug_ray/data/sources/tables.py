"""Tables that list images: a CSV manifest beside the files, or Parquet with the encoded images inside."""

import functools
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from ganaug_ray.config import LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.images import Unreadable
from ganaug_ray.data.sources import web
from ganaug_ray.data.sources.raw import Part, Raw, cut, open_file, read_labels
from ganaug_ray.errors import UserError

ROWS = 256  # of a Parquet file in memory at a time


def csv_parts(source: str, label_from: LabelFrom) -> Iterator[Part]:
    """List the images that a CSV file names in its column image, relative to the file, with the label beside it."""
    if web.is_url(source):
        raise UserError(f"data.source {source}: the images of a CSV file lie beside it; fetch an archive of both")
    for some in cut(read_labels(source)):
        yield functools.partial(_read_listed, source, some)


def _read_listed(source: str, rows: Sequence[tuple[str, str]]) -> Iterator[Raw]:
    folder, _ = open_file(source)
    for path, label in rows:
        yield Raw(path, label, _listed(folder, path))


def _listed(folder: Folder, path: str) -> bytes | Unreadable:
    if "://" in path:
        return Unreadable("unsafe path", "a manifest's images lie beside it; none is fetched")
    try:
        if path.startswith("/") and folder.local is not None:
            return Folder.at("/").read(path.lstrip("/"))
        return folder.read(path)
    except OSError as error:
        return Unreadable("cannot be read", error.strerror or str(error))


def parquet_parts(source: str, label_from: LabelFrom) -> Iterator[Part]:
    """List the row groups of a Parquet file with the columns image (its bytes, or a struct with bytes) and label."""
    with _opened(source) as table:
        names = table.schema_arrow.names
        if not {"image", "label"} <= set(names):
            raise UserError(f"data.source {source}: found the columns {', '.join(names)}; expected image and label")
        first = 0
        for group in range(table.num_row_groups):
            yield functools.partial(_read_group, source, group, first)
            first += table.metadata.row_group(group).num_rows


def _opened(source: str) -> pq.ParquetFile:
    folder, name = open_file(source)
    stream = folder.fs.open_input_file(f"{folder.path}/{name}")
    try:
        return pq.ParquetFile(stream)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"data.source {source}: is no readable Parquet file ({error})") from None


def _read_group(source: str, group: int, first: int) -> Iterator[Raw]:
    name = open_file(source)[1]
    with _opened(source) as table:
        number = first
        for batch in table.iter_batches(ROWS, row_groups=[group], columns=["image", "label"]):
            for row in batch.to_pylist():
                content = row["image"].get("bytes") if isinstance(row["image"], dict) else row["image"]
                label = None if row["label"] is None else str(row["label"])
                found = content if isinstance(content, bytes) else Unreadable("not an image", "no bytes in the row")
                yield Raw(f"{name}#{number}", label, found)
                number += 1
