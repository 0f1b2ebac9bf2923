"""Computes metrics of predicted classes, and how much each row moves them.

With each metric comes the influence of each row: the derivative of the metric by the row's weight. The variance of the
influence over rows, divided by their number, is the variance of the metric over other rows drawn alike (the
infinitesimal jackknife: Efron 1982, "The Jackknife, the Bootstrap and Other Resampling Plans", chapter 6). For accuracy
that is the closed form; for ratios such as F1 it is the delta method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class PredictedClasses:
    """The true and the predicted classes of some rows.

    Attributes:
        labels_N: true classes, int64 [N] in [0, K).
        predicted_N: most probable classes, int64 [N] in [0, K).
        classes: number of classes, K.
        row_scores: by the key of each metric that is a mean over rows, the rows' values, float64 [N].
    """

    labels_N: np.ndarray
    predicted_N: np.ndarray
    classes: int
    row_scores: Mapping[str, np.ndarray] = field(default_factory=dict)

    def count_rows(self) -> np.ndarray:
        """Return the number of true rows of each class, at least one: int64 [K]."""
        return np.maximum(np.bincount(self.labels_N, minlength=self.classes), 1)


class Estimator(Protocol):
    """An object that computes a metric from a model's answers: M values, one or as many as there are classes."""

    def compute_row_steps(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return how much one row that is answered wrongly instead of rightly changes each value, times N.

        Only rows that count for a value are meant: those of the class, or of the rare classes. Of a mean over classes
        it is the root mean square over these rows, since a row of a rare class moves it more.

        Args:
            answers: as for ``compute``; only the true classes matter.
            rare: as for ``compute``.

        Returns:
            float64 [M]; 0 for a mean of probabilities, which other rows never leave as it is.
        """
        ...

    def compute(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the values of the metric.

        Args:
            answers: of N rows; one at least.
            rare: numbers of the rare classes; only metrics of these use them.

        Returns:
            float64 [M] in [0, 1].
        """
        ...

    def compute_influence(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return how much each row moves each value of the metric.

        Args:
            answers: as for ``compute``.
            rare: as for ``compute``.

        Returns:
            float64 [N, M]; each column has the mean zero.
        """
        ...


class Accuracy:
    """The share of rows whose predicted class is the true one: one value."""

    def compute_row_steps(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return one: a row that is answered wrongly takes 1 / N off, times N.

        Args:
            answers: not used.
            rare: not used.

        Returns:
            float64 [1].
        """
        return np.ones(1)

    def compute(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the number of hits / N.

        Args:
            answers: of N rows; one at least.
            rare: not used.

        Returns:
            float64 [1] in [0, 1].

        >>> Accuracy().compute(PredictedClasses(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), 2)).tolist()
        [0.75]
        """
        return (answers.predicted_N == answers.labels_N).mean(keepdims=True)

    def compute_influence(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return for each row 1 where it is a hit, else 0, minus the accuracy.

        Args:
            answers: as for ``compute``.
            rare: not used.

        Returns:
            float64 [N, 1], of mean zero.

        >>> three_of_four = PredictedClasses(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), 2)
        >>> Accuracy().compute_influence(three_of_four)[:, 0].tolist()
        [0.25, 0.25, 0.25, -0.75]
        """
        hits_N = answers.predicted_N == answers.labels_N
        return (hits_N - hits_N.mean())[:, None]


@dataclass(frozen=True)
class ClassRatio:
    """A metric of each class that is a ratio of counts, such as recall or F1: K values.

    Recall is hits / true rows; F1 is 2 hits / (true rows + predicted rows). Where both counts are zero, so is the
    value.

    Attributes:
        hit_weight: what a hit counts in the numerator.
        counts_predicted: whether the denominator counts the rows predicted as the class, beside its true rows.
    """

    hit_weight: int
    counts_predicted: bool

    def compute_row_steps(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return N / (the class's true rows), or half of it where the rows predicted as the class count too.

        Args:
            answers: of N rows; only the true classes matter.
            rare: not used.

        Returns:
            float64 [K], above zero.

        >>> answers = PredictedClasses(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), 2)
        >>> ClassRatio(hit_weight=1, counts_predicted=False).compute_row_steps(answers).round(3).tolist()
        [4.0, 1.333]
        """
        steps_K = len(answers.labels_N) / answers.count_rows()
        return steps_K / 2 if self.counts_predicted else steps_K

    def compute(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the ratio of each class.

        Args:
            answers: of N rows; one at least.
            rare: not used.

        Returns:
            float64 [K] in [0, 1].

        >>> three_of_four = PredictedClasses(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), 2)
        >>> ClassRatio(hit_weight=2, counts_predicted=True).compute(three_of_four).round(3).tolist()
        [0.667, 0.8]
        """
        right_labels = answers.labels_N[answers.labels_N == answers.predicted_N]
        hits_K = np.bincount(right_labels, minlength=answers.classes)
        return self.hit_weight * hits_K / self._count_below(answers)

    def compute_influence(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return how much each row moves the ratio of each class, by the delta method.

        It is N (a - ratio b) / B, where a row adds a to the numerator and b to the denominator B.

        Args:
            answers: as for ``compute``.
            rare: not used.

        Returns:
            float64 [N, K]; each column has the mean zero.
        """
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
    """The mean of a metric over classes, such as macro-F1: one value.

    Attributes:
        class_ratio: the metric of each class.
        only_rare: whether the mean is over the rare classes alone, rather than over all.
    """

    class_ratio: ClassRatio
    only_rare: bool = False

    def compute_row_steps(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the root mean square, over these classes' rows, of what another answer changes; 1 of equal classes.

        Args:
            answers: of N rows; only the true classes matter.
            rare: numbers of the rare classes; one at least if the mean is over these.

        Returns:
            float64 [1], above zero.

        >>> answers = PredictedClasses(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), 2)
        >>> ClassMean(ClassRatio(hit_weight=2, counts_predicted=True)).compute_row_steps(answers).tolist()
        [1.0]
        """
        rows_K = answers.count_rows()[self._choose_classes(answers, rare)]
        mean_square = (1 / rows_K).sum() / rows_K.sum()
        return np.array([len(answers.labels_N) / len(rows_K) * np.sqrt(mean_square)])

    def compute(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the mean over all classes, or over the rare ones.

        Args:
            answers: of N rows; one at least.
            rare: numbers of the rare classes; one at least if the mean is over these.

        Returns:
            float64 [1] in [0, 1].

        >>> three_of_four = PredictedClasses(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), 2)
        >>> ClassMean(ClassRatio(hit_weight=2, counts_predicted=True)).compute(three_of_four).round(3).tolist()
        [0.733]
        """
        return self.class_ratio.compute(answers)[self._choose_classes(answers, rare)].mean(keepdims=True)

    def compute_influence(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the mean of the influences on the same classes.

        Args:
            answers: as for ``compute``.
            rare: as for ``compute``.

        Returns:
            float64 [N, 1], of mean zero.
        """
        influence_NK = self.class_ratio.compute_influence(answers)
        return influence_NK[:, self._choose_classes(answers, rare)].mean(1, keepdims=True)

    def _choose_classes(self, answers: PredictedClasses, rare: Sequence[int]) -> list[int]:
        return list(rare) if self.only_rare else list(range(answers.classes))
