"""Controls and oversampling: rows in place of synthetic ones, the same for any number of ranks."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ganaug_ray.augment import arms, mixed_batches, negative_controls, soft_labels, strategies
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.resident_loader import open_real_feed
from ganaug_ray.data.loading.sampler import Sampling

SIZE, STEPS = 16, 5
UPTO = functools.partial(strategies.count_synthetic_rows, batch_size=SIZE, ratio=0.7)  # 11 or 12 rows a batch
SHARES = (5, 0, 1, 1, 1, 1, 1, 0, 0, 0)


@pytest.fixture
def feeds(experiment: Run) -> dict[str, Callable[[Place], BatchFeed]]:
    """How each kind of rows is opened on a rank; what they replace is ``pool``."""
    pool = functools.partial(mixed_batches.open_pool_feed, str(experiment.synthetic), UPTO, 1.0, 3)
    soft = functools.partial(soft_labels.open_soft_label_feed, pool, str(arms.locate_teacher(experiment)))
    return {
        "pool": pool,
        "noise": functools.partial(negative_controls.open_noise_feed, soft, 3),
        "shuffled": functools.partial(negative_controls.open_shuffled_feed, soft, SHARES, 3),
        "again": functools.partial(
            mixed_batches.open_oversampled_feed, str(experiment.dataset), UPTO, 1.0, 3, Sampling(balanced=True)
        ),
    }


def whole(opened: Callable[[Place], BatchFeed], world: int) -> list[Batch]:
    """The global batches of the first steps, put together from those of the ranks."""
    ranks = [pickle.loads(pickle.dumps(opened))(Place(rank, world)) for rank in range(world)]  # noqa: S301  # as to workers
    batches = []
    for step in range(STEPS):
        parts = [feed(step) for feed in ranks]
        assert np.array_equal(np.concatenate([part.rows for part in parts]), np.arange(ranks[0].count_rows(step)))
        assert all(part.soft_BK is None for part in parts)
        images, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("x_BCHW", "y_B"))
        batches.append(Batch(images, labels, np.arange(len(labels)), parts[0].total))
    return batches


@pytest.mark.parametrize("kind", ["noise", "shuffled", "again"])
def test_rank_count_keeps_global_batches(feeds: dict, kind: str) -> None:
    """Controls and oversampling give the same global batches for any number of ranks."""
    alone = whole(feeds[kind], 1)
    for world in (2, 3):
        for one, other in zip(alone, whole(feeds[kind], world), strict=True):
            assert torch.equal(one.x_BCHW, other.x_BCHW)
            assert torch.equal(one.y_B, other.y_B)


def test_noise_replaces_images_not_labels(feeds: dict) -> None:
    """Noise replaces the synthetic images, new in every step, and keeps their labels."""
    noise, pool = whole(feeds["noise"], 1), whole(feeds["pool"], 1)
    for one, other in zip(noise, pool, strict=True):
        assert torch.equal(one.y_B, other.y_B)
        assert one.x_BCHW.shape == other.x_BCHW.shape
    values = torch.cat([batch.x_BCHW.flatten() for batch in noise])
    assert values.min() >= -1
    assert values.max() <= 1
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.std() == pytest.approx(3**-0.5, abs=0.02), "uniform"
    assert not torch.equal(noise[0].x_BCHW[:11], noise[1].x_BCHW[:11]), "new in every step"
    assert not torch.equal(noise[0].x_BCHW[0], noise[0].x_BCHW[1]), "and in every row"


def test_shuffled_labels_match_class_shares(feeds: dict) -> None:
    """Shuffled labels have the shares of the classes and are independent of the images."""
    feed, pool = feeds["shuffled"](Place()), feeds["pool"](Place())
    drawn, shown = [], []
    for step in range(200):
        assert torch.equal(feed(step).x_BCHW, pool(step).x_BCHW)
        drawn.append(feed(step).y_B)
        shown.append(pool(step).y_B)
    labels, classes = torch.cat(drawn), torch.cat(shown)
    shares = torch.bincount(labels, minlength=10) / len(labels)
    torch.testing.assert_close(shares, torch.tensor(SHARES) / 10.0, atol=0.05, rtol=0)
    of_zeros = torch.bincount(labels[classes == 0], minlength=10) / (classes == 0).sum()
    assert of_zeros[0] == pytest.approx(0.5, abs=0.15), "as of all"


def test_oversampling_leaves_real_rows_unchanged(feeds: dict, experiment: Run) -> None:
    """Oversampled rows are real images in an order of their own, and the real rows of a batch stay the same."""
    real = open_real_feed(str(experiment.dataset), SIZE, 1.0, 3, Place())
    mixed = mixed_batches.open_mixed_feed(lambda place: open_real_feed(str(experiment.dataset), SIZE, 1.0, 3, place),
                              feeds["again"], Place())  # fmt: skip
    images = {image.numpy().tobytes() for step in range(5) for image in real(step).x_BCHW}
    assert len(images) == 80, "all there are"
    for step in range(STEPS):
        batch, extra = mixed(step), feeds["again"](Place())(step)
        assert torch.equal(batch.x_BCHW[:SIZE], real(step).x_BCHW)
        assert torch.equal(batch.x_BCHW[SIZE:], extra.x_BCHW)
        assert {image.numpy().tobytes() for image in extra.x_BCHW} <= images
        assert not torch.equal(extra.x_BCHW, real(step).x_BCHW[: len(extra.y_B)])
