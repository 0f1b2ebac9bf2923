"""The stream loader: for data that do not fit in a worker's memory, Ray Data reads the shards ahead of the training.

An epoch is one sequence of rows: the shards in an order of its own, a few of them at a time as a window whose rows are
shuffled, and at the end as many of its first rows again as fill it up to whole global batches. Each rank takes a
contiguous part of it. So no row is dropped, all ranks step equally, and what a rank sees is a function of (key, epoch)
and the number of ranks. As rows are stored in the order of a hash of their content, every shard is a random sample.
"""

import functools
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch

from ganaug_ray import randomness
from ganaug_ray.data import store, tensors
from ganaug_ray.data.batches import Batch
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder

WINDOW = 4  # shards whose rows are shuffled together
PIECES = 64  # windows that one execution of Ray Data reads at least: to start one costs as much as several windows


@dataclass(frozen=True)
class Piece:
    """Rows to read: of these shards, one behind the other, the rows with these numbers, in this order."""

    shards: tuple[int, ...]
    rows: np.ndarray


def epoch(rows: np.ndarray, number: int, key: tuple[randomness.Key, ...], multiple: int, place: Place) -> list[Piece]:
    """Return what a rank reads in an epoch, in order.

    Args:
        rows: of each shard.
        number: of the epoch.
        key: of the order.
        multiple: of rows to which the epoch is filled up; a multiple of the number of ranks.
        place: the rank.
    """
    order = randomness.permutation(len(rows), *key, "epoch", number)
    windows = [tuple(int(shard) for shard in order[first : first + WINDOW]) for first in range(0, len(rows), WINDOW)]
    shuffled = []
    for first, window in enumerate(windows):
        n = int(rows[list(window)].sum())
        shuffled.append(Piece(window, randomness.permutation(n, *key, "epoch", number, "window", first)))
    whole = int(rows.sum())
    length = -(-whole // multiple) * multiple
    share = place.share(length)
    pieces, start = [], 0
    while start < length:  # more than once around where the data are fewer than a batch
        for piece in shuffled:
            low, high = max(share.start - start, 0), min(share.stop, length) - start
            if low < len(piece.rows) and high > low:
                pieces.append(Piece(piece.shards, piece.rows[low:high]))
            start += len(piece.rows)
    return pieces


def read(folder: str, names: list[str], piece: Piece) -> "Rows":
    """Read a piece: images uint8 [N, H, W, C] and labels int64 [N]."""
    tables = [Folder.at(folder).read_table(names[shard], ["image", "label"]) for shard in piece.shards]
    ends = np.cumsum([len(table) for table in tables])
    which = np.searchsorted(ends, piece.rows, side="right")
    images, labels = None, np.empty(len(piece.rows), np.int64)
    for number, table in enumerate(tables):
        mine = np.flatnonzero(which == number)
        local = piece.rows[mine] - (ends[number] - len(table))
        if store.is_encoded(table.schema):  # only the wanted rows are decoded
            table, local = table.take(local), np.arange(len(local))
        pixels = store.pixels_of(table)
        images = np.empty((len(piece.rows), *pixels.shape[1:]), np.uint8) if images is None else images
        images[mine] = pixels[local]
        labels[mine] = table["label"].to_numpy()[local]
    assert images is not None, "a piece has a shard"
    return {"image": images, "label": labels}


Rows = dict[str, np.ndarray]
Reader = Callable[[Callable[[Piece], Rows], list[Piece]], Iterator[Rows]]


def with_ray_data(function: Callable[[Piece], Rows], pieces: list[Piece]) -> Iterator[Rows]:
    """Read pieces ahead, in order, as tasks of Ray Data."""

    def one(row: Any) -> Any:
        return function(pieces[int(row["item"][0])])

    numbers = ray.data.from_items(list(range(len(pieces))), override_num_blocks=len(pieces))
    numbers.context.execution_options.preserve_order = True
    numbers.context.enable_progress_bars = False
    # Training may hold every CPU of the cluster: reading must not wait for one of them.
    rows = numbers.map_batches(one, batch_size=1, num_cpus=0, concurrency=2)
    return iter(rows.iter_batches(batch_size=None, prefetch_batches=1))  # type: ignore[arg-type]


def _endless(
    shards: store.Shards,
    multiple: int,
    place: Place,
    key: tuple[randomness.Key, ...],
    reader: Reader,
    number: int,
    skip: int,
) -> Generator[Rows]:
    """Yield what a rank reads from an epoch on, without so many rows at its beginning."""
    function = functools.partial(read, str(shards.folder), shards.names)
    while True:
        pieces: list[Piece] = []
        while len(pieces) < PIECES:
            pieces += epoch(shards.rows, number, key, multiple, place)
            number += 1
        while skip:
            first = pieces.pop(0)
            rest, skip = first.rows[skip:], max(0, skip - len(first.rows))
            pieces = [Piece(first.shards, rest), *pieces] if len(rest) else pieces
        yield from reader(function, pieces)


class Stream:
    """Batches of a store on disk, step after step; another step than the next one starts the reading anew there.

    Args:
        shards: the store.
        upto: how many rows have been used after so many steps.
        multiple: of rows to which an epoch is filled up.
        place: this rank.
        key: of the order.
        reader: calls a function on pieces and gives the results in order.
    """

    def __init__(
        self,
        shards: store.Shards,
        upto: Callable[[int], int],
        multiple: int,
        place: Place,
        key: tuple[randomness.Key, ...],
        reader: Reader = with_ray_data,
    ) -> None:
        assert multiple % place.world == 0, "each rank takes an equal part of an epoch"
        self._shards, self._upto, self._multiple, self._place, self._key = shards, upto, multiple, place, key
        self._reader = reader
        self._next = -1
        self._rows: Generator[Rows] = (none for none in list[Rows]())
        self._end_reading: Callable[[], object] = self._rows.close
        self._held: list[Rows] = []

    def size(self, step: int) -> int:
        """Rows of the global batch of a step."""
        return self._upto(step + 1) - self._upto(step)

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch."""
        if step != self._next:
            self._start(step)
        self._next = step + 1
        total = self.size(step)
        mine = self._place.share(total)
        images, labels = self._take(mine.stop - mine.start)
        device = self._place.device
        return Batch(
            tensors.to_network(torch.from_numpy(images).to(device)),
            torch.from_numpy(labels).to(device),
            torch.arange(total)[mine],
            total,
        )

    def _start(self, step: int) -> None:
        used = sum(self._part(self.size(before)) for before in range(step))
        an_epoch = -(-len(self._shards) // self._multiple) * self._multiple // self._place.world
        self._end_reading()
        self._rows = _endless(
            self._shards, self._multiple, self._place, self._key, self._reader, used // an_epoch, used % an_epoch
        )
        # Also when the interpreter ends: Ray Data's threads would wait for each other then.
        self._end_reading = weakref.finalize(self, self._rows.close)
        self._held = []

    def _part(self, total: int) -> int:
        mine = self._place.share(total)
        return mine.stop - mine.start

    def _take(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        while sum(len(held["label"]) for held in self._held) < n or not self._held:
            self._held.append(next(self._rows))
        images = np.concatenate([held["image"][:n] for held in self._held])[:n]
        labels = np.concatenate([held["label"][:n] for held in self._held])[:n]
        last = self._held[-1]
        left = sum(len(held["label"]) for held in self._held) - n
        cut = len(last["label"]) - left
        self._held = [{name: values[cut:] for name, values in last.items()}]
        return images, labels
