"""Images a second of an epoch that is streamed from a store, by our loader and by Ray Data's own batches.

streamed:           our loader: Ray Data reads pieces of the plan, which are cut to batches here.
iter_torch_batches: the same pieces in the same order, read by the same tasks, cut to batches by Ray Data.
read_parquet:       the nearest to that without our plan: files in a random order, rows shuffled within a buffer of
                    as many as a piece has. The order differs, and a resume would read again what it skips.

Each side reads all rows once and ends with float tensors on the CPU. The start of an execution of Ray Data is in the
time; that of Ray and its worker processes is not. The images are noise, and lie in the page cache.
"""

from __future__ import annotations

import functools
import gc
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import torch

from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, streaming_loader, tensors
from ganaug_ray.data.loading.stream_plan import WINDOW_SHARDS, ShardPiece, plan_epoch, read_piece
from tests.benchmarks.pairs import Benchmark, Pair, Side
from tests.benchmarks.ranks import start_ray

IMAGES, SIZE, BATCH, WORKERS = 24_000, 64, 64, 2
KEY: tuple[rng.Key, ...] = (0,)

ReadEpoch = Callable[[image_store.ShardList, int], Iterator[tuple[torch.Tensor, torch.Tensor]]]
"""Reads an epoch by its number: yields images as float tensors [B, C, H, W], and labels [B]."""


def write_noise(folder: Path, images: int) -> image_store.ShardList:
    """Write a store of noise in RGB; image i has label i."""
    store = Folder.from_uri(folder).create()
    rows = image_store.count_shard_rows(3 * SIZE**2)
    draw = np.random.default_rng(0)
    for number, start in enumerate(range(0, images, rows)):
        labels = np.arange(start, min(start + rows, images))
        pixels = draw.integers(0, 256, (len(labels), SIZE, SIZE, 3), np.uint8)
        names = [str(label) for label in labels]
        image_store.write_shard(store, number, image_store.LabelledImages(pixels, labels, names, names, names), "real")
    return image_store.list_shards(store)


def stream(shards: image_store.ShardList, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Read by our loader."""
    feed = streaming_loader.StreamFeed(shards, lambda step: step * BATCH, BATCH, Place(), KEY)
    steps = -(-len(shards) // BATCH)
    for step in range(number * steps, (number + 1) * steps):
        batch = feed(step)
        yield batch.x_BCHW, batch.y_B


def iterate_same_plan(shards: image_store.ShardList, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Read the pieces of our plan, as batches of Ray Data."""
    pieces = plan_epoch(shards.row_counts, number, KEY, BATCH, 0, 1)
    function = functools.partial(read_piece, str(shards.folder), shards.names)
    yield from _cut_batches(streaming_loader.plan_reading(function, pieces))


def iterate_parquet(shards: image_store.ShardList, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Read files in a random order, with a shuffling buffer."""

    def decode(table: Any) -> dict[str, np.ndarray]:
        return {"image": image_store.decode_images(table.cast(schema)), "label": table["label"].to_numpy()}

    order = rng.draw_permutation(len(shards.names), *KEY, "epoch", number)
    files = [f"{shards.folder}/{shards.names[shard]}" for shard in order]
    columns = ["image", "label"]
    whole_schema = pq.read_schema(files[0])
    schema = pa.schema([whole_schema.field(name) for name in columns])  # with the shape, which Ray Data leaves out
    dataset = ray.data.read_parquet(files, columns=columns, override_num_blocks=len(files))
    dataset.context.execution_options.preserve_order = True
    dataset.context.enable_progress_bars = False
    dataset = dataset.map_batches(decode, batch_format="pyarrow", batch_size=None, num_cpus=0)
    buffer_rows = WINDOW_SHARDS * int(shards.row_counts[0])
    yield from _cut_batches(dataset, local_shuffle_buffer_size=buffer_rows, local_shuffle_seed=number)


def _cut_batches(dataset: Any, **shuffle: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for batch in dataset.iter_torch_batches(batch_size=BATCH, prefetch_batches=1, **shuffle):
        yield tensors.to_network(batch["image"]), batch["label"]


def start_workers(shards: image_store.ShardList) -> None:
    """Have Ray start the processes that read, which the end of an execution may have taken down."""
    piece = ShardPiece((0,), np.arange(1))
    function = functools.partial(read_piece, str(shards.folder), shards.names)
    for _ in streaming_loader.read_ahead(function, [piece] * 2 * WORKERS):
        pass


def read_labels(read: ReadEpoch, shards: image_store.ShardList, number: int) -> list[int]:
    """Return the labels of an epoch in the order in which they are read."""
    labels = [y_B for _, y_B in read(shards, number)]
    gc.collect()  # iterators of Ray Data end their execution when they go
    return torch.cat(labels).tolist()


@contextmanager
def open_sides(folder: Path, images: int = IMAGES) -> Iterator[Mapping[str, Side]]:
    """All three, on the same store; it is checked that they read the same rows, the first two in the same order."""
    store = folder / "noise"
    shards = write_noise(store, images)
    try:
        with start_ray(WORKERS):
            planned = read_labels(stream, shards, 0)
            assert read_labels(iterate_same_plan, shards, 0) == planned
            assert set(read_labels(iterate_parquet, shards, 0)) == set(planned)

            def rate(read: ReadEpoch) -> Side:
                def read_epoch() -> float:
                    start_workers(shards)
                    started = time.perf_counter()
                    rows = sum(len(y_B) for _, y_B in read(shards, 1))
                    seconds = time.perf_counter() - started
                    gc.collect()
                    return rows / seconds

                return read_epoch

            yield {
                "streamed": rate(stream),
                "iter_torch_batches": rate(iterate_same_plan),
                "read_parquet": rate(iterate_parquet),
            }
    finally:
        shutil.rmtree(store)


BENCHMARKS = (
    Benchmark(
        (
            Pair(
                "stream-same-plan",
                f"an epoch of {IMAGES:,} stored images of {SIZE} px, in the same planned order",
                "streamed", "iter_torch_batches", "images/s",
            ),
            Pair(
                "stream-read-parquet",
                "the same beside files in a random order with a shuffling buffer",
                "streamed", "read_parquet", "images/s",
            ),
        ),
        open_sides,
    ),
)  # fmt: skip
