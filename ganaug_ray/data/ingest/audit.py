"""Judging images one by one: each is opened, decoded to its end, and kept or rejected with a reason.

A part of a source goes in; a table with a row an image comes out, and the pixels of the decoded ones are staged.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from ganaug_ray.config import DataConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images
from ganaug_ray.data.ingest import near_duplicates, split, staging
from ganaug_ray.data.sources import Raw
from ganaug_ray.data.sources.raw import PART, Part


@dataclass(frozen=True)
class Found:
    """One image of a source: what it is, and where its pixels are staged.

    Attributes:
        path: relative to the source.
        provenance: the source.
        label: its class, or None.
        reason: why it is rejected; None where it is not.
        detail: more on that.
        id: hash of its pixels, 32 hex digits; empty where it could not be decoded, as are the following.
        given: the split it came in, where splits are given.
        width: native pixels, upright.
        height: likewise.
        format: what it really is.
        note: what a user may want to know of a kept one.
        channels: 1 or 3.
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
    given: str | None = None
    width: int = 0
    height: int = 0
    format: str = ""
    note: str = ""
    channels: int = 0
    hash: int = 0
    file: str = ""
    rank: int = 0
    offset: int = 0


_KINDS = {"width": pa.int32(), "height": pa.int32(), "channels": pa.int8(), "hash": pa.uint64(), "rank": pa.int32(),
          "offset": pa.int64()}  # fmt: skip
SCHEMA = pa.schema([(name, _KINDS.get(name, pa.string())) for name in Found.__dataclass_fields__])


def judge(config: DataConfig, staged: Folder, named: tuple[str, Part]) -> pa.Table:
    """Read one part of a source.

    Args:
        config: how the images are judged and resized.
        staged: the folder of staged pixels.
        named: the part, and the name of what it stages.

    Returns:
        A table of the fields of Found, a row an image, in the part's order.
    """
    name, part = named
    tables = []
    for count, batch in enumerate(_batches(_one(raw, config) for raw in part())):
        tables.append(pa.Table.from_pylist(_stage(batch, staged, f"{name}-{count:05d}"), schema=SCHEMA))
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


class _Decoded(NamedTuple):
    pixels: np.ndarray  # resized, uint8
    small: Image.Image  # what near-duplicates are found by


_Judged = tuple[dict, _Decoded | None]  # the fields of Found, and what is staged of a decoded image


def _batches(judged: Iterator[_Judged]) -> Iterator[list[_Judged]]:
    for first in judged:
        batch, held = [first], 0
        for one in judged:
            batch.append(one)
            held += one[1].pixels.nbytes if one[1] else 0
            if len(batch) >= PART or held >= staging.BATCH_BYTES:
                break
        yield batch


def _stage(batch: list[_Judged], staged: Folder, name: str) -> list[dict]:
    decoded = sorted(((row, image) for row, image in batch if image), key=lambda pair: pair[0]["id"])
    if decoded:
        offsets = staging.write(staged, f"{name}.pixels", [image.pixels for _, image in decoded])
        staging.write(staged, f"{name}.thumbs", [near_duplicates.thumb(image.small) for _, image in decoded])
        hashes = near_duplicates.perceptual_hashes([image.small for _, image in decoded])
        for rank, (row, _) in enumerate(decoded):
            row |= {"file": name, "rank": rank, "offset": int(offsets[rank]), "hash": int(hashes[rank])}
    return [row for row, _ in batch]


def _one(raw: Raw, config: DataConfig) -> _Judged:
    row = vars(Found(raw.path, raw.provenance, raw.label)).copy()
    if config.split.given:
        row["given"] = split.GIVEN_AS.get(raw.path.split("/")[0].lower())
    try:
        decoded = _open(raw, config.image_size)
    except images.Unreadable as error:
        return row | {"reason": error.reason, "detail": error.detail}, None
    image = images.square(decoded.image, config.image_size, config.resize)
    small = image.resize((near_duplicates.HASH_SIDE, near_duplicates.HASH_SIDE), Image.Resampling.BOX)
    row |= {
        "id": _id_of(raw, decoded, config.image_size),
        "width": decoded.width,
        "height": decoded.height,
        "format": decoded.format,
        "note": _note(raw.path, decoded.format),
        "channels": 1 if image.mode == "L" else 3,
    }
    row["reason"], row["detail"] = _objection(row, decoded, small, config)
    return row, _Decoded(images.pixels(image, row["channels"]), small)


def _open(raw: Raw, size: int) -> images.Decoded:
    if isinstance(raw.content, images.Unreadable):
        raise raw.content
    if isinstance(raw.content, bytes):
        return images.decode(raw.content, size)
    image = images.from_array(raw.content)
    return images.Decoded(image, image.width, image.height, "array")


def _id_of(raw: Raw, decoded: images.Decoded, size: int) -> str:
    if decoded.format == "JPEG" and size > images.ID_SIDE and min(decoded.width, decoded.height) >= 2 * images.ID_SIDE:
        assert isinstance(raw.content, bytes), "a JPEG is a file"
        decoded = images.decode(raw.content)
    shape = (decoded.height, decoded.width, 1 if decoded.image.mode == "L" else 3)
    digest = hashlib.sha256(repr(shape).encode())
    digest.update(decoded.image.tobytes())
    return digest.hexdigest()[:32]


def _objection(row: dict, decoded: images.Decoded, small: Image.Image, config: DataConfig) -> tuple[str | None, str]:
    if row["label"] is None:
        return "no class", "data.label_from finds no label for it"
    if config.split.given and row["given"] is None:
        return "no split", "lies in none of the folders train, val and test"
    if min(decoded.width, decoded.height) < config.smallest:
        return "too small", f"{decoded.width} × {decoded.height} pixels"
    if _is_flat(small) and _is_flat(decoded.image):  # the first look is cheap, and may see only the middle
        return "single colour", f"every pixel is {decoded.image.getpixel((0, 0))}"
    return None, ""


def _is_flat(image: Image.Image) -> bool:
    extrema = image.getextrema()
    return all(low == high for low, high in (extrema if isinstance(extrema[0], tuple) else [extrema]))


def _note(path: str, kind: str) -> str:
    suffix = path[path.rfind(".") :].lower() if "." in path.rsplit("/", 1)[-1] else ""
    named = Image.registered_extensions().get(suffix)
    return f"named {suffix}, is {kind}" if named and kind not in (named, "array", "MPO") else ""
