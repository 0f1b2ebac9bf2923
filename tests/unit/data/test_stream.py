"""The stream loader's order and padding, read without a cluster."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, stream_plan
from ganaug_ray.data.loading.resident_loader import ResidentFeed, open_feed
from ganaug_ray.data.loading.stream_plan import ImageColumns, ShardPiece
from ganaug_ray.data.loading.streaming_loader import StreamFeed


def here(function: Callable[[ShardPiece], ImageColumns], pieces: list[ShardPiece]) -> Iterator[ImageColumns]:
    return map(function, pieces)


def numbered(
    folder: Folder, n: int, monkeypatch: pytest.MonkeyPatch, encoding: image_store.Encoding = "raw"
) -> image_store.ShardList:
    """Row i has label i and pixels that say i, in shards of seven rows."""
    pixels = np.zeros((n, 4, 4, 3), np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(n) % 256, np.arange(n) // 256
    for number, start in enumerate(range(0, n, 7)):
        part = slice(start, min(start + 7, n))
        names = [str(i) for i in range(part.start, part.stop)]
        rows = image_store.LabelledImages(pixels[part], np.arange(n)[part], names, names, names)
        image_store.write_shard(folder, number, rows, "real", encoding)
    return image_store.list_shards(folder)


def labels(shards: image_store.ShardList, batch: int, place: Place, steps: range, key: int = 0) -> list[list[int]]:
    stream = StreamFeed(shards, lambda step: step * batch, batch, place, (key,), here)
    return [stream(step).y_B.tolist() for step in steps]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 5, 24, 25, 103])
def test_streamed_epoch_holds_every_row(world: int, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every streamed epoch holds all rows and repeats only its first ones, for any number of ranks."""
    shards, batch = numbered(Folder.from_uri(tmp_path), rows, monkeypatch), 12
    steps = -(-rows // batch)
    orders = []
    for epoch in range(3):
        parts = [
            labels(shards, batch, Place(r, world), range(epoch * steps, (epoch + 1) * steps)) for r in range(world)
        ]
        assert {len(step) for part in parts for step in part} == {batch // world}
        counts = Counter(label for part in parts for step in part for label in step)
        assert set(counts) == set(range(rows)), "no row is dropped"
        assert sum(counts.values()) == steps * batch
        assert max(counts.values()) <= -(-batch // rows) + 1
        orders.append([label for part in parts for step in part for label in step])
    if rows > 5:
        assert orders[0] != orders[1] != orders[2], "each epoch has an order of its own"


def test_rank_shuffles_only_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank shuffles the windows of its own rows and of no other rank."""
    shuffled: list[int] = []

    def counted(n: int, *key: rng.Key) -> np.ndarray:
        shuffled.append(n)
        return np.arange(n)

    monkeypatch.setattr(rng, "draw_permutation", counted)
    stream_plan.plan_epoch(np.full(1024, 100), 0, (0,), 256, 100, 256)
    assert sum(shuffled) <= 1024 + 2 * stream_plan.WINDOW_SHARDS * 100, (
        "the order of the shards, and the rank's 400 rows"
    )


def test_resumed_stream_continues_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed stream continues where an undisturbed one would be."""
    shards = numbered(Folder.from_uri(tmp_path), 103, monkeypatch)
    for place in (Place(), Place(1, 2)):
        whole = labels(shards, 8, place, range(40))
        for start in (1, 12, 13, 29):
            assert labels(shards, 8, place, range(start, 40)) == whole[start:]
    assert labels(shards, 8, Place(), range(3), key=1) != labels(shards, 8, Place(), range(3))


def test_varying_batches_cover_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With batches of different sizes a rank sees all its rows before it repeats any."""
    shards = numbered(Folder.from_uri(tmp_path), 50, monkeypatch)
    streams = [StreamFeed(shards, lambda step: step * 10 // 3, 2, Place(rank, 2), (0,), here) for rank in range(2)]
    batches = [[stream(step) for stream in streams] for step in range(15)]
    assert [sum(len(batch.y_B) for batch in pair) for pair in batches[:3]] == [3, 3, 4]
    assert all([*pair[0].rows, *pair[1].rows] == list(range(pair[0].total)) for pair in batches)
    for rank, n in ((0, 20), (1, 30)):
        seen = [int(y) for pair in batches for y in pair[rank].y_B]
        assert len(seen) == n
        assert len(set(seen[:25])) == min(n, 25), "a rank sees all its rows before it sees one again"


@pytest.mark.parametrize("encoding", ["raw", "encoded"])
def test_streamed_pixels_match_their_labels(
    encoding: image_store.Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels stay with their labels, however they are stored."""
    shards = numbered(Folder.from_uri(tmp_path), 300, monkeypatch, encoding)
    stream = StreamFeed(shards, lambda step: step * 32, 32, Place(), (0,), here)
    for step in range(12):
        batch = stream(step)
        levels = (batch.x_BCHW[:, :2, 0, 0] + 1) * 127.5
        assert (levels[:, 0] + 256 * levels[:, 1]).round().int().tolist() == batch.y_B.tolist()


def test_large_store_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is larger than the memory limit is streamed."""
    folder = Folder.from_uri(tmp_path)
    size = numbered(folder, 100, monkeypatch).pixel_bytes
    assert size == 100 * 48

    def opened(gb: float) -> object:
        return open_feed(folder, lambda step: step * 4, 4, Place(), (0,), gb)

    assert isinstance(opened(size / 1e9), ResidentFeed)
    assert isinstance(opened((size - 1) / 1e9), StreamFeed)
