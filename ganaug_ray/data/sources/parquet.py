"""Reads tables that hold encoded images and their labels: Parquet or Arrow, one file or a folder of shards."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources.class_numbers import share_class_names
from ganaug_ray.data.sources.columns import Columns, choose_columns, has_label, has_usual_columns, refuse_equal_names
from ganaug_ray.data.sources.manifests import (
    describe_listed_addresses,
    list_image_names,
    make_ambiguous_label,
    read_listed_file,
)
from ganaug_ray.data.sources.parquet_listing import (
    ClassNames,
    TableRows,
    TableValues,
    extract_path,
    list_rows,
    read_named_label,
    read_rows,
)
from ganaug_ray.data.sources.paths import find_split
from ganaug_ray.data.sources.raw import RawImage, SourcePart, make_image, make_remarks, open_file, refuse_pointer
from ganaug_ray.data.sources.split_columns import is_usual_split
from ganaug_ray.data.sources.split_words import describe_unused_words, name_splits_of_files
from ganaug_ray.data.sources.table_file import ARROW_SUFFIX, TableFile, open_table_file
from ganaug_ray.errors import UserError


def list_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the row groups of a Parquet file with columns of images (bytes, or a struct with them) and of labels."""
    yield from list_shard_parts(source, [""], label_from, columns)


def list_shard_parts(
    source: str, shards: Sequence[str], label_from: LabelFrom | None, columns: ColumnsConfig
) -> Iterator[SourcePart]:
    """Yield the groups of rows of tables in a folder, and what is to be known of all of them together.

    Args:
        source: the folder, or a file.
        shards: the files' names; the empty one where the source is the file.
        label_from: None where no labels are needed.
        columns: which they are, where that is set.
    """
    table_name = source.rstrip("/").rpartition("/")[2]
    with_labels = label_from is not None
    tables = {shard: _read_rows(source, shard, columns, with_labels) for shard in shards}
    names_by_shard, name_remarks = share_class_names(source, tables)
    remarks: dict[str, None] = dict.fromkeys(name_remarks)
    values = TableValues()
    splits = name_splits_of_files(shards)
    if with_labels:
        remarks |= dict.fromkeys(describe_unused_words(shards, splits))
    for shard in shards:
        rows = tables.pop(shard)  # whose paths may be millions
        chosen, class_names = rows.columns, names_by_shard[shard]
        if any(class_names[column] for column in chosen.labels):
            chosen = replace(chosen, has_named_classes=True)
        folder, name = _locate_table(source, shard)
        addresses = describe_listed_addresses(_name_table(source, shard), rows.name_images(), name)
        split = splits[shard] if shard else find_split(name)
        listing = list_rows(source, folder, name, replace(rows, columns=chosen, class_names=class_names), split)
        remarks |= dict.fromkeys([*chosen.describe_choice(table_name), *addresses, *listing.remarks])
        values = values.add(listing.values)
        first = 0
        for group, images in enumerate(rows.group_rows):
            files = listing.files[group]
            read = functools.partial(
                _read_group, source, shard, group, first, chosen, class_names, files, listing.outer_folder, split
            )
            yield SourcePart(read, listing.splits[group], images)
            first += images
    if all_remarks := [*remarks, *values.describe(table_name)]:
        yield SourcePart(functools.partial(make_remarks, source, all_remarks), frozenset(), 0)


def _read_rows(source: str, shard: str, setting: ColumnsConfig, with_labels: bool) -> TableRows:
    with _open_table(source, shard) as table:
        folder, _ = _locate_table(source, shard)
        if with_labels and not setting.label:
            _refuse_label_folder(source, shard, table.schema.names)
        list_files = functools.partial(list_image_names, source, folder)
        columns = _choose_columns(table, setting, _name_table(source, shard), with_labels, list_files)
        return read_rows(table, columns, _read_class_names(table.schema, columns))


def _locate_table(source: str, shard: str) -> tuple[Folder, str]:
    return (Folder.from_uri(source), shard) if shard else open_file(source)


def _name_table(source: str, shard: str) -> str:
    return f"data.source {source}" + (f": {shard}" if shard else "")


@contextmanager
def _open_table(source: str, shard: str) -> Iterator[TableFile]:
    folder, name = _locate_table(source, shard)
    try:
        with open_table_file(folder, name) as table:
            yield table
    except UnicodeDecodeError as error:
        raise UserError(
            f"{_name_table(source, shard)}: holds text that is not UTF-8, such as {error.object[:40]!r}; write it anew"
        ) from None
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, pa.ArrowInvalid):  # no Parquet: a file that is named in a folder was not looked at yet
            refuse_pointer(_name_table(source, shard), folder, name)
        kind = "Arrow stream" if name.lower().endswith(ARROW_SUFFIX) else "Parquet file"
        raise UserError(f"{_name_table(source, shard)}: is not a readable {kind} ({error})") from None


def _choose_columns(
    table_file: TableFile,
    setting: ColumnsConfig,
    table: str,
    with_labels: bool,
    list_files: Callable[[], list[str]],
) -> Columns:
    """Choose the columns, by what Hugging Face's library says of them where it wrote the file.

    Raises:
        UserError: there are no such columns, or that of labels holds lists or structs.
    """
    schema = table_file.schema
    features = _read_features(schema)
    for key, kind in (("image", "Image"), ("label", "ClassLabel")):
        names = [name for name, feature in features.items() if feature.get("_type") == kind]
        if not getattr(setting, key) and len(names) == 1:
            setting = setting.model_copy(update={key: names[0] if key == "image" else names})
    sample = _sample_rows(table_file)
    encoded = _list_encoded_columns(table_file)
    columns = choose_columns(schema.names, setting, table, with_labels, sample, list_files, encoded)
    refuse_equal_names(columns, schema.names, table)
    for name in columns.labels:
        if pa.types.is_nested(schema.field(name).type):
            raise UserError(f"{table}: column {name} holds {schema.field(name).type}; expected labels, text or numbers")
    return columns


def _refuse_label_folder(source: str, shard: str, names: Sequence[str]) -> None:
    """Raise an error if the label of a table is the name of its folder alone, as Hive partitions have it."""
    pairs = [folder.partition("=") for folder in shard.split("/")[:-1]]
    column = next((column for column, equals, _ in pairs if equals and has_label([column])), None)
    if column and not has_label(names):
        raise UserError(
            f"{_name_table(source, shard)}: its label is the name of a folder, {column}=…, which is not read; "
            f"write a column {column} into each file"
        )


def _is_told_by_cells(field: pa.Field) -> bool:
    """Whether the cells of a column rather than its name say what it is: splits in texts, classes in ones and zeros."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return is_text or is_number or is_usual_split(field.name)


def _list_encoded_columns(table: TableFile) -> list[str]:
    """Return the columns that may hold encoded images: bytes, or a struct with them."""
    return [field.name for field in table.schema if _holds_bytes(table, field)]


def _holds_bytes(table: TableFile, field: pa.Field) -> bool:
    if pa.types.is_struct(field.type):
        return field.type.get_field_index("bytes") >= 0 and not table.is_empty_field(field.name, "bytes")
    return pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)


def _sample_rows(table: TableFile) -> list[dict[str, Any]]:
    """Read some rows of the columns whose names alone do not say what they are; of images, of their paths alone."""
    fields = [field for field in table.schema if has_usual_columns([field.name]) or _is_told_by_cells(field)]
    encoded = _list_encoded_columns(table)
    names = [field.name for field in fields if field.name not in encoded and not pa.types.is_nested(field.type)]
    names = [name for name in names if table.schema.names.count(name) == 1]  # of others none is read
    if not names or not table.group_rows:
        return []
    batch = next(table.iterate_batches(0, names), None)
    return batch.to_pylist() if batch is not None else []


def _read_features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """Return what Hugging Face's library wrote about the columns, by their names."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _read_class_names(schema: pa.Schema, columns: Columns) -> ClassNames:
    features = _read_features(schema)
    return {column: features.get(column, {}).get("names") for column in columns.label_and_split_names}


def _read_group(
    source: str,
    shard: str,
    group: int,
    first: int,
    columns: Columns,
    class_names: ClassNames,
    files: Mapping[str, Sequence[str]],
    outer_folder: str,
    table_split: str | None,
) -> Iterator[RawImage]:
    folder, name = _locate_table(source, shard)
    with _open_table(source, shard) as table:
        others = [column for column in _list_encoded_columns(table) if column not in columns.names]
        number = first
        for batch in table.iterate_batches(group, columns.names):
            for row in batch.to_pylist():
                where = f"{name} row {number}"
                label = read_named_label(row, columns, class_names, where)
                path = extract_path(row[columns.image])
                split = find_split(path.removeprefix(outer_folder)) or table_split
                label = replace(label, split=label.split or split)
                matches = files.get(path, ())
                if len(matches) > 1:
                    label = make_ambiguous_label(path, where, matches, label.split)
                elif matches:
                    path = matches[0]
                content = _read_content(folder, path, row[columns.image], where)
                if len(matches) > 1 and label.objection:
                    content = UnreadableError(*label.objection)
                if others and isinstance(content, UnreadableError):
                    advice = f"column {others[0]} holds bytes; to read these, set data.columns: {{image: {others[0]}}}"
                    content = UnreadableError(content.reason, f"{content.detail}; {advice}")
                yield make_image(f"{name}#{number}", label, content)
                number += 1


def _read_content(folder: Folder, path: str, cell: Any, row: str) -> bytes | UnreadableError:
    """Return an image that lies beside the table if it has a path, or else in its cell, maybe in a struct."""
    if path:
        return read_listed_file(folder, path, row)
    content = _extract_bytes(cell)
    if content is not None:
        return content
    if not cell or (isinstance(cell, dict) and not any(cell.values())):
        return UnreadableError("no image", f"{row} holds none")
    return UnreadableError(
        "no image", f"{row} holds {_describe_cell(cell)}; expected the bytes of one image, or its path"
    )


def _describe_cell(cell: Any) -> str:
    if isinstance(cell, list):
        return f"a list of {len(cell)}"
    if isinstance(cell, dict):
        return f"a struct with {', '.join(map(str, cell))}"
    return f"a value of type {type(cell).__name__}"


def _extract_bytes(cell: Any) -> bytes | None:
    """Return the one image that a cell holds, maybe in a list of one or in a struct; None where that is not clear."""
    if isinstance(cell, list) and len(cell) == 1:
        (cell,) = cell
    if isinstance(cell, dict):
        contents = [value for value in cell.values() if isinstance(value, bytes)]
        cell = cell.get("bytes") or (contents[0] if len(contents) == 1 else None)
    return cell if isinstance(cell, bytes) else None
