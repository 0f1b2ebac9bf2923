"""Reads tables of images: a CSV manifest beside the files, or Parquet with the encoded images inside."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ganaug_ray.config import LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources import web
from ganaug_ray.data.sources.raw import CountedPart, RawImage, cut_parts, open_file, read_labels
from ganaug_ray.errors import UserError

BATCH_ROWS = 256  # of a Parquet file in memory at a time


def list_csv_parts(source: str, label_from: LabelFrom) -> Iterator[CountedPart]:
    """Yield the parts of a CSV file, whose column image has paths relative to it, and whose column label the labels."""
    if web.is_url(source):
        raise UserError(f"data.source {source}: the images of a CSV file lie beside it; fetch an archive of both")
    for part_rows in cut_parts(read_labels(source)):
        yield CountedPart(functools.partial(_read_listed, source, part_rows), len(part_rows))


def _read_listed(source: str, rows: Sequence[tuple[str, str]]) -> Iterator[RawImage]:
    folder, _ = open_file(source)
    for path, label in rows:
        yield RawImage(path, label, _read_listed_file(folder, path))


def _read_listed_file(folder: Folder, path: str) -> bytes | UnreadableError:
    if "://" in path:
        return UnreadableError("unsafe path", "a manifest's images lie beside it; none is fetched")
    try:
        if path.startswith("/") and folder.local_path is not None:
            return Folder.from_uri("/").read_bytes(path.lstrip("/"))
        return folder.read_bytes(path)
    except OSError as error:
        return UnreadableError("cannot be read", error.strerror or str(error))


def list_parquet_parts(source: str, label_from: LabelFrom) -> Iterator[CountedPart]:
    """Yield the row groups of a Parquet file with the columns image (bytes, or a struct with them) and label."""
    with _open_parquet(source) as table:
        names = table.schema_arrow.names
        if not {"image", "label"} <= set(names):
            raise UserError(f"data.source {source}: found the columns {', '.join(names)}; expected image and label")
        first = 0
        for group in range(table.num_row_groups):
            images = table.metadata.row_group(group).num_rows
            yield CountedPart(functools.partial(_read_group, source, group, first), images)
            first += images


def _open_parquet(source: str) -> pq.ParquetFile:
    folder, name = open_file(source)
    stream = folder.fs.open_input_file(f"{folder.path}/{name}")
    try:
        return pq.ParquetFile(stream)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"data.source {source}: is no readable Parquet file ({error})") from None


def _read_group(source: str, group: int, first: int) -> Iterator[RawImage]:
    name = open_file(source)[1]
    with _open_parquet(source) as table:
        number = first
        for batch in table.iter_batches(BATCH_ROWS, row_groups=[group], columns=["image", "label"]):
            for row in batch.to_pylist():
                label = None if row["label"] is None else str(row["label"])
                yield RawImage(f"{name}#{number}", label, _extract_content(row["image"]))
                number += 1


def _extract_content(cell: Any) -> bytes | UnreadableError:
    """The bytes of an image cell, which holds them itself or in a struct."""
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    if isinstance(cell, bytes):
        return cell
    return UnreadableError("not an image", "no bytes in the row")
