"""What the models of an arm answered, and the figures that arms are compared by.

With each figure comes its influence: how much each row moves it, the derivative by the row's weight. Its variance over
rows, divided by their number, is the figure's variance over other rows drawn alike (the infinitesimal jackknife:
Efron 1982, "The Jackknife, the Bootstrap and Other Resampling Plans", chapter 6). For accuracy that is the closed form;
for ratios such as F1 it is the delta method.
"""

from __future__ import annotations

from collections import Counter
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
        found = {name: float(figures(self, name, rare)[0]) for name in names}
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
        return Outcome(split, seed, answers_of(predictions, "val"), answers_of(predictions, "test"))

    def answers(self, part: Part) -> Answers:
        """On validation or on test."""
        return self.val if part == "val" else self.test


def answers_of(predictions: pa.Table, part: Part) -> Answers:
    """What a model's predictions.parquet has of one part."""
    labels, probabilities = metrics.split_of(predictions, part)
    loss = float(metrics.losses(labels, probabilities).mean())
    return Answers(labels, probabilities.argmax(1), probabilities.shape[1], loss)


def figures(answers: Answers, metric: str, rare: Sequence[int] = ()) -> np.ndarray:
    """A metric of some answers: float64 [M] in [0, 1].

    Args:
        answers: of N rows.
        metric: ``accuracy``, ``macro_f1`` (over all classes), ``rare_f1`` (the mean F1 of ``rare``): M = 1 figure.
            ``f1``, ``recall``: M = K, one a class; zero where a class does not occur.
        rare: numbers of classes.
    """
    if metric == "accuracy":
        return (answers.predicted_N == answers.labels_N).mean(keepdims=True)
    if metric in ("macro_f1", "rare_f1"):
        return figures(answers, "f1")[_among(answers, metric, rare)].mean(keepdims=True)
    return _ratio(answers, metric)[0]


def influence(answers: Answers, metric: str, rare: Sequence[int] = ()) -> np.ndarray:
    """How much each row moves each figure of a metric: float64 [N, M], each column of mean zero."""
    hits_N = answers.predicted_N == answers.labels_N
    if metric == "accuracy":
        return (hits_N - hits_N.mean())[:, None]
    if metric in ("macro_f1", "rare_f1"):
        return influence(answers, "f1")[:, _among(answers, metric, rare)].mean(1, keepdims=True)
    ratio_K, below_K = _ratio(answers, metric)
    every = np.arange(answers.classes)
    true_NK, said_NK = answers.labels_N[:, None] == every, answers.predicted_N[:, None] == every
    above_NK = (true_NK & said_NK) * (2.0 if metric == "f1" else 1.0)
    below_NK = true_NK.astype(np.float64) + (said_NK if metric == "f1" else 0)
    return len(hits_N) * (above_NK - ratio_K * below_NK) / below_K


def _among(answers: Answers, metric: str, rare: Sequence[int]) -> list[int]:
    return list(rare) if metric == "rare_f1" else list(range(answers.classes))


def _ratio(answers: Answers, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """A figure of each class as a ratio of sums over rows, and the lower sum: float64 [K] each.

    Recall is hits / true, F1 is 2 hits / (true + said).
    """
    assert metric in BY_CLASS, metric
    labels_N, predicted_N, size = answers.labels_N, answers.predicted_N, answers.classes
    true_K, said_K = np.bincount(labels_N, minlength=size), np.bincount(predicted_N, minlength=size)
    hits_K = np.bincount(labels_N[labels_N == predicted_N], minlength=size)
    above_K, below_K = (2 * hits_K, true_K + said_K) if metric == "f1" else (hits_K, true_K)
    below_K = np.maximum(below_K, 1)
    return above_K / below_K, below_K


def differences(
    ours: Sequence[Outcome], theirs: Sequence[Outcome], metric: str, part: Part = "test", rare: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray | None]:
    """Take two arms' figures apart, model by model, on the same rows.

    Args:
        ours: an arm's models: every seed in every split.
        theirs: the baseline's, of the same splits and seeds.
        metric: as for ``figures``.
        part: on which rows.
        rare: as for ``figures``.

    Returns:
        ours - theirs, float64 [J, S, M]; and where there is a single split, the influence on it, float64 [S, N, M].
    """
    ours, theirs = _in_order(ours), _in_order(theirs)
    assert [(o.split, o.seed) for o in ours] == [(o.split, o.seed) for o in theirs], "arms are paired by split and seed"
    seeds = Counter(outcome.split for outcome in ours)
    assert len(set(seeds.values())) == 1, "every split has the same seeds"
    pairs = [(mine.answers(part), other.answers(part)) for mine, other in zip(ours, theirs, strict=True)]
    assert all(np.array_equal(a.labels_N, b.labels_N) for a, b in pairs), "arms answer the same rows in the same order"
    values = np.array([figures(a, metric, rare) - figures(b, metric, rare) for a, b in pairs])
    values_JSM = values.reshape(len(seeds), -1, values.shape[1])
    if len(seeds) > 1:
        return values_JSM, None
    return values_JSM, np.array([influence(a, metric, rare) - influence(b, metric, rare) for a, b in pairs])


def _in_order(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: (outcome.split, outcome.seed))
