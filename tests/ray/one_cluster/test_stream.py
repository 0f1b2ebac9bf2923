"""The stream loader on a cluster: Ray Data reads, Ray Train's ranks take."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray.util.placement_group import placement_group, remove_placement_group

from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.streaming_loader import StreamFeed, read_ahead
from ganaug_ray.runtime import worker_group

pytestmark = pytest.mark.usefixtures("cluster")


def stored(folder: Folder, n: int) -> Folder:
    """Row i has label i, in shards of seven rows."""
    for number, start in enumerate(range(0, n, 7)):
        part = np.arange(start, min(start + 7, n))
        names = [str(i) for i in part]
        pixels = np.zeros((len(part), 4, 4, 1), np.uint8)
        image_store.write_shard(folder, number, image_store.LabelledImages(pixels, part, names, names, names), "real")
    return folder


def drain(task: tuple[str, str, int, int], place: Place) -> None:
    folder, out, batch, steps = task
    stream = StreamFeed(image_store.list_shards(Folder.from_uri(folder)), lambda step: step * batch, batch, place, (0,))
    labels = [stream(step).y_B.tolist() for step in range(steps)]
    Folder.from_uri(out).write_json(f"rank-{place.rank}.json", {"labels": labels})


def test_streaming_ranks_read_every_row(tmp_path: Path) -> None:
    """Ranks that stream read every row in equal steps and the same order, even where no CPU is free beside them."""
    world, rows, batch = 2, 103, 12
    steps = -(-rows // batch)
    folder = stored(Folder.from_uri(tmp_path / "store"), rows)
    others = placement_group([{"CPU": 1}] * (int(ray.cluster_resources()["CPU"]) - world))
    assert others.wait(60)
    worker_group.run_on_ranks(
        drain, (str(folder), str(tmp_path), batch, 2 * steps), world, Folder.from_uri(tmp_path / "out")
    )
    remove_placement_group(others)
    parts = [Folder.from_uri(tmp_path).read_json(f"rank-{rank}.json")["labels"] for rank in range(world)]
    for epoch in (slice(0, steps), slice(steps, None)):
        assert {label for part in parts for step in part[epoch] for label in step} == set(range(rows))
    assert all(len(step) == batch // world for part in parts for step in part)

    def here(function, pieces):
        return map(function, pieces)

    for rank in range(world):
        alone = StreamFeed(
            image_store.list_shards(folder), lambda step: step * batch, batch, Place(rank, world), (0,), here
        )
        assert parts[rank] == [alone(step).y_B.tolist() for step in range(2 * steps)], "Ray Data keeps the order"


def test_pieces_are_read_on_the_node_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Data reads on the caller's node."""
    selected = []
    map_batches = ray.data.Dataset.map_batches

    def note_selector(dataset: Any, *given: Any, **named: Any) -> Any:
        selected.append(named["label_selector"])
        return map_batches(dataset, *given, **named)

    monkeypatch.setattr(ray.data.Dataset, "map_batches", note_selector)

    def read(piece: Any) -> dict[str, np.ndarray]:
        return {"node": np.array([ray.get_runtime_context().get_node_id()]), "piece": np.array([piece])}

    rows = list(read_ahead(read, [5, 6]))
    here = ray.get_runtime_context().get_node_id()
    assert [(row["piece"].tolist(), row["node"].tolist()) for row in rows] == [([5], [here]), ([6], [here])]
    assert selected == [{"ray.io/node-id": here}]
