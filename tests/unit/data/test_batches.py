"""The order of rows: no row dropped, the same for any number of workers."""

from collections import Counter

import numpy as np
import pytest
import torch

from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.resident_loader import ResidentFeed, ResidentImages, open_real_feed, slice_permutations


def ids_of(feed: ResidentFeed, steps: int) -> list[list[str]]:
    return [[feed.rows.ids[row] for row in feed.list_indices(step)] for step in range(steps)]


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_worker_count_keeps_global_batches(digits: Folder, workers: int) -> None:
    """Any number of workers sees the same global batches in the same order."""
    alone = ids_of(open_real_feed(str(digits), 24, 1.0, 5, Place()), 9)
    parts = [ids_of(open_real_feed(str(digits), 24, 1.0, 5, Place(rank, workers)), 9) for rank in range(workers)]
    together = [[id_ for part in parts for id_ in part[step]] for step in range(9)]
    assert together == alone


def test_every_row_appears_every_epoch(digits: Folder) -> None:
    """No row is dropped: over the steps of two epochs every row appears twice."""
    rows, batch = 80, 32
    parts = [ids_of(open_real_feed(str(digits), batch, 1.0, 0, Place(rank, 2)), 2 * rows // batch) for rank in range(2)]
    seen = Counter(id_ for part in parts for step in part for id_ in step)
    assert len(seen) == rows
    assert set(seen.values()) == {2}


def test_epochs_and_seeds_reorder_rows() -> None:
    """Every epoch and every seed has an order of its own."""
    first, second = slice_permutations(50, 0, 50, (0,)), slice_permutations(50, 50, 100, (0,))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first.tolist() != second.tolist()
    assert first.tolist() != slice_permutations(50, 0, 50, (1,)).tolist()


def test_large_batch_repeats_whole_epochs() -> None:
    """A batch larger than the data repeats whole epochs."""
    assert Counter(slice_permutations(5, 0, 20, (0,)).tolist()) == dict.fromkeys(range(5), 4)


def test_pixels_arrive_in_network_range(digits: Folder) -> None:
    """Pixels arrive between -1 and 1, with the channels last in memory."""
    batch = open_real_feed(str(digits), 16, 1.0, 0, Place())(0)
    assert batch.x_BCHW.shape == (16, 1, 32, 32)
    assert batch.x_BCHW.min() >= -1
    assert batch.x_BCHW.max() <= 1
    assert batch.total == 16
    colour = ResidentImages(
        image_store.LabelledImages(np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int64), ["a", "b"], [], []),
        torch.device("cpu"),
    )
    assert colour.take_rows(slice(0, 2))[0].is_contiguous(memory_format=torch.channels_last)
