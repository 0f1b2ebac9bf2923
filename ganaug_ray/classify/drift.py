"""Detects drift: whether images, and the answers to them, still look like those of training and validation.

Of every image a few numbers are taken. If it comes from where the reference came from, its rank among the reference and
all images since is uniform, whatever the numbers' distribution: a conformal p value (Vovk, Gammerman and Shafer 2005,
"Algorithmic Learning in a Random World"), exact also for a small reference. Bets against that uniformity make up a
martingale, and a detector sums the bets that begin at each image (Shiryaev-Roberts; Vovk, Petej, Nouretdinov, Ahlberg,
Carlsson and Gammerman 2021, "Retrain or not retrain: conformal test martingales for change-point detection", PMLR 152).
As for every such sum of e-processes (Shin, Ramdas and Rinaldo 2024, "E-detectors", New England Journal of Statistics in
Data Science 2), looking at it after every image, the mean number of images to a false alarm is at least
FALSE_ALARM_IMAGES, and a false alarm among the first n has a probability of at most n / FALSE_ALARM_IMAGES.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

FALSE_ALARM_IMAGES = 1_000_000  # images
ALARM_WINDOW_IMAGES = 1000  # images for which an alarm stands; one that has reason to is renewed before
BIN_COUNT = 1024  # of a number's grid, chosen before anything is seen: so memory is constant
BET_SIZES = np.array([-0.9, -0.4, 0.4, 0.9])  # on low or high ranks, boldly or not
MAX_IMAGES_PER_BATCH = (
    8  # images of a batch that are looked at, the first ones; so a busy server does not spend its time on this
)
REFERENCE_FILE = "reference.parquet"  # of a version
MAX_REFERENCE_ROWS = 4096  # of each kind that a reference is made of, at most
CONFIDENCE_COLUMN = "confidence"
PREDICTED_COLUMN = "predicted"


def name_statistics(channels: int) -> list[str]:
    """Return the names of the numbers that ``measure_images`` computes."""
    statistics = itertools.product(("mean", "contrast", "sharpness"), range(channels))
    return [f"{name}_{channel}" for name, channel in statistics]


def measure_images(images_NHWC: np.ndarray) -> np.ndarray:
    """Compute three numbers a channel of each image, uint8 [N, H, W, C] -> float32 [N, 3 C] in [0, 1].

    For each channel the mean, twice the standard deviation, and the root of the mean step from pixel to pixel.
    """
    x_NHWC = images_NHWC.astype(np.float32) / 255
    steps = [np.abs(np.diff(x_NHWC, axis=axis)).mean((1, 2)) for axis in (1, 2)]
    statistics = (x_NHWC.mean((1, 2)), 2 * x_NHWC.std((1, 2)), np.sqrt((steps[0] + steps[1]) / 2))
    return np.concatenate(statistics, 1).clip(0, 1)


def build_reference(train_NHWC: np.ndarray, val_NHWC: np.ndarray, probabilities_NK: np.ndarray) -> pa.Table:
    """Return the table of numbers that later images are compared with, a row an image.

    Args:
        train_NHWC: uint8 [M, H, W, C], as the model takes them.
        val_NHWC: uint8 [N, H, W, C], likewise.
        probabilities_NK: float32, the model's of the validation images. Of training images it is too sure to tell.
    """
    numbers = measure_images(np.concatenate([train_NHWC, val_NHWC]))
    absent = [None] * len(train_NHWC)
    columns = dict(zip(name_statistics(train_NHWC.shape[3]), map(pa.array, numbers.T), strict=True))
    columns[CONFIDENCE_COLUMN] = pa.array([*absent, *probabilities_NK.max(1).tolist()], pa.float32())
    columns[PREDICTED_COLUMN] = pa.array([*absent, *probabilities_NK.argmax(1).tolist()], pa.int32())
    return pa.table(columns)


class DriftDetector:
    """Raises an alarm when images, or the answers to them, no longer look like those of the reference.

    Args:
        table: of ``build_reference``.
        classes: names of the model's K classes.
        seed: of the draws by which equal numbers are ranked.
    """

    def __init__(self, table: pa.Table, classes: Sequence[str], seed: int = 0) -> None:
        inputs = [name for name in table.column_names if name != PREDICTED_COLUMN]
        self._names = [*inputs, *(f"share of {name}" for name in classes)]
        columns = [table[name].drop_null().to_numpy() for name in inputs]
        counts = [np.bincount(_bin_numbers(column), minlength=BIN_COUNT) for column in columns]
        predicted = np.bincount(table[PREDICTED_COLUMN].drop_null().to_numpy(), minlength=len(classes))
        self._reference_upto_SB = np.cumsum(counts, 1)
        self._reference_said_K = predicted.astype(np.int64)
        weights = [np.full(len(part), 0.5 / len(part)) for part in (inputs, classes)]
        self._weights = np.concatenate(weights)[:, None] / len(BET_SIZES)
        self._draws = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._image_count = 0
        self._alarm = -ALARM_WINDOW_IMAGES
        self._reasons: list[str] = []
        self._reset_sums()

    def _reset_sums(self) -> None:
        self._upto_SB = self._reference_upto_SB.copy()
        self._said_K = self._reference_said_K.copy()
        self._sums_JB = np.zeros((len(self._names), len(BET_SIZES)))

    def observe_batch(self, images_NHWC: np.ndarray, probabilities_NK: np.ndarray) -> bool:
        """Observe a batch's first images uint8 [N, H, W, C] and probabilities float32 [N, K]; return ``has_alarm``."""
        statistics = measure_images(images_NHWC[:MAX_IMAGES_PER_BATCH])
        probabilities_NK = probabilities_NK[:MAX_IMAGES_PER_BATCH]
        numbers = np.concatenate([statistics, probabilities_NK.max(1, keepdims=True)], 1)
        with self._lock:
            for bins, k in zip(_bin_numbers(numbers), probabilities_NK.argmax(1), strict=True):
                self._observe_image(bins, int(k))
        return self.has_alarm

    @property
    def has_alarm(self) -> bool:
        """Whether drift was found within the last 1,000 images."""
        return self._image_count - self._alarm < ALARM_WINDOW_IMAGES

    def describe_status(self) -> dict[str, Any]:
        """Return the number of images observed, whether there is an alarm, and the numbers that caused it."""
        statistics = self._reasons if self.has_alarm else []
        return {"images": self._image_count, "alarm": self.has_alarm, "statistics": statistics}

    def _observe_image(self, bins: np.ndarray, k: int) -> None:
        statistic_rows = np.arange(len(bins))
        classes = np.arange(len(self._said_K))
        upto = self._upto_SB[statistic_rows, bins]
        below = np.where(bins > 0, self._upto_SB[statistic_rows, bins - 1], 0)
        predicted_K = self._said_K
        total = predicted_K.sum()
        lower = np.concatenate([below, np.where(classes == k, total - predicted_K, 0)])
        equal = np.concatenate([upto - below, np.where(classes == k, predicted_K, total - predicted_K)])
        n = np.concatenate([self._upto_SB[:, -1], np.full(len(predicted_K), total)])
        p = (lower + self._draws.random(len(n)) * (equal + 1)) / (n + 1)
        self._sums_JB = (self._sums_JB + 1) * (1 + BET_SIZES * (2 * p[:, None] - 1))
        self._upto_SB += np.arange(BIN_COUNT) >= bins[:, None]
        self._said_K = predicted_K + (classes == k)
        self._image_count += 1
        evidence = (self._weights * self._sums_JB).sum(1)
        if evidence.sum() >= FALSE_ALARM_IMAGES:
            self._alarm = self._image_count
            self._reasons = [self._names[j] for j in np.argsort(-evidence) if evidence[j] >= 0.01 * FALSE_ALARM_IMAGES]
            self._reset_sums()


def _bin_numbers(numbers: np.ndarray) -> np.ndarray:
    return np.minimum((numbers * BIN_COUNT).astype(np.int64), BIN_COUNT - 1)
