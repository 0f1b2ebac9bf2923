"""Reads the images of files, folders and archives, whatever they are, in batches that travel together."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import fs as pafs

from ganaug_ray.core.arrow_arrays import build_binary_array, build_text_array
from ganaug_ray.core.storage import split_address
from ganaug_ray.data import images, sources
from ganaug_ray.data.sources import foreign_advice, json_lines
from ganaug_ray.data.sources.raw import PASSED_OVER, REMARK, RawImage, SourcePart, cut_parts
from ganaug_ray.errors import UserError

BATCH_IMAGES = 256  # images that travel together, at most
BATCH_BYTES = 64 * 1024**2  # of images that travel together; the last of them may be beyond it
# Of files that hold or name others.
CONTAINER_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".csv", ".tsv", *json_lines.SUFFIXES, ".parquet")
IMAGE = "image"  # kinds of rows that are read: also REMARK, and
OTHER_FILE = "other file"
READ_SCHEMA = pa.schema(
    [("kind", pa.string()), ("path", pa.string()), ("content", pa.binary()), ("error", pa.string())]
)


def list_parts(addresses: Sequence[str]) -> list[SourcePart]:
    """List the parts of files, folders and archives that are read; image paths begin with the address of theirs.

    Files come first, then folders and archives, in the order in which they are given.

    Raises:
        UserError: one of them is not there or holds no files.
    """
    files = []
    container_parts = []
    for address in addresses:
        if _is_image_file(address):
            files.append(address)
            continue
        try:
            for part in sources.list_parts([address], None):
                container_parts.append(
                    SourcePart(functools.partial(_read_named_part, address, part), images=part.images)
                )
        except UserError as error:
            message = _word_for_command(str(error))
            raise UserError(message.replace("no such folder", "no such file or folder")) from None
    file_parts = [
        SourcePart(functools.partial(_read_files, part_files), images=len(part_files))
        for part_files in cut_parts(files)
    ]
    return [*file_parts, *container_parts]


def has_more_images(parts: Sequence[SourcePart], limit: int) -> bool:
    """Whether parts have more images than a limit; those whose number nobody knows are read until it is passed."""
    known = sum(part.images or 0 for part in parts)
    unknown = (raw for part in parts if part.images is None for raw in part())
    room = max(0, limit - known)
    return known > limit or sum(1 for _ in itertools.islice(unknown, room + 1)) > room


def read_batches(part: SourcePart) -> Iterator[pa.Table]:
    """Yield the files of a part as tables of READ_SCHEMA, of BATCH_IMAGES rows and BATCH_BYTES at most."""
    rows: list[dict[str, Any]] = []
    size = 0
    for raw in part():
        content = _encode_content(raw)
        rows.append({"kind": find_kind(raw), "path": raw.path, **content})
        size += len(content.get("content", b""))
        if len(rows) == BATCH_IMAGES or size >= BATCH_BYTES:
            yield build_batch(rows)
            rows = []
            size = 0
    if rows:
        yield build_batch(rows)


def build_batch(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Build a table of READ_SCHEMA from rows, in which a missing key is null."""
    columns = []
    for field in READ_SCHEMA:
        values = [row.get(field.name) for row in rows]
        columns.append(build_binary_array(values) if field.type == pa.binary() else build_text_array(values))
    return pa.Table.from_arrays(columns, schema=READ_SCHEMA)


def _word_for_command(message: str) -> str:
    """Word a message of a reader of sources for a command that is given files and no settings."""
    return foreign_advice.advise_table(message.removeprefix("data.source "), "one column of images, called image")


def describe_error(error: images.UnreadableError) -> str:
    """Say in a line why an image cannot be read."""
    return f"{error.reason} ({error.detail})" if error.detail else error.reason


def _is_image_file(address: str) -> bool:
    if address.lower().endswith(CONTAINER_SUFFIXES) or address.startswith(("http://", "https://")):
        return False
    folder, name = split_address(address)
    try:
        return folder.fs.get_file_info(f"{folder.path}/{name}").type == pafs.FileType.File
    except OSError:
        return False  # whoever lists it says what is wrong


def _read_files(addresses: Sequence[str]) -> Iterator[RawImage]:
    for address in addresses:
        folder, name = split_address(address)
        content: bytes | images.UnreadableError
        try:
            content = folder.read_bytes(name)
        except OSError as error:
            content = images.UnreadableError("cannot be read", error.strerror or str(error))
        yield RawImage(address, None, content)


def _read_named_part(address: str, part: SourcePart) -> Iterator[RawImage]:
    try:
        for raw in part():
            yield RawImage(f"{address.rstrip('/')}/{raw.path}", None, raw.content)
    except UserError as error:  # an archive that breaks off: what came before it is kept
        yield RawImage(address, None, images.UnreadableError(_word_for_command(str(error))))


def find_kind(raw: RawImage) -> str:
    """Return what a file is: IMAGE, which it may be without being readable, OTHER_FILE or REMARK."""
    if not isinstance(raw.content, images.UnreadableError):
        return IMAGE
    if raw.content.reason == REMARK:
        return REMARK
    return OTHER_FILE if raw.content.reason in PASSED_OVER else IMAGE


def _encode_content(raw: RawImage) -> dict[str, Any]:
    if isinstance(raw.content, images.UnreadableError):
        is_remark = raw.content.reason == REMARK
        return {"error": _word_for_command(raw.content.detail) if is_remark else describe_error(raw.content)}
    if isinstance(raw.content, bytes):
        return {"content": raw.content}
    return {"content": images.to_png(raw.content)}
