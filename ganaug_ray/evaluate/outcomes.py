"""What the models of an arm answered, and the figures that arms are compared by.

With each figure comes its influence: how much each row moves it, the derivative by the row's weight. Its variance over
rows, divided by their number, is the figure's variance over other rows drawn alike (the infinitesimal jackknife:
Efron 1982, "The Jackknife, the Bootstrap and Other Resampling Plans", chapter 6). For accuracy that is the closed form;
for ratios such as F1 it is the delta method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from ganaug_ray.evaluate import metrics

Part = Literal["val", "test"]
METRICS = ("accuracy", "macro_f1")
BY_CLASS = ("f1", "recall")


@dataclass(frozen=True)
class Answers:
    """What a model said of the rows of a split.

    Attributes:
        labels_N: int64, true classes.
        predicted_N: int64, the most probable ones.
        classes: K, of which labels are numbers.
        cross_entropy: the mean over rows, in nats.
    """

    labels_N: np.ndarray
    predicted_N: np.ndarray
    classes: int
    cross_entropy: float

    def summary(self, rare: Sequence[int] = ()) -> dict[str, float]:
        """The figures in words: accuracy, macro_f1, rare_f1 where there are rare classes, and cross_entropy."""
        names = (*METRICS, *(("rare_f1",) if rare else ()))
        found = {name: float(figures(self, name, rare)[0][0]) for name in names}
        return {**found, "cross_entropy": self.cross_entropy}


@dataclass(frozen=True)
class Outcome:
    """One model: what it answered on validation and on test, of one split of the images and one seed."""

    split: int
    seed: int
    val: Answers
    test: Answers

    @staticmethod
    def of(predictions: pa.Table, split: int, seed: int) -> Outcome:
        """From a model's predictions.parquet."""
        return Outcome(split, seed, _answers(predictions, "val"), _answers(predictions, "test"))

    def answers(self, part: Part) -> Answers:
        """On validation or on test."""
        return self.val if part == "val" else self.test


def _answers(predictions: pa.Table, part: Part) -> Answers:
    labels, probabilities = metrics.split_of(predictions, part)
    loss = float(metrics.losses(labels, probabilities).mean())
    return Answers(labels, probabilities.argmax(1), probabilities.shape[1], loss)


def figures(answers: Answers, metric: str, rare: Sequence[int] = ()) -> tuple[np.ndarray, np.ndarray]:
    """A metric and how each row moves it.

    Args:
        answers: of N rows.
        metric: ``accuracy``, ``macro_f1`` (over all classes), ``rare_f1`` (the mean F1 of ``rare``): M = 1 figure.
            ``f1``, ``recall``: M = K, one a class; zero where a class does not occur.
        rare: numbers of classes.

    Returns:
        The figures, float64 [M] in [0, 1], and their influence, float64 [N, M], each column of mean zero.
    """
    hits_N = answers.predicted_N == answers.labels_N
    if metric == "accuracy":
        return np.array([hits_N.mean()]), (hits_N - hits_N.mean())[:, None]
    if metric in ("macro_f1", "rare_f1"):
        among = list(rare) if metric == "rare_f1" else list(range(answers.classes))
        f1_K, influence_NK = figures(answers, "f1")
        return f1_K[among].mean(keepdims=True), influence_NK[:, among].mean(1, keepdims=True)
    assert metric in BY_CLASS, metric
    every = np.arange(answers.classes)
    true_NK, said_NK = answers.labels_N[:, None] == every, answers.predicted_N[:, None] == every
    # Both are ratios of sums over rows: recall = hits / true, F1 = 2 hits / (true + said).
    above_NK = (true_NK & said_NK) * (2.0 if metric == "f1" else 1.0)
    below_NK = true_NK.astype(np.float64) + (said_NK if metric == "f1" else 0)
    below_K = np.maximum(below_NK.sum(0), 1)
    ratio_K = above_NK.sum(0) / below_K
    return ratio_K, len(hits_N) * (above_NK - ratio_K * below_NK) / below_K


def differences(
    ours: Sequence[Outcome], theirs: Sequence[Outcome], metric: str, part: Part = "test", rare: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Take two arms' figures apart, model by model, on the same rows.

    Args:
        ours: an arm's models: every seed in every split.
        theirs: the baseline's, of the same splits and seeds.
        metric: as for ``figures``.
        part: on which rows.
        rare: as for ``figures``.

    Returns:
        ours - theirs, float64 [J, S, M]; and the influence on the first split's differences, float64 [S, N, M].
    """
    ours, theirs = _in_order(ours), _in_order(theirs)
    assert [(o.split, o.seed) for o in ours] == [(o.split, o.seed) for o in theirs], "arms are paired by split and seed"
    splits = len({o.split for o in ours})
    values, influences = [], []
    for mine, other in zip(ours, theirs, strict=True):
        a, b = mine.answers(part), other.answers(part)
        assert np.array_equal(a.labels_N, b.labels_N), "arms answer the same rows in the same order"
        (value_a, influence_a), (value_b, influence_b) = figures(a, metric, rare), figures(b, metric, rare)
        values.append(value_a - value_b)
        if mine.split == ours[0].split:
            influences.append(influence_a - influence_b)
    assert len(values) == splits * len(influences), "every split has the same seeds"
    return np.array(values).reshape(splits, len(influences), -1), np.array(influences)


def _in_order(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: (outcome.split, outcome.seed))
