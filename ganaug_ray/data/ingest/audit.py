"""Audits images one by one: each is opened, decoded completely, and accepted or rejected with a reason.

A part of a source goes in; a table with a row an image comes out, and the pixels of the decoded ones are staged.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from ganaug_ray.config import DataConfig
from ganaug_ray.core.records import ValueRange
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images
from ganaug_ray.data.ingest import near_duplicates, staging, visual_issues
from ganaug_ray.data.ingest.given_splits import describe_holdout
from ganaug_ray.data.ingest.value_range import REMEDY
from ganaug_ray.data.losses import FULLY_TRANSPARENT
from ganaug_ray.data.samples import UNKNOWN_RANGE
from ganaug_ray.data.sources import RawImage
from ganaug_ray.data.sources.raw import ARCHIVE, NO_CLASS, PART_IMAGES, SINGLE_COLOUR, PartReader
from ganaug_ray.data.sources.remedies import find_archive_remedy


@dataclass(frozen=True)
class ImageRecord:
    """What is known of one image of a source, and where its pixels are staged.

    Attributes:
        path: relative to the source.
        provenance: the source.
        label: its class, or None.
        reason: why it is rejected; None where it is not.
        detail: more on that.
        id: hash of its pixels, 32 hex digits; empty where it could not be decoded, as are the following.
        came_in: the split it came in, if any.
        given: likewise, where splits are given.
        width: native pixels, upright.
        height: likewise.
        format: what it really is.
        note: what a user may want to know of a kept one; several are separated by semicolons.
        dtype: of samples that the data set's range of values scales, as numpy calls it; empty for plain 8 bits.
        low: the lowest of these samples.
        high: the highest.
        channels: 1 or 3.
        brightness: of the stored image, as are the following: see visual_issues.VisualMeasures.
        black_point: likewise.
        white_point: likewise.
        contrast: likewise.
        sharpness: likewise.
        hash: perceptual, 64 bits.
        file: the staged file.
        rank: position in it.
        offset: of its pixels in it, in bytes.
    """

    path: str
    provenance: str
    label: str | None
    reason: str | None = None
    detail: str = ""
    id: str = ""
    came_in: str | None = None
    given: str | None = None
    width: int = 0
    height: int = 0
    format: str = ""
    note: str = ""
    dtype: str = ""
    low: float = 0.0
    high: float = 0.0
    channels: int = 0
    brightness: float | None = None
    black_point: float | None = None
    white_point: float | None = None
    contrast: float | None = None
    sharpness: float | None = None
    hash: int = 0
    file: str = ""
    rank: int = 0
    offset: int = 0


_COLUMN_TYPES = {
    "width": pa.int32(),
    "low": pa.float64(),
    "high": pa.float64(),
    "height": pa.int32(),
    "channels": pa.int8(),
    **dict.fromkeys(visual_issues.VisualMeasures._fields, pa.float64()),
    "hash": pa.uint64(),
    "rank": pa.int32(),
    "offset": pa.int64(),
}
RECORD_SCHEMA = pa.schema([(name, _COLUMN_TYPES.get(name, pa.string())) for name in ImageRecord.__dataclass_fields__])


def count_notes(records: pa.Table) -> dict[str, int]:
    """Count the notes on images: note -> number, the most frequent first."""
    notes = records["note"].filter(pc.not_equal(records["note"], ""))
    return dict(Counter(pc.list_flatten(pc.split_pattern(notes, images.NOTE_SEPARATOR)).to_pylist()).most_common())


def audit_part(
    config: DataConfig, value_range: ValueRange | None, staged: Folder, named_part: tuple[str, PartReader]
) -> pa.Table:
    """Audit all images of one part of a source, and stage the pixels of those that can be decoded.

    Args:
        config: how the images are judged and resized.
        value_range: of samples that are wider than 8 bits, signed or floats; None: each file's by its format.
        staged: the folder of staged pixels.
        named_part: the part, and the name of what it stages.

    Returns:
        A table of the fields of ImageRecord, a row an image, in the part's order.
    """
    name, part = named_part
    audited = (_audit_image(raw, config, value_range) for raw in part())
    tables = [RECORD_SCHEMA.empty_table()]
    for count, batch in enumerate(_group_batches(audited)):
        rows = _stage_batch(batch, staged, f"{name}-{count:05d}")
        tables.append(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA))
    return pa.concat_tables(tables)


class _StagedImage(NamedTuple):
    pixels: np.ndarray  # resized, uint8
    small: Image.Image  # what near-duplicates are found by
    luma: Image.Image  # resized, of mode L, without what pads it


_AuditedImage = tuple[dict, _StagedImage | None]  # the fields of ImageRecord, and what is staged of a decoded image


def _group_batches(audited: Iterator[_AuditedImage]) -> Iterator[list[_AuditedImage]]:
    for first in audited:
        batch = [first]
        batch_bytes = 0
        for row, image in audited:
            batch.append((row, image))
            if image is not None:
                batch_bytes += image.pixels.nbytes
            if len(batch) >= PART_IMAGES or batch_bytes >= staging.BATCH_BYTES:
                break
        yield batch


def _stage_batch(batch: list[_AuditedImage], staged: Folder, name: str) -> list[dict]:
    rows = []
    images = []
    for row, image in sorted(batch, key=lambda pair: pair[0]["id"]):
        if image is not None:
            rows.append(row)
            images.append(image)
    if images:
        offsets = staging.write_staged(staged, f"{name}.pixels", [image.pixels for image in images])
        small = [image.small for image in images]
        staging.write_staged(staged, f"{name}.thumbs", [near_duplicates.make_thumbnails(small)])
        hashes = near_duplicates.hash_images(small)
        measures = visual_issues.measure_images([image.luma for image in images])
        for rank, row in enumerate(rows):
            row |= {"file": name, "rank": rank, "offset": int(offsets[rank]), "hash": int(hashes[rank])}
            row |= measures[rank]._asdict()
    return [row for row, _ in batch]


def _audit_image(raw: RawImage, config: DataConfig, value_range: ValueRange | None) -> _AuditedImage:
    row = vars(ImageRecord(raw.path, raw.provenance, raw.label, came_in=raw.split)).copy()
    if config.split.given:
        row["given"] = raw.split
    try:
        decoded = _decode_raw(raw, config.image_size, value_range)
    except images.UnreadableError as error:
        if error.span:
            row |= error.span._asdict()
        if error.reason == UNKNOWN_RANGE and error.span:
            return row | {"reason": error.reason, "detail": f"{error.detail}; {REMEDY}"}, None
        if error.reason in ("not an image", "too large") and (remedy := find_archive_remedy(raw.path)):
            return row | {"reason": ARCHIVE, "detail": remedy}, None
        return row | {"reason": error.reason, "detail": error.detail}, None
    image = images.resize_to_square(decoded.image, config.image_size, config.resize)
    small = image.resize((near_duplicates.HASH_SIDE_PX, near_duplicates.HASH_SIDE_PX), Image.Resampling.BOX)
    row |= {
        "id": _hash_pixels(raw, decoded, config.image_size),
        "width": decoded.width,
        "height": decoded.height,
        "format": decoded.format,
        "note": images.NOTE_SEPARATOR.join([*_note_wrong_suffix(raw.path, decoded.format), *decoded.notes]),
        "channels": _count_channels(image),
    }
    if decoded.span:
        row |= decoded.span._asdict()
    row["reason"], row["detail"] = raw.objection or _find_objection(row, decoded, small, config)
    luma = _crop_padding(image, decoded.image.size, config).convert("L")
    return row, _StagedImage(images.to_pixels(image, row["channels"]), small, luma)


def _crop_padding(stored: Image.Image, native_size: tuple[int, int], config: DataConfig) -> Image.Image:
    """Return an image as it is stored, without what pads it."""
    if config.resize != "pad":
        return stored
    return stored.crop(images.fit_into_square(*native_size, config.image_size))


def _count_channels(image: Image.Image) -> int:
    return 1 if image.mode == "L" else 3


def _decode_raw(raw: RawImage, size: int, value_range: ValueRange | None) -> images.DecodedImage:
    if isinstance(raw.content, images.UnreadableError):
        raise raw.content
    if isinstance(raw.content, bytes):
        return images.decode(raw.content, size, value_range=value_range)
    image = images.from_array(raw.content)
    return images.DecodedImage(image, image.width, image.height, "array")


def _hash_pixels(raw: RawImage, decoded: images.DecodedImage, size: int) -> str:
    if (
        decoded.format in ("JPEG", "MPO")  # which cameras with several pictures in a file write
        and size > images.ID_SIDE_PX
        and min(decoded.width, decoded.height) >= 2 * images.ID_SIDE_PX
    ):
        assert isinstance(raw.content, bytes), "a JPEG is a file"
        decoded = images.decode(raw.content)
    shape = (decoded.height, decoded.width, _count_channels(decoded.image))
    digest = hashlib.sha256(repr(shape).encode())
    digest.update(decoded.image.tobytes())
    return digest.hexdigest()[:32]


def _find_objection(
    row: dict, decoded: images.DecodedImage, small: Image.Image, config: DataConfig
) -> tuple[str | None, str]:
    if row["label"] is None:
        return NO_CLASS, "data.label_from finds no label for it"
    if config.split.given and row["given"] is None:
        return "no split", f"lies in none of the folders train, val and test{describe_holdout(row['path'])}"
    if min(decoded.width, decoded.height) < config.smallest:
        return "too small", f"{decoded.width} × {decoded.height} pixels"
    if small.getcolors(1) and decoded.image.getcolors(1):  # the first look is cheap, and may see only the middle
        return SINGLE_COLOUR, _describe_single_colour(decoded)
    return None, ""


def _describe_single_colour(decoded: images.DecodedImage) -> str:
    """Say which colour all pixels have, and why, if it is not that of the file."""
    words = f"every pixel is {decoded.image.getpixel((0, 0))}"
    if FULLY_TRANSPARENT in decoded.notes:
        return f"{words}, as the image is {FULLY_TRANSPARENT}"
    if decoded.span and decoded.span.low < decoded.span.high:
        values = f"{decoded.span.low:.6g} to {decoded.span.high:.6g}"
        return f"{words} once its values, {values}, are scaled; data.value_range: [low, high] sets black and white"
    return words


def _note_wrong_suffix(path: str, kind: str) -> list[str]:
    suffix = path[path.rfind(".") :].lower()
    suffix_format = Image.registered_extensions().get(suffix)
    if suffix_format is None or kind in (suffix_format, "array", "MPO"):
        return []
    return [f"named {suffix}, is {kind}"]
