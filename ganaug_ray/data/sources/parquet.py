"""Reads Parquet tables that hold encoded images and their labels, one file or a folder of shards."""

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources.columns import Columns, choose_columns
from ganaug_ray.data.sources.manifests import read_listed_file
from ganaug_ray.data.sources.paths import find_split, normalize_path
from ganaug_ray.data.sources.raw import RawImage, SourcePart, make_image, make_remarks, open_file, refuse_pointer
from ganaug_ray.errors import UserError

BATCH_ROWS = 256  # of a Parquet file in memory at a time


def list_parts(source: str, label_from: LabelFrom, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the row groups of a Parquet file with columns of images (bytes, or a struct with them) and of labels."""
    yield from list_shard_parts(source, "", columns)


def list_shard_parts(source: str, shard: str, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the row groups of one Parquet file of a folder; the source itself is the file where ``shard`` is empty."""
    with _open_table(source, shard) as table:
        chosen = _choose_columns(table.schema_arrow, columns, _name_table(source, shard))
        features = _read_features(table.schema_arrow)
        if any(features.get(column, {}).get("names") for column in chosen.labels):
            chosen = replace(chosen, has_named_classes=True)
        if remarks := chosen.describe_choice(source.rpartition("/")[2]):
            yield SourcePart(functools.partial(make_remarks, source, remarks), frozenset(), 0)
        splits = frozenset({find_split(shard or source.rpartition("/")[2]) or ""})
        first = 0
        for group in range(table.num_row_groups):
            images = table.metadata.row_group(group).num_rows
            yield SourcePart(functools.partial(_read_group, source, shard, group, first, chosen), splits, images)
            first += images


def _name_table(source: str, shard: str) -> str:
    return f"data.source {source}" + (f": {shard}" if shard else "")


@contextmanager
def _open_table(source: str, shard: str) -> Iterator[pq.ParquetFile]:
    folder, name = (Folder.from_uri(source), shard) if shard else open_file(source)
    try:
        with folder.fs.open_input_file(f"{folder.path}/{name}") as stream, pq.ParquetFile(stream) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, pa.ArrowInvalid):  # no Parquet: a file that is named in a folder was not looked at yet
            refuse_pointer(_name_table(source, shard), folder, name)
        raise UserError(f"{_name_table(source, shard)}: is no readable Parquet file ({error})") from None


def _choose_columns(schema: pa.Schema, setting: ColumnsConfig, table: str) -> Columns:
    """Choose the columns, by what Hugging Face's library says of them where it wrote the file.

    Raises:
        UserError: there are no such columns, or that of labels holds lists or structs.
    """
    features = _read_features(schema)
    for key, kind in (("image", "Image"), ("label", "ClassLabel")):
        names = [name for name, feature in features.items() if feature.get("_type") == kind]
        if not getattr(setting, key) and len(names) == 1:
            setting = setting.model_copy(update={key: names[0] if key == "image" else names})
    columns = choose_columns(schema.names, setting, table)
    for name in columns.labels:
        if pa.types.is_nested(schema.field(name).type):
            raise UserError(f"{table}: column {name} holds {schema.field(name).type}; expected labels, text or numbers")
    return columns


def _read_features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Return what Hugging Face's library wrote about the columns, by their names."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _read_group(source: str, shard: str, group: int, first: int, columns: Columns) -> Iterator[RawImage]:
    folder, name = (Folder.from_uri(source), shard) if shard else open_file(source)
    split = find_split(name)
    with _open_table(source, shard) as table:
        features = _read_features(table.schema_arrow)
        class_names = {column: features.get(column, {}).get("names") for column in columns.labels}
        number = first
        for batch in table.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns.names):
            for row in batch.to_pylist():
                _name_classes(row, class_names)
                label = columns.read_label(row, f"{name} row {number}")
                label = replace(label, split=label.split or split)
                yield make_image(f"{name}#{number}", label, _extract_content(folder, row[columns.image]))
                number += 1


def _name_classes(row: dict[str, Any], class_names: dict[str, list[str] | None]) -> None:
    """Put the names of classes in the place of their numbers; a number without a name is no class."""
    for column, names in class_names.items():
        cell = row[column]
        if names and isinstance(cell, int | float):  # pandas makes floats of them where one is missing
            row[column] = names[int(cell)] if cell == cell and 0 <= cell < len(names) and cell == int(cell) else None


def _extract_content(folder: Folder, cell: Any) -> bytes | UnreadableError:
    """The bytes of an image cell, which holds them itself or in a struct, or names a file beside the table."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, str):
        return read_listed_file(folder, normalize_path(cell))
    if isinstance(cell, bytes):
        return cell
    return UnreadableError("not an image", "no bytes in the row")
