"""The streaming loader, for data that do not fit in memory: Ray Data reads the shards ahead of the training.

What it reads is cut to batches here, not by its ``iter_torch_batches``, whose batches all have one size: how many real
rows a step takes is up to the arm's strategy, and a resume begins inside of what is read at a time. It is not done for
speed: over the same plan it was the slower one in the median (docs/results/benchmarks.md, stream-same-plan).
"""

import atexit
import functools
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import ray
import torch
from ray.util.placement_group import NODE_ID_LABEL_KEY

from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading import image_store, tensors
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.stream_plan import ImageColumns, ShardPiece, plan_epoch, read_piece

MIN_PIECES_PER_READ = (
    64  # windows that one execution of Ray Data reads at least: to start one costs as much as several windows
)

PieceReader = Callable[[Callable[[ShardPiece], ImageColumns], list[ShardPiece]], Iterator[ImageColumns]]


def plan_reading(function: Callable[[ShardPiece], ImageColumns], pieces: list[ShardPiece]) -> ray.data.Dataset:
    """Return a data set of Ray whose blocks are what a function returns of pieces, read in tasks on this node.

    Args:
        function: reads a piece.
        pieces: in the order in which they are used, which is that of the blocks.
    """

    def read_row(row: Any) -> Any:
        return function(pieces[int(row["item"][0])])

    numbers = ray.data.from_items(list(range(len(pieces))), override_num_blocks=len(pieces))
    numbers.context.execution_options.preserve_order = True
    numbers.context.enable_progress_bars = False
    return numbers.map_batches(
        read_row,
        batch_size=1,
        # Training may hold every CPU of the cluster: reading must not wait for one of them.
        num_cpus=0,
        # Elsewhere, decoded pixels would cross the network, several times as many bytes as the files that are read.
        label_selector={NODE_ID_LABEL_KEY: ray.get_runtime_context().get_node_id()},
        compute=ray.data.TaskPoolStrategy(size=2),
    )


def read_ahead(function: Callable[[ShardPiece], ImageColumns], pieces: list[ShardPiece]) -> Iterator[ImageColumns]:
    """Call a function on pieces ahead of their use, as tasks of Ray Data on this node.

    Args:
        function: reads a piece.
        pieces: in the order in which they are used.

    Returns:
        An iterator over what the function returned, in this order.
    """
    rows: Any = plan_reading(function, pieces)
    return iter(rows.iter_batches(batch_size=None, prefetch_batches=1))


def _read_endlessly(
    shards: image_store.ShardList,
    multiple: int,
    place: Place,
    key: tuple[rng.Key, ...],
    reader: PieceReader,
    number: int,
    skip: int,
) -> Generator[ImageColumns]:
    """Yield what a rank reads from an epoch on, without the first rows of it."""
    function = functools.partial(read_piece, str(shards.folder), shards.names)
    while True:
        pieces: list[ShardPiece] = []
        while len(pieces) < MIN_PIECES_PER_READ:
            pieces += plan_epoch(shards.row_counts, number, key, multiple, place.rank, place.world_size)
            number += 1
        while skip:
            first = pieces.pop(0)
            rows_left = first.rows[skip:]
            skip = max(0, skip - len(first.rows))
            if len(rows_left):
                pieces.insert(0, ShardPiece(first.shards, rows_left))
        yield from reader(function, pieces)


def _close_at_exit(rows: Generator[ImageColumns]) -> Callable[[], None]:
    """Return what ends the reading. At exit it comes before Ray's own end, after which threads wait for each other."""

    def end_reading() -> None:
        atexit.unregister(end_reading)
        rows.close()

    return atexit.register(end_reading)


class StreamFeed(BatchFeed):
    """Batches of a store on disk, in order of steps; a step other than the next one starts the reading anew there.

    Args:
        shards: the store.
        count_rows_used: number of steps -> rows that these use; its differences are the sizes of the batches.
        multiple: an epoch is filled up to a multiple of this many rows; itself a multiple of the number of ranks.
        place: this rank.
        key: of the order; equal keys give equal ones.
        reader: calls a function on pieces and yields the results in order.
    """

    def __init__(
        self,
        shards: image_store.ShardList,
        count_rows_used: Callable[[int], int],
        multiple: int,
        place: Place,
        key: tuple[rng.Key, ...],
        reader: PieceReader = read_ahead,
    ) -> None:
        assert multiple % place.world_size == 0, "each rank takes an equal part of an epoch"
        self._shards = shards
        self._count_rows_used = count_rows_used
        self._multiple = multiple
        self._place = place
        self._key = key
        self._reader = reader
        self._next = -1
        self._rows: Generator[ImageColumns] = (none for none in list[ImageColumns]())
        self._end_reading: Callable[[], object] = self._rows.close
        self._held: list[ImageColumns] = []

    def count_rows(self, step: int) -> int:
        """Return the number of rows of a step's global batch.

        Args:
            step: steps count from zero.

        Returns:
            The rows of all ranks together.
        """
        return self._count_rows_used(step + 1) - self._count_rows_used(step)

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch."""
        if step != self._next:
            self._start_reading(step)
        self._next = step + 1
        total = self.count_rows(step)
        rank_rows = self._place.slice_rows(total)
        images, labels = self._take_rows(rank_rows.stop - rank_rows.start)
        return Batch(
            tensors.to_network(self._place.move_to_device(torch.from_numpy(images))),
            self._place.move_to_device(torch.from_numpy(labels)),
            np.arange(rank_rows.start, rank_rows.stop),
            total,
        )

    def _start_reading(self, step: int) -> None:
        used = sum(self._count_rank_rows(self.count_rows(before)) for before in range(step))
        epoch_rows = -(-len(self._shards) // self._multiple) * self._multiple // self._place.world_size
        number, skip = divmod(used, epoch_rows)
        self._end_reading()
        self._rows = _read_endlessly(self._shards, self._multiple, self._place, self._key, self._reader, number, skip)
        self._end_reading = weakref.finalize(self, _close_at_exit(self._rows))
        self._held = []

    def _count_rank_rows(self, total: int) -> int:
        rank_rows = self._place.slice_rows(total)
        return rank_rows.stop - rank_rows.start

    def _take_rows(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        while sum(len(columns["label"]) for columns in self._held) < n or not self._held:
            self._held.append(next(self._rows))
        images = np.concatenate([held["image"][:n] for held in self._held])[:n]
        labels = np.concatenate([held["label"][:n] for held in self._held])[:n]
        last = self._held[-1]
        leftover_rows = sum(len(held["label"]) for held in self._held) - n
        cut = len(last["label"]) - leftover_rows
        self._held = [{name: values[cut:] for name, values in last.items()}]
        return images, labels
