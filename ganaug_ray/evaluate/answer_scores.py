"""How the metrics of predicted classes are computed, and what each row moves them by.

With each figure comes its influence: how much each row moves it, the derivative by the row's weight. Its variance over
rows, divided by their number, is the figure's variance over other rows drawn alike (the infinitesimal jackknife:
Efron 1982, "The Jackknife, the Bootstrap and Other Resampling Plans", chapter 6). For accuracy that is the closed form;
for ratios such as F1 it is the delta method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class PredictedClasses:
    """The classes that a model predicted of some rows.

    Attributes:
        labels_N: int64, true classes.
        predicted_N: int64, the most probable ones.
        classes: K, of which labels are numbers.
    """

    labels_N: np.ndarray
    predicted_N: np.ndarray
    classes: int


class Estimator(Protocol):
    """How a metric of predicted classes is computed."""

    def compute(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the figures: float64 [M] in [0, 1]; ``rare`` holds the numbers of the rare classes."""
        ...

    def compute_influence(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return how much each row moves each figure: float64 [N, M], each column of mean zero."""
        ...


class Accuracy:
    """The share of rows whose predicted class is the true one: M = 1."""

    def compute(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return hits / N.

        >>> Accuracy().compute(PredictedClasses(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), 2)).tolist()
        [0.75]
        """
        return (answers.predicted_N == answers.labels_N).mean(keepdims=True)

    def compute_influence(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return a row's hit, one or zero, less the share of hits."""
        hits_N = answers.predicted_N == answers.labels_N
        return (hits_N - hits_N.mean())[:, None]


@dataclass(frozen=True)
class ClassRatio:
    """A figure of each class that is a ratio of sums over rows: M = K; zero where a class does not occur.

    Recall is hits / true, F1 is 2 hits / (true + predicted).

    Attributes:
        hit_weight: how often a hit counts above.
        counts_predicted: whether the rows predicted as the class count below, beside the true ones.
    """

    hit_weight: int
    counts_predicted: bool

    def compute(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the ratio of each class.

        >>> three_of_four = PredictedClasses(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), 2)
        >>> ClassRatio(hit_weight=2, counts_predicted=True).compute(three_of_four).round(3).tolist()
        [0.667, 0.8]
        """
        right_labels = answers.labels_N[answers.labels_N == answers.predicted_N]
        hits_K = np.bincount(right_labels, minlength=answers.classes)
        return self.hit_weight * hits_K / self._count_below(answers)

    def compute_influence(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return N (a - ratio b) / B, of a row's own share a above and b below, and of the lower sum B."""
        every_class = np.arange(answers.classes)
        true_NK = answers.labels_N[:, None] == every_class
        predicted_NK = answers.predicted_N[:, None] == every_class
        above_NK = (true_NK & predicted_NK) * float(self.hit_weight)
        below_NK = true_NK.astype(np.float64)
        if self.counts_predicted:
            below_NK += predicted_NK
        return len(answers.labels_N) * (above_NK - self.compute(answers) * below_NK) / self._count_below(answers)

    def _count_below(self, answers: PredictedClasses) -> np.ndarray:
        """The lower sum of each class, at least one: int64 [K]."""
        below_K = np.bincount(answers.labels_N, minlength=answers.classes)
        if self.counts_predicted:
            below_K = below_K + np.bincount(answers.predicted_N, minlength=answers.classes)
        return np.maximum(below_K, 1)


@dataclass(frozen=True)
class ClassMean:
    """The mean of a figure over classes: M = 1.

    Attributes:
        class_ratio: the figure of each class.
        only_rare: whether it is over the rare classes alone, rather than over all.
    """

    class_ratio: ClassRatio
    only_rare: bool = False

    def compute(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the mean over all classes, or over ``rare``."""
        return self.class_ratio.compute(answers)[self._choose_classes(answers, rare)].mean(keepdims=True)

    def compute_influence(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the mean of the influences on the same classes."""
        influence_NK = self.class_ratio.compute_influence(answers)
        return influence_NK[:, self._choose_classes(answers, rare)].mean(1, keepdims=True)

    def _choose_classes(self, answers: PredictedClasses, rare: Sequence[int]) -> list[int]:
        return list(rare) if self.only_rare else list(range(answers.classes))
