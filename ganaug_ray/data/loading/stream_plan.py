"""Plans what a rank reads of a streamed epoch, and reads it; imports no torch, so that reading processes start quickly.

An epoch is one sequence of rows: the shards in random order, a few of them at a time as a window whose rows are
shuffled, and at the end as many of its first rows again as fill it up to whole global batches. Each rank takes a
contiguous part of it. So no row is dropped, all ranks step equally, and what a rank reads is a function of (key, epoch)
and the number of ranks. As rows are stored in the order of a hash of their content, every shard is a random sample.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ganaug_ray.core import rng
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store

WINDOW_SHARDS = 4  # shards whose rows are shuffled together


ImageColumns = dict[str, np.ndarray]
"""The columns image, uint8 [N, H, W, C], and label, int64 [N]."""


@dataclass(frozen=True)
class ShardPiece:
    """Rows that are read at once, from one window of shards.

    Attributes:
        shards: numbers of the window's shards.
        rows: numbers of rows within these shards put one behind the other, int64, in the order in which they are used.
    """

    shards: tuple[int, ...]
    rows: np.ndarray


def plan_epoch(
    rows: np.ndarray, number: int, key: tuple[rng.Key, ...], multiple: int, rank: int, world: int
) -> list[ShardPiece]:
    """Plan what a rank reads in an epoch.

    Args:
        rows: number of rows of each shard, int64.
        number: of the epoch, from zero.
        key: of the order; equal keys give equal ones.
        multiple: the epoch is filled up to a multiple of this many rows; itself a multiple of the number of ranks.
        rank: number of the rank that reads.
        world: number of ranks.

    Returns:
        What to read, in order; equally many rows for every rank.

    >>> [sum(len(piece.rows) for piece in plan_epoch(np.array([3, 2]), 0, (0,), 4, rank, 2)) for rank in range(2)]
    [4, 4]
    """
    order = rng.draw_permutation(len(rows), *key, "epoch", number)
    windows = [order[first : first + WINDOW_SHARDS] for first in range(0, len(rows), WINDOW_SHARDS)]
    row_count = int(rows.sum())
    length = -(-row_count // multiple) * multiple
    share = slice(length * rank // world, length * (rank + 1) // world)
    pieces = []
    start = 0
    while start < length:  # more than once around where the data are fewer than a batch
        for first, window in enumerate(windows):
            n = int(rows[window].sum())
            low = max(share.start - start, 0)
            high = min(share.stop, length) - start
            if low < n and high > low:  # of the other ranks' windows nothing is shuffled: all have many rows
                shuffled = rng.draw_permutation(n, *key, "epoch", number, "window", first)
                pieces.append(ShardPiece(tuple(window.tolist()), shuffled[low:high]))
            start += n
    return pieces


def read_piece(folder: str, names: list[str], piece: ShardPiece) -> ImageColumns:
    """Read the images and labels of a piece.

    Args:
        folder: path or URI of the store.
        names: of all its shards' files, in order.
        piece: the rows.

    Returns:
        ``image``, uint8 [N, H, W, C], and ``label``, int64 [N].
    """
    tables = [Folder.from_uri(folder).read_table(names[shard], ["image", "label"]) for shard in piece.shards]
    ends = np.cumsum([len(table) for table in tables])
    which = np.searchsorted(ends, piece.rows, side="right")
    images = None
    labels = np.empty(len(piece.rows), np.int64)
    for number, table in enumerate(tables):
        piece_rows = np.flatnonzero(which == number)
        shard_rows = piece.rows[piece_rows] - (ends[number] - len(table))
        pixels = _read_images(table, shard_rows)
        if images is None:
            images = np.empty((len(piece.rows), *pixels.shape[1:]), np.uint8)
        images[piece_rows] = pixels
        labels[piece_rows] = table["label"].to_numpy()[shard_rows]
    assert images is not None, "a piece has a shard"
    return {"image": images, "label": labels}


def _read_images(table: pa.Table, rows: np.ndarray) -> np.ndarray:
    """The images of some rows of a shard, of which no others are decoded."""
    if image_store.is_encoded(table.schema):
        return image_store.decode_images(table.take(rows))
    return image_store.decode_images(table)[rows]
