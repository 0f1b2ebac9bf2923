"""Reads and writes image stores: folders of Parquet shards, of one layout for real and synthetic images.

| column     | type                 | meaning                                                        |
|------------|----------------------|----------------------------------------------------------------|
| image      | binary               | uint8 [H, W, C] or a PNG of it; shape in the schema metadata    |
| label      | int64                | index into the sorted class names; -1: not known               |
| id         | string               | hash of the decoded pixels                                     |
| path       | string               | where it was found; empty for synthetic rows                   |
| provenance | string               | the source, or the generator's hash, seed and index            |
| source     | string               | real or synthetic                                              |
"""

import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images

MAX_ROWS_PER_SHARD = 4096
MAX_SHARD_BYTES = (
    16 * 1024**2
)  # of pixels: enough shards for parallel reads, each large enough to be read at full speed
NO_LABEL = -1
MAX_OPEN_SHARDS = 16  # shards that are looked at side by side
SHAPE_KEY = b"image_shape"

Encoding = Literal["raw", "encoded"]
"""Pixels as they are, or losslessly as PNG: smaller, and decoded at each read."""


@dataclass(frozen=True)
class LabelledImages:
    """Images in memory with their labels; the attributes are columns of a store.

    Attributes:
        images: uint8 [N, H, W, C].
        labels: int64 [N]; -1: not known.
        ids: hash of the pixels of each.
        paths: where each was found; empty for synthetic images.
        provenance: the source of each, or the generator's hash, seed and index.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: list[str]
    paths: list[str]
    provenance: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "LabelledImages":
        """Return some of the images, copied.

        Args:
            rows: their numbers, int64 [M].
        """
        return LabelledImages(
            images=self.images[rows],
            labels=self.labels[rows],
            ids=[self.ids[row] for row in rows],
            paths=[self.paths[row] for row in rows],
            provenance=[self.provenance[row] for row in rows],
        )


def hash_pixels(image: np.ndarray) -> str:
    """Hash an image's shape and pixels to 32 hex digits, the image's id.

    Args:
        image: uint8 [H, W, C].

    >>> hash_pixels(np.zeros((2, 2, 1), np.uint8)) == hash_pixels(np.zeros((1, 4, 1), np.uint8))
    False
    """
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def count_shard_rows(row_bytes: int) -> int:
    """Return how many rows to put into a shard: 16 MiB of pixels, but at most 4,096 rows and at least one.

    Args:
        row_bytes: pixel bytes of a row, H * W * C.

    >>> count_shard_rows(32 * 32 * 3), count_shard_rows(1024 * 1024 * 3)
    (4096, 5)
    """
    return max(1, min(MAX_ROWS_PER_SHARD, MAX_SHARD_BYTES // row_bytes))


def to_table(rows: LabelledImages, source: str, encoding: Encoding = "raw") -> pa.Table:
    """Convert images in memory to a table of the layout above.

    Args:
        rows: the images.
        source: ``real`` or ``synthetic``, for all of them.
        encoding: ``raw`` pixels, or ``encoded`` as PNG.
    """
    shape = rows.images.shape[1:]
    if encoding == "raw":
        flat = np.ascontiguousarray(rows.images).reshape(len(rows), -1)
        kind = pa.binary(flat.shape[1])
        column = pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(flat)])
    else:
        column = pa.array([images.to_png(image) for image in rows.images], pa.binary())
    field = pa.field("image", column.type, metadata={SHAPE_KEY: ",".join(map(str, shape)).encode()})
    columns = {
        "label": pa.array(rows.labels, pa.int64()),
        "id": pa.array(rows.ids, pa.string()),
        "path": pa.array(rows.paths, pa.string()),
        "provenance": pa.array(rows.provenance, pa.string()),
        "source": pa.array([source] * len(rows), pa.string()),
    }
    schema = pa.schema([field, *(pa.field(name, array.type) for name, array in columns.items())])
    return pa.Table.from_arrays([column, *columns.values()], schema=schema)


def from_table(table: pa.Table) -> LabelledImages:
    """Convert a table of the layout above to images in memory.

    Raw pixels are not copied where the table's memory is in one piece, and cannot be written to then.

    Args:
        table: of N rows, with raw pixels or PNG images.

    Returns:
        The N images with their labels, in the order of the table.
    """
    return LabelledImages(
        images=decode_images(table),
        labels=table.column("label").to_numpy(),
        ids=table.column("id").to_pylist(),
        paths=table.column("path").to_pylist(),
        provenance=table.column("provenance").to_pylist(),
    )


def decode_images(table: pa.Table) -> np.ndarray:
    """Return the images of a table of the layout above.

    Args:
        table: of N rows, with raw pixels or PNG images.

    Returns:
        uint8 [N, H, W, C]; see ``from_table`` on writing to it.
    """
    shape = _read_shape(table.schema)
    if is_encoded(table.schema):
        images = np.empty((len(table), *shape), np.uint8)
        for row, png in enumerate(table.column("image")):
            image = Image.open(io.BytesIO(png.as_py()), formats=["PNG"])
            images[row] = np.asarray(image).reshape(shape)
        return images
    column = table.column("image").combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    width = int(np.prod(shape))
    flat = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width : (column.offset + len(column)) * width]
    return flat.reshape(-1, *shape)


def is_encoded(schema: pa.Schema) -> bool:
    """Return whether a table's images are stored as PNG, rather than as raw pixels.

    Args:
        schema: of the layout above.

    Returns:
        True for PNG, False for raw pixels.
    """
    return schema.field("image").type == pa.binary()


def _read_shape(schema: pa.Schema) -> tuple[int, ...]:
    return tuple(int(side) for side in schema.field("image").metadata[SHAPE_KEY].split(b","))


def write_images(folder: Folder, rows: LabelledImages, source: str) -> None:
    """Write images as the shards part-00000.parquet, part-00001.parquet, ..., in order, with raw pixels.

    Args:
        folder: of the store.
        rows: the images.
        source: ``real`` or ``synthetic``, for all of them.
    """
    max_rows = count_shard_rows(int(np.prod(rows.images.shape[1:])))
    for number, start in enumerate(range(0, len(rows), max_rows)):
        part = slice(start, start + max_rows)
        shard_images = LabelledImages(
            rows.images[part], rows.labels[part], rows.ids[part], rows.paths[part], rows.provenance[part]
        )
        write_shard(folder, number, shard_images, source)


def write_shard(folder: Folder, number: int, rows: LabelledImages, source: str, encoding: Encoding = "raw") -> None:
    """Write images as one shard of a store.

    Args:
        folder: of the store.
        number: of the shard; it is in the file's name.
        rows: the images.
        source: ``real`` or ``synthetic``, for all of them.
        encoding: ``raw`` pixels, or ``encoded`` as PNG.
    """
    folder.write_table(f"part-{number:05d}.parquet", to_table(rows, source, encoding), bulky="image")


@dataclass(frozen=True)
class ShardList:
    """The shards of a store on disk; its length is the number of images.

    Attributes:
        folder: of the store.
        names: of the shards' files, in order.
        row_counts: rows of each shard, int64.
        pixel_bytes: bytes that the decoded pixels of all rows take in memory.
    """

    folder: Folder
    names: list[str]
    row_counts: np.ndarray
    pixel_bytes: int

    def __len__(self) -> int:
        return int(self.row_counts.sum())


def list_shards(folder: Folder) -> ShardList:
    """List the shards of a store and their sizes, without reading its images.

    Args:
        folder: of the store.

    Returns:
        The shards in the order of their names; one at least.

    Raises:
        FileNotFoundError: the folder has no shards.
    """
    names = [name for name in folder.list_files(".parquet") if name.startswith("part-")]
    if not names:
        raise FileNotFoundError(f"{folder}: no image shards")

    def read_shard_size(name: str) -> tuple[int, int]:
        with folder.fs.open_input_file(f"{folder.path}/{name}") as stream:
            file = pq.ParquetFile(stream)
            return file.metadata.num_rows, int(np.prod(_read_shape(file.schema_arrow)))

    with ThreadPoolExecutor(MAX_OPEN_SHARDS) as threads:  # on an object store each look waits for an answer or two
        rows, widths = zip(*threads.map(read_shard_size, names), strict=True)
    return ShardList(folder, names, np.array(rows), sum(rows) * widths[-1])


def iterate_shards(folder: Folder) -> Iterator[LabelledImages]:
    """Yield the images of each shard of a store, in order; a shard is in memory at a time.

    Args:
        folder: of the store.

    Raises:
        FileNotFoundError: the folder has no shards.
    """
    for name in list_shards(folder).names:
        yield from_table(folder.read_table(name))


def read_images(folder: Folder, max_rows: int | None = None) -> LabelledImages:
    """Read the images of a store into memory, in order.

    Args:
        folder: of the store.
        max_rows: number of images that are read, from the first on; None: all.

    Raises:
        FileNotFoundError: the folder has no shards.
    """
    tables: list[pa.Table] = []
    for name in list_shards(folder).names:
        tables.append(folder.read_table(name))
        if max_rows is not None and sum(map(len, tables)) >= max_rows:
            break
    return from_table(pa.concat_tables(tables).slice(0, max_rows))
