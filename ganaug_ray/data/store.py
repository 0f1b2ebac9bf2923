"""Image rows at rest: Parquet shards, the same for real and synthetic images.

| column     | type                 | meaning                                                        |
|------------|----------------------|----------------------------------------------------------------|
| image      | fixed-size binary    | uint8 [H, W, C], row-major; the shape is in the schema metadata |
| label      | int64                | index into the sorted class names                              |
| id         | string               | hash of the decoded pixels                                     |
| path       | string               | where it was found; empty for synthetic rows                   |
| provenance | string               | the source, or the generator's hash, seed and index            |
| source     | string               | real or synthetic                                              |
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ganaug_ray.storage import Folder

ROWS_PER_SHARD = 4096
SHAPE_KEY = b"image_shape"


@dataclass(frozen=True)
class Images:
    """Rows in memory: images uint8 [N, H, W, C], labels int64 [N], and a string a row for the rest."""

    images: np.ndarray
    labels: np.ndarray
    ids: list[str]
    paths: list[str]
    provenance: list[str]

    def __len__(self) -> int:
        return len(self.labels)


def pixel_id(image: np.ndarray) -> str:
    """Hash of an image's size and pixels, 32 hex digits: equal content has equal ids."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def to_table(rows: Images, source: str) -> pa.Table:
    """Return the rows as a table of the layout above."""
    shape = rows.images.shape[1:]
    flat = np.ascontiguousarray(rows.images).reshape(len(rows), -1)
    kind = pa.binary(flat.shape[1])
    column = pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(flat)])
    field = pa.field("image", kind, metadata={SHAPE_KEY: ",".join(map(str, shape)).encode()})
    columns = {
        "label": pa.array(rows.labels, pa.int64()),
        "id": pa.array(rows.ids, pa.string()),
        "path": pa.array(rows.paths, pa.string()),
        "provenance": pa.array(rows.provenance, pa.string()),
        "source": pa.array([source] * len(rows), pa.string()),
    }
    schema = pa.schema([field, *(pa.field(name, array.type) for name, array in columns.items())])
    return pa.Table.from_arrays([column, *columns.values()], schema=schema)


def from_table(table: pa.Table) -> Images:
    """Return a table's rows; the images are views of its memory where it is in one piece."""
    field = table.schema.field("image")
    shape = tuple(int(side) for side in field.metadata[SHAPE_KEY].split(b","))
    column = table.column("image").combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    width = int(np.prod(shape))
    flat = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width : (column.offset + len(column)) * width]
    return Images(
        images=flat.reshape(-1, *shape),
        labels=table.column("label").to_numpy(),
        ids=table.column("id").to_pylist(),
        paths=table.column("path").to_pylist(),
        provenance=table.column("provenance").to_pylist(),
    )


def write(folder: Folder, rows: Images, source: str) -> None:
    """Write rows as shards part-00000.parquet, part-00001.parquet, ..., in order."""
    table = to_table(rows, source)
    for shard, start in enumerate(range(0, len(rows), ROWS_PER_SHARD)):
        folder.write_table(f"part-{shard:05d}.parquet", table.slice(start, ROWS_PER_SHARD))


def read(folder: Folder) -> Images:
    """Read all shards of a folder, in order. Raises FileNotFoundError where there is none."""
    shards = [name for name in folder.files(".parquet") if name.startswith("part-")]
    if not shards:
        raise FileNotFoundError(f"{folder}: no image shards")
    return from_table(pa.concat_tables([folder.read_table(name) for name in shards]))
