"""Drift: an alarm when images change, none while they do not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import softmax
from sklearn.datasets import load_digits

from ganaug_ray.classify import drift
from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.data.sources.idx import list_parts
from tests.conftest import ROOT

FASHION = ROOT.parent / "shared" / "data" / "fashion-mnist"
Change = Callable[[np.ndarray], np.ndarray]


def blurred(images_NHWC: np.ndarray) -> np.ndarray:
    side = images_NHWC.shape[1]
    return gaussian_filter(images_NHWC, (0, side / 16, side / 16, 0))


def inverted(images_NHWC: np.ndarray) -> np.ndarray:
    return 255 - images_NHWC


class Feed:
    """Images of a population, a simple model made from others, and a detector with a reference.

    Drawn with replacement, reference and stream are as alike as can be.
    """

    def __init__(self, images_NHWC: np.ndarray, labels: np.ndarray, rows: int, seed: int) -> None:
        half = len(labels) // 3
        flat, own = _flat(images_NHWC[:half]), labels[:half]
        self.means = np.stack([flat[own == k].mean(0) for k in range(10)])
        self.images, self.rng, self.seed = images_NHWC[half:], np.random.default_rng(seed), seed
        train, val = self.draw(rows), self.draw(rows // 2)
        table = drift.build_reference(train, val, self.probabilities(val))
        self.detector = drift.DriftDetector(table, [str(k) for k in range(10)], seed)

    def draw(self, n: int) -> np.ndarray:
        return self.images[self.rng.integers(0, len(self.images), n)]

    def probabilities(self, images_NHWC: np.ndarray) -> np.ndarray:
        """As near as an image is to the mean of each class."""
        flat = _flat(images_NHWC)
        squares = (flat**2).sum(1, keepdims=True) - 2 * flat @ self.means.T + (self.means**2).sum(1)
        return softmax(-squares, 1).astype(np.float32)

    def first_alarm(self, n: int, change: Change = lambda images: images) -> int | None:
        """The number of images after which there is alarm, of n at most."""
        images = change(self.draw(n))
        probabilities = self.probabilities(images)
        for start in range(0, n, drift.MAX_IMAGES_PER_BATCH):
            some = slice(start, start + drift.MAX_IMAGES_PER_BATCH)
            if self.detector.observe_batch(images[some], probabilities[some]):
                return start + drift.MAX_IMAGES_PER_BATCH
        return None


def _flat(images_NHWC: np.ndarray) -> np.ndarray:
    return images_NHWC.reshape(len(images_NHWC), -1) / 255


def digits() -> tuple[np.ndarray, np.ndarray]:
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    return (found.images * 15).astype(np.uint8)[order, :, :, None], found.target[order]


def fashion() -> tuple[np.ndarray, np.ndarray]:
    if not FASHION.exists():
        pytest.skip("Fashion-MNIST is not on this machine")
    raws = [raw for part in list_parts(f"idx:{FASHION}", LabelFrom(), ColumnsConfig()) for raw in part()][:6000]
    order = np.random.default_rng(0).permutation(len(raws))
    return np.stack([raws[i].content for i in order])[..., None], np.array([int(raws[i].label) for i in order])


@pytest.mark.parametrize("data", [digits, fashion])
@pytest.mark.parametrize("rows", [100, 400])
def test_changed_images_raise_drift_alarm(data: Callable, rows: int) -> None:
    """Changed images raise an alarm within 200, and 2,000 unchanged ones raise none."""
    images, labels = data()
    for seed, change in enumerate((blurred, inverted)):
        feed = Feed(images, labels, rows, seed)
        assert feed.first_alarm(2000) is None
        found = feed.first_alarm(200, change)
        assert found is not None
        assert feed.detector.describe_status()["statistics"]
        fresh = Feed(images, labels, rows, seed)
        assert fresh.first_alarm(200, change) is not None, "also where the first image is changed already"


def test_alarm_ends_with_normal_images() -> None:
    """The drift alarm ends once the images are as they were before."""
    feed = Feed(*digits(), 400, 0)
    assert feed.first_alarm(200, inverted) is not None
    feed.first_alarm(1)
    images = feed.draw(drift.ALARM_WINDOW_IMAGES + 200)
    for start in range(0, len(images), drift.MAX_IMAGES_PER_BATCH):
        some = images[start : start + drift.MAX_IMAGES_PER_BATCH]
        feed.detector.observe_batch(some, feed.probabilities(some))
    assert not feed.detector.has_alarm


def test_shifted_class_shares_raise_alarm() -> None:
    """Images with other shares of the classes raise an alarm."""
    images, labels = digits()
    feed = Feed(images, labels, 400, 0)
    feed.images = feed.images[labels[len(labels) // 3 :] == 3]
    assert feed.first_alarm(400) is not None


def test_unchanged_streams_raise_no_alarms() -> None:
    """The bound for 2,000 images is 0.2 %: of 40 streams, one with an alarm has a probability below 8 %."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3000, 4, 4, 1), np.uint8)
    images[:, :, :2] //= 3
    probabilities = rng.dirichlet([0.5] * 3, 3000).astype(np.float32)
    alarms = 0
    for seed in range(40):
        draws = np.random.default_rng(seed).permutation(3000)
        table = drift.build_reference(images[draws[:20]], images[draws[20:40]], probabilities[draws[20:40]])
        detector = drift.DriftDetector(table, ["a", "b", "c"], seed)
        rest = draws[40:2040]
        alarms += any(
            detector.observe_batch(
                images[rest[i : i + drift.MAX_IMAGES_PER_BATCH]],
                probabilities[rest[i : i + drift.MAX_IMAGES_PER_BATCH]],
            )
            for i in range(0, len(rest), drift.MAX_IMAGES_PER_BATCH)
        )
    assert alarms == 0
