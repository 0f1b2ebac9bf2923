"""The stream loader: for data that do not fit in a worker's memory, Ray Data reads the shards ahead of the training."""

import atexit
import functools
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import ray
import torch

from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading import image_store, tensors
from ganaug_ray.data.loading.batch import Batch, Feed
from ganaug_ray.data.loading.stream_plan import Piece, Rows, epoch, read

PIECES = 64  # windows that one execution of Ray Data reads at least: to start one costs as much as several windows

Reader = Callable[[Callable[[Piece], Rows], list[Piece]], Iterator[Rows]]


def with_ray_data(function: Callable[[Piece], Rows], pieces: list[Piece]) -> Iterator[Rows]:
    """Read pieces ahead, in order, as tasks of Ray Data."""

    def one(row: Any) -> Any:
        return function(pieces[int(row["item"][0])])

    numbers = ray.data.from_items(list(range(len(pieces))), override_num_blocks=len(pieces))
    numbers.context.execution_options.preserve_order = True
    numbers.context.enable_progress_bars = False
    # Training may hold every CPU of the cluster: reading must not wait for one of them.
    rows: Any = numbers.map_batches(one, batch_size=1, num_cpus=0, compute=ray.data.TaskPoolStrategy(size=2))
    return iter(rows.iter_batches(batch_size=None, prefetch_batches=1))


def _endless(
    shards: image_store.Shards,
    multiple: int,
    place: Place,
    key: tuple[rng.Key, ...],
    reader: Reader,
    number: int,
    skip: int,
) -> Generator[Rows]:
    """Yield what a rank reads from an epoch on, without so many rows at its beginning."""
    function = functools.partial(read, str(shards.folder), shards.names)
    while True:
        pieces: list[Piece] = []
        while len(pieces) < PIECES:
            pieces += epoch(shards.rows, number, key, multiple, place.rank, place.world)
            number += 1
        while skip:
            first = pieces.pop(0)
            rest, skip = first.rows[skip:], max(0, skip - len(first.rows))
            pieces = [Piece(first.shards, rest), *pieces] if len(rest) else pieces
        yield from reader(function, pieces)


def _closing(rows: Generator[Rows]) -> Callable[[], None]:
    """Return what ends the reading. At exit it comes before Ray's own end, after which threads wait for each other."""

    def end() -> None:
        atexit.unregister(end)
        rows.close()

    return atexit.register(end)


class Stream(Feed):
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
        shards: image_store.Shards,
        upto: Callable[[int], int],
        multiple: int,
        place: Place,
        key: tuple[rng.Key, ...],
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
        self._end_reading = weakref.finalize(self, _closing(self._rows))
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
