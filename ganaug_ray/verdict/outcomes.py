"""The predictions of an arm's models, and the differences of two arms' metrics.

How a metric is computed, and how much each row moves it, is in ``evaluate.answer_scores``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.evaluate import calibration, metrics
from ganaug_ray.evaluate.answer_scores import PredictedClasses
from ganaug_ray.evaluate.metric_register import ROW_MEANS, SUMMARIZED, get_estimator
from ganaug_ray.verdict.paired_statistics import Differences

Part = Literal["val", "test"]


class Predictions(PredictedClasses):
    """What a model said of the rows of a split."""

    def summarize(self, rare: Sequence[int] = ()) -> dict[str, float]:
        """Return the metrics that verdict.json has, by key, in the order of the register.

        Args:
            rare: numbers of the rare classes; without any, metrics of these are left out.

        >>> read_predictions(pa.table({"split": ["val"], "label": [0], "probabilities": pa.array(
        ...     [[0.5, 0.5]], pa.list_(pa.float32(), 2))}), "val").summarize()["cross_entropy"].__round__(3)
        0.693
        """
        values = {}
        for metric in SUMMARIZED:
            if metric.needs_rare and not rare:
                continue
            if metric.key in self.row_scores:
                values[metric.key] = float(self.row_scores[metric.key].mean())
            elif metric.estimator:
                values[metric.key] = float(metric.estimator.compute(self, rare)[0])
        return values


@dataclass(frozen=True)
class Outcome:
    """The predictions of one model.

    Attributes:
        split: number of the split of the images that it was trained on.
        seed: that it was trained with.
        val: its predictions of validation rows.
        test: its predictions of test rows.
    """

    split: int
    seed: int
    val: Predictions
    test: Predictions

    @staticmethod
    def from_table(predictions: pa.Table, split: int, seed: int) -> Outcome:
        """Read a model's answers on validation and on test from its table of predictions.

        Args:
            predictions: a model's predictions.parquet; see ``metrics.read_split``. Its validation rows also fit the
                temperature of the calibrated metrics.
            split: number of the split of the images that it was trained on.
            seed: that it was trained with.

        Returns:
            The outcome, of N validation rows and M test rows.

        >>> probabilities = pa.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], pa.list_(pa.float32(), 2))
        >>> table = pa.table({"split": ["val", "test", "test"], "label": [0, 1, 1], "probabilities": probabilities})
        >>> Outcome.from_table(table, split=0, seed=1).test.predicted_N.tolist()
        [1, 0]
        """
        temperature = calibration.fit_temperature(*metrics.read_split(predictions, "val"))
        val, test = (read_predictions(predictions, part, temperature) for part in ("val", "test"))
        return Outcome(split, seed, val, test)

    def select_part(self, part: Part) -> Predictions:
        """Return the predictions of validation or of test rows.

        Args:
            part: ``val`` or ``test``.

        Returns:
            The answers on the rows of that part.
        """
        return self.val if part == "val" else self.test


def read_predictions(predictions: pa.Table, part: Part, temperature: float = 1.0) -> Predictions:
    """Read what a model answered on one part of the images.

    Args:
        predictions: a model's predictions.parquet; see ``metrics.read_split``.
        part: ``val`` or ``test``.
        temperature: by which probabilities are scaled for calibrated metrics; fitted on validation.

    Returns:
        Its answers, with the rows' scores for each metric that is a mean over rows.
    """
    labels_N, probabilities_NK = metrics.read_split(predictions, part)
    calibrated_NK = calibration.scale_probabilities(probabilities_NK, temperature)
    row_scores = {}
    for metric in ROW_MEANS:
        assert metric.rows is not None
        row_scores[metric.key] = metric.rows(labels_N, calibrated_NK if metric.calibrated else probabilities_NK)
    return Predictions(labels_N, probabilities_NK.argmax(1), probabilities_NK.shape[1], row_scores)


def score_on_validation(run: Run, model: Folder, metric: str) -> float:
    """Compute a metric of a model on validation images, calibrated on these where the metric is of that kind.

    Args:
        run: with the data set.
        model: a finished model's folder, with predictions of the validation images.
        metric: key of one of ``COMPARED``.
    """
    facts = DatasetRecord.read(run.dataset)
    table = model.read_table("predictions.parquet")
    answers = read_predictions(table, "val", calibration.fit_temperature(*metrics.read_split(table, "val")))
    rare = [facts.classes.index(name) for name in facts.rare]
    return float(compute_figures(answers, metric, rare)[0])


def compute_figures(answers: PredictedClasses, metric: str, rare: Sequence[int] = ()) -> np.ndarray:
    """Compute a metric of predicted classes.

    Args:
        answers: of N rows; one at least.
        metric: key of one of ``COMPARED`` (M = 1 value) or of ``CLASS_METRICS`` (M = K values, one a class).
        rare: numbers of the rare classes; used by metrics of these alone.

    Returns:
        float64 [M] in [0, 1].

    >>> compute_figures(PredictedClasses(np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0]), 2), "recall").round(3).tolist()
    [1.0, 0.667]
    """
    return get_estimator(metric).compute(answers, rare)


def compute_influence(answers: PredictedClasses, metric: str, rare: Sequence[int] = ()) -> np.ndarray:
    """Compute how much each row moves each value of a metric.

    Args:
        answers: of N rows; one at least.
        metric: as for ``compute_figures``.
        rare: as for ``compute_figures``.

    Returns:
        float64 [N, M], each column of mean zero.
    """
    return get_estimator(metric).compute_influence(answers, rare)


def compute_differences(
    ours: Sequence[Outcome], theirs: Sequence[Outcome], metric: str, part: Part = "test", rare: Sequence[int] = ()
) -> Differences:
    """Take two arms' figures apart, model by model, on the same rows.

    Args:
        ours: an arm's models: every seed in every split, in any order.
        theirs: the baseline's models of the same splits and seeds; both predict the same rows in the same order.
        metric: as for ``compute_figures``.
        part: ``val`` or ``test``.
        rare: as for ``compute_figures``.

    Returns:
        ours - theirs, of M figures.
    """
    ours = _sort_outcomes(ours)
    theirs = _sort_outcomes(theirs)
    assert [(o.split, o.seed) for o in ours] == [(o.split, o.seed) for o in theirs], "arms are paired by split and seed"
    seeds = Counter(outcome.split for outcome in ours)
    assert len(set(seeds.values())) == 1, "every split has the same seeds"
    pairs = [(mine.select_part(part), other.select_part(part)) for mine, other in zip(ours, theirs, strict=True)]
    assert all(np.array_equal(a.labels_N, b.labels_N) for a, b in pairs), "arms answer the same rows in the same order"
    values = np.array([compute_figures(a, metric, rare) - compute_figures(b, metric, rare) for a, b in pairs])
    moved = [compute_influence(a, metric, rare) - compute_influence(b, metric, rare) for a, b in pairs]
    per_split = len(pairs) // len(seeds)
    influence = [np.array(moved[first : first + per_split]) for first in range(0, len(moved), per_split)]
    steps_M = np.mean([get_estimator(metric).compute_row_steps(answers, rare) for answers, _ in pairs], 0)
    return Differences(values.reshape(len(seeds), per_split, -1), influence, steps_M)


def _sort_outcomes(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: (outcome.split, outcome.seed))
