"""What the models of an arm answered, and the differences of two arms' figures.

How a metric is computed, and how much each row moves it, is in ``evaluate.answer_scores``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from ganaug_ray.evaluate import metrics
from ganaug_ray.evaluate.answer_scores import PredictedClasses
from ganaug_ray.evaluate.metric_register import ROW_MEANS, SUMMARIZED, get_estimator

Part = Literal["val", "test"]


@dataclass(frozen=True)
class Predictions(PredictedClasses):
    """What a model said of the rows of a split.

    Attributes:
        row_means: by the key of each metric that is a mean over rows, that mean. The rest is described in
            ``Predicted``.
    """

    row_means: Mapping[str, float]

    def summarize(self, rare: Sequence[int] = ()) -> dict[str, float]:
        """Return the figures of verdict.json by key, in the order of the register.

        Args:
            rare: numbers of the rare classes; without any there is no figure of them.

        >>> Predictions(np.array([0, 1]), np.array([0, 1]), 2, {"cross_entropy": 0.25}).summarize()
        {'accuracy': 1.0, 'macro_f1': 1.0, 'cross_entropy': 0.25}
        """
        values = {}
        for metric in SUMMARIZED:
            if metric.needs_rare and not rare:
                continue
            if metric.estimator:
                values[metric.key] = float(metric.estimator.compute(self, rare)[0])
            elif metric.key in self.row_means:
                values[metric.key] = self.row_means[metric.key]
        return values


@dataclass(frozen=True)
class Outcome:
    """One model: what it answered on validation and on test, of one split of the images and one seed."""

    split: int
    seed: int
    val: Predictions
    test: Predictions

    @staticmethod
    def from_table(predictions: pa.Table, split: int, seed: int) -> Outcome:
        """From a model's predictions.parquet."""
        return Outcome(split, seed, read_predictions(predictions, "val"), read_predictions(predictions, "test"))

    def select_part(self, part: Part) -> Predictions:
        """On validation or on test."""
        return self.val if part == "val" else self.test


def read_predictions(predictions: pa.Table, part: Part) -> Predictions:
    """Read what a model answered on one part of the images.

    Args:
        predictions: a model's predictions.parquet.
        part: ``val`` or ``test``.

    Returns:
        Its answers, with the mean over rows of each metric that is one.
    """
    labels_N, probabilities_NK = metrics.read_split(predictions, part)
    row_means = {}
    for metric in ROW_MEANS:
        assert metric.rows is not None
        row_means[metric.key] = float(metric.rows(labels_N, probabilities_NK).mean())
    return Predictions(labels_N, probabilities_NK.argmax(1), probabilities_NK.shape[1], row_means)


def compute_figures(answers: PredictedClasses, metric: str, rare: Sequence[int] = ()) -> np.ndarray:
    """Compute a metric of some answers.

    Args:
        answers: of N rows.
        metric: key of one of ``COMPARED`` (M = 1 figure) or of ``CLASS_METRICS`` (M = K figures, one a class).
        rare: numbers of the rare classes.

    Returns:
        float64 [M] in [0, 1].
    """
    return get_estimator(metric).compute(answers, rare)


def compute_influence(answers: PredictedClasses, metric: str, rare: Sequence[int] = ()) -> np.ndarray:
    """Compute how much each row moves each figure of a metric.

    Args:
        answers: of N rows.
        metric: as for ``compute_figures``.
        rare: as for ``compute_figures``.

    Returns:
        float64 [N, M], each column of mean zero.
    """
    return get_estimator(metric).compute_influence(answers, rare)


def compute_differences(
    ours: Sequence[Outcome], theirs: Sequence[Outcome], metric: str, part: Part = "test", rare: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray | None]:
    """Take two arms' figures apart, model by model, on the same rows.

    Args:
        ours: an arm's models: every seed in every split.
        theirs: the baseline's, of the same splits and seeds.
        metric: as for ``compute_figures``.
        part: on which rows.
        rare: as for ``compute_figures``.

    Returns:
        ours - theirs, float64 [J, S, M]; and where there is a single split, the influence on it, float64 [S, N, M].
    """
    ours = _sort_outcomes(ours)
    theirs = _sort_outcomes(theirs)
    assert [(o.split, o.seed) for o in ours] == [(o.split, o.seed) for o in theirs], "arms are paired by split and seed"
    seeds = Counter(outcome.split for outcome in ours)
    assert len(set(seeds.values())) == 1, "every split has the same seeds"
    pairs = [(mine.select_part(part), other.select_part(part)) for mine, other in zip(ours, theirs, strict=True)]
    assert all(np.array_equal(a.labels_N, b.labels_N) for a, b in pairs), "arms answer the same rows in the same order"
    values = np.array([compute_figures(a, metric, rare) - compute_figures(b, metric, rare) for a, b in pairs])
    values_JSM = values.reshape(len(seeds), -1, values.shape[1])
    if len(seeds) > 1:
        return values_JSM, None
    influences = [compute_influence(a, metric, rare) - compute_influence(b, metric, rare) for a, b in pairs]
    return values_JSM, np.array(influences)


def _sort_outcomes(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: (outcome.split, outcome.seed))
