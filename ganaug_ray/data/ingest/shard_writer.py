"""Gathers staged pixels into the shards of the store, and into thumbnails for tables."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from ganaug_ray.config import DataConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images
from ganaug_ray.data.ingest import near_duplicates, split, staging
from ganaug_ray.data.loading import image_store

MAX_THUMBNAILS = 200  # images that get a thumbnail
THUMBNAIL_SIDE_PX = 96


@dataclass(frozen=True)
class StagedShard:
    """A shard to write: its images, as rows of ImageRecord in order of id, and how they are stored."""

    split: str
    number: int
    rows: pa.Table
    labels: np.ndarray
    size: int
    channels: int
    encoding: image_store.Encoding


def plan_shards(usable: pa.Table, classes: list[str], channels: int, config: DataConfig) -> Iterator[StagedShard]:
    """Divide the usable images, in order of id, into the shards of each split; unlabelled ones are a split, too."""
    index = {name: number for number, name in enumerate(classes)}
    max_rows = image_store.count_shard_rows(config.image_size**2 * channels)
    for name in (*split.SPLITS, split.UNLABELLED):
        split_rows = usable.filter(pc.equal(usable["split"], name))
        for number, start in enumerate(range(0, len(split_rows), max_rows)):
            rows = split_rows.slice(start, max_rows).combine_chunks()
            if name == split.UNLABELLED:
                labels = np.full(len(rows), image_store.NO_LABEL)
            else:
                labels = np.array([index[label] for label in rows["label"].to_pylist()])
            yield StagedShard(name, number, rows, labels, config.image_size, channels, config.store)


def write_shard(staged: Folder, out: Folder, shard: StagedShard) -> np.ndarray:
    """Write a shard; return (number, sum, sum of squares) of its pixels by channel, zeros unless it is of train."""
    pixels = read_pixels(staged, shard.rows, shard.size, shard.channels)
    rows = image_store.LabelledImages(
        images=pixels,
        labels=shard.labels,
        ids=shard.rows["id"].to_pylist(),
        paths=shard.rows["path"].to_pylist(),
        provenance=shard.rows["provenance"].to_pylist(),
    )
    image_store.write_shard(out / shard.split, shard.number, rows, "real", shard.encoding)
    return _sum_pixels(pixels) if shard.split == "train" else np.zeros((shard.channels, 3))


def _sum_pixels(pixels: np.ndarray) -> np.ndarray:
    levels = np.arange(256, dtype=np.float64)
    tall = images.from_array(pixels.reshape(-1, *pixels.shape[2:]))  # Pillow counts faster than numpy does
    counts = np.array(tall.histogram(), np.float64).reshape(-1, 256)
    return np.stack([counts.sum(1), counts @ levels, counts @ levels**2], 1)


def read_pixels(staged: Folder, rows: pa.Table, size: int, channels: int) -> np.ndarray:
    """Read the staged pixels of rows of ImageRecord, all with these channels: uint8 [N, size, size, channels]."""
    files, offsets, native = (rows[name].to_numpy() for name in ("file", "offset", "channels"))
    pixels = np.empty((len(rows), size, size, channels), np.uint8)
    for file, file_rows in group_by_file(files, offsets):
        spans = ((int(offsets[row]), size * size * int(native[row])) for row in file_rows)
        for row, content in zip(file_rows, staging.read_spans(staged, f"{file}.pixels", spans), strict=True):
            image = np.frombuffer(content, np.uint8).reshape(size, size, -1)
            has_channels = image.shape[2] == channels
            pixels[row] = image if has_channels else images.to_pixels(images.from_array(image), channels)
    return pixels


class StagedImages:
    """Staged images that are read when they are indexed: uint8 [N, size, size, channels].

    One after another they are read a shard's worth at a time, of which one is held.

    Args:
        staged: where the pixels are.
        rows: of audit.ImageRecord, by id.
        size: side, in pixels.
        channels: 1 or 3.
    """

    def __init__(self, staged: Folder, rows: pa.Table, size: int, channels: int) -> None:
        self._staged = staged
        self._rows = rows
        self._size = size
        self._channels = channels
        self._window = slice(0, 0)
        self._held = np.empty((0, size, size, channels), np.uint8)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: slice | np.ndarray) -> np.ndarray:
        """Return the images of a stretch of rows, or of some rows."""
        if isinstance(which, np.ndarray):
            return read_pixels(self._staged, self._rows.take(which), self._size, self._channels)
        start, stop, _ = which.indices(len(self))
        if start < self._window.start or stop > self._window.stop:
            n = max(stop - start, image_store.count_shard_rows(self._size**2 * self._channels))
            self._window = slice(start, min(start + n, len(self)))
            self._held = read_pixels(self._staged, self._rows.slice(start, n), self._size, self._channels)
        return self._held[start - self._window.start : stop - self._window.start]


def read_thumbnails(staged: Folder, rows: pa.Table) -> np.ndarray:
    """Read the staged thumbnails of rows of ImageRecord: uint8 [N, bytes]."""
    files, ranks = (rows[name].to_numpy() for name in ("file", "rank"))
    thumbnails_NB = np.empty((len(rows), near_duplicates.THUMB_BYTES), np.uint8)
    for file, file_rows in group_by_file(files, ranks):
        spans = ((int(ranks[row]) * near_duplicates.THUMB_BYTES, near_duplicates.THUMB_BYTES) for row in file_rows)
        for row, content in zip(file_rows, staging.read_spans(staged, f"{file}.thumbs", spans), strict=True):
            thumbnails_NB[row] = np.frombuffer(content, np.uint8)
    return thumbnails_NB


def group_by_file(files: np.ndarray, offsets: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Group rows by staged file; yield (file, its rows in order of offset)."""
    order = np.lexsort((offsets, files))
    for file_rows in np.split(order, np.flatnonzero(files[order][1:] != files[order][:-1]) + 1):
        if len(file_rows):
            yield str(files[file_rows[0]]), file_rows


def encode_thumbnails(rows: pa.Table, staged: Folder, size: int) -> list[bytes]:
    """Return a small PNG picture of each row of ImageRecord."""
    thumbnails = []
    for row, channels in enumerate(rows["channels"].to_pylist()):
        pixels = read_pixels(staged, rows.slice(row, 1), size, channels)[0]
        thumbnails.append(_encode_thumbnail(pixels))
    return thumbnails


def _encode_thumbnail(pixels: np.ndarray) -> bytes:
    image = images.from_array(pixels)
    image.thumbnail((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), Image.Resampling.HAMMING)
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()
