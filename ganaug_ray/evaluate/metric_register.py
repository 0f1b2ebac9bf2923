"""The register of classifier metrics: one object for each, which tables, templates, sentences and settings read.

A new metric is one more object in ``METRICS``. Its attributes decide where it appears:

- ``rows``: it is a mean over rows, of probabilities. It stands in verdict.json, in the tables of models, and in that of
  overfitting.
- ``calibrated``: its rows are those of probabilities after temperature scaling on validation images, so that a model is
  not judged by how sure it is of itself in general.
- ``estimator``: arms can be compared by it, with an interval. It stands in verdict.json, in the tables of models and of
  arms, and may be chosen as ``compare.metric``; its key is then also listed in ``config/compare.py``.
- neither: it is only one of ``metrics.compute_figures``, and stands in the table of the champion alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ganaug_ray.evaluate import row_scores
from ganaug_ray.evaluate.answer_scores import Accuracy, ClassMean, ClassRatio, Estimator


@dataclass(frozen=True)
class Metric:
    """A metric of a classifier.

    Attributes:
        key: its name in files and settings.
        name: its name in sentences.
        unit: ``%`` for a share and ``points`` for a distance of shares, which are shown times 100; others as they are.
        higher_is_better: which way is better.
        rows: computes the values whose mean over rows is the metric: labels int64 [N] and probabilities float [N, K] ->
            float64 [N].
        estimator: computes it from a model's answers, with the influence of each row.
        needs_rare: whether it is defined only where some classes are rare.
        calibrated: whether the probabilities are scaled on validation images first.
    """

    key: str
    name: str
    unit: Literal["%", "points", "nats", ""]
    higher_is_better: bool = True
    rows: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    estimator: Estimator | None = None
    needs_rare: bool = False
    calibrated: bool = False

    @property
    def title(self) -> str:
        """The name with its unit, for a heading.

        >>> get_metric("macro_f1").title
        'macro-F1, %'
        """
        return f"{self.name}, {self.unit}" if self.unit else self.name

    @property
    def column(self) -> str:
        """The heading of a table's column; it has the unit only where values are shown times 100.

        >>> [get_metric(key).column for key in ("accuracy", "cross_entropy")]
        ['accuracy, %', 'cross-entropy']
        """
        return self.title if self.is_share else self.name

    @property
    def is_share(self) -> bool:
        """Whether values are shown times 100."""
        return self.unit in ("%", "points")

    @property
    def scale(self) -> int:
        """By what values are multiplied where they are shown."""
        return 100 if self.is_share else 1

    @property
    def change_unit(self) -> str:
        """The unit of differences.

        >>> [get_metric(key).change_unit for key in ("accuracy", "cross_entropy", "calibrated_brier")]
        ['points', 'nats', '']
        """
        return "points" if self.is_share else self.unit

    def format_change(self, value: float) -> str:
        """Write a difference with its sign and without its unit; there is no minus zero.

        Args:
            value: one value of the metric minus another, as a share where values are shown times 100.

        Returns:
            The number with one digit after the point where it is shown times 100, else with three.

        >>> get_metric("accuracy").format_change(-0.0125), get_metric("cross_entropy").format_change(0.0125)
        ('-1.2', '+0.013')
        """
        digits = 1 if self.is_share else 3
        return f"{round(self.scale * value, digits) + 0.0:+.{digits}f}"

    def format_value(self, value: float) -> str:
        """Format a value for a table, without its unit.

        Args:
            value: of the metric, as a share where values are shown times 100.

        Returns:
            The number with one digit after the point where it is shown times 100, else with three.

        >>> get_metric("accuracy").format_value(0.8125), get_metric("cross_entropy").format_value(0.8125)
        ('81.2', '0.812')
        """
        return f"{100 * value:.1f}" if self.is_share else f"{value:.3f}"

    def format_with_unit(self, value: float) -> str:
        """Format a value for a sentence.

        Args:
            value: in the metric's own unit, such as a share.

        >>> get_metric("accuracy").format_with_unit(0.8125), get_metric("macro_f1").format_with_unit(0.8125)
        ('81.2 %', '81.2 %')
        >>> get_metric("cross_entropy").format_with_unit(0.8125)
        '0.812'
        """
        return f"{self.format_value(value)} %" if self.is_share else self.format_value(value)


_F1 = ClassRatio(hit_weight=2, counts_predicted=True)
_RECALL = ClassRatio(hit_weight=1, counts_predicted=False)

ACCURACY = Metric("accuracy", "accuracy", "%", rows=row_scores.compute_hits, estimator=Accuracy())
CROSS_ENTROPY = Metric("cross_entropy", "cross-entropy", "nats", higher_is_better=False, rows=row_scores.compute_losses)
CALIBRATED_CROSS_ENTROPY = Metric(
    "calibrated_cross_entropy",
    "cross-entropy after calibration",
    "nats",
    higher_is_better=False,
    rows=row_scores.compute_losses,
    estimator=row_scores.RowMean("calibrated_cross_entropy"),
    calibrated=True,
)
CALIBRATED_BRIER = Metric(
    "calibrated_brier",
    "Brier score after calibration",
    "",
    higher_is_better=False,
    rows=row_scores.compute_brier,
    estimator=row_scores.RowMean("calibrated_brier"),
    calibrated=True,
)

# In the order of tables.
METRICS = (
    ACCURACY,
    Metric("top3_accuracy", "top-3 accuracy", "%"),
    Metric("top5_accuracy", "top-5 accuracy", "%"),
    Metric("macro_precision", "macro precision", "%"),
    Metric("macro_recall", "macro recall", "%"),
    Metric("macro_f1", "macro-F1", "%", estimator=ClassMean(_F1)),
    Metric("rare_f1", "F1 of rare classes", "%", estimator=ClassMean(_F1, only_rare=True), needs_rare=True),
    Metric("weighted_precision", "weighted precision", "%"),
    Metric("weighted_recall", "weighted recall", "%"),
    Metric("weighted_f1", "weighted F1", "%"),
    Metric("roc_auc", "area under the ROC curve", "%"),
    Metric("average_precision", "average precision", "%"),
    Metric("calibration_error", "calibration error", "points", higher_is_better=False),
    CROSS_ENTROPY,
    CALIBRATED_CROSS_ENTROPY,
    CALIBRATED_BRIER,
)
COMPARED = tuple(metric for metric in METRICS if metric.estimator)  # arms can be compared by them
ROW_MEANS = tuple(metric for metric in METRICS if metric.rows)
UNCALIBRATED_ROW_MEANS = tuple(metric for metric in ROW_MEANS if not metric.calibrated)
SUMMARIZED = tuple(metric for metric in METRICS if metric in COMPARED or metric in ROW_MEANS)  # in verdict.json
TABULATED = tuple(metric for metric in SUMMARIZED if not (metric.needs_rare or metric.calibrated))  # tables of models

# Figures of each class, by which an arm is compared class by class.
CLASS_METRICS = (
    Metric("f1", "F1", "%", estimator=_F1),
    Metric("recall", "recall", "%", estimator=_RECALL),
)

_BY_KEY = {metric.key: metric for metric in (*METRICS, *CLASS_METRICS)}


def get_metric(key: str) -> Metric:
    """Return the metric with this key.

    Args:
        key: of one of ``METRICS`` or of ``CLASS_METRICS``.

    Returns:
        The metric.

    Raises:
        KeyError: no metric has this key.

    >>> get_metric("macro_f1").name
    'macro-F1'
    """
    return _BY_KEY[key]


def get_choice_metric(key: str) -> str:
    """Return the key of the metric that validation images choose by, where the metric with this key decides on test.

    For accuracy it is a smoother score: the few validation images tell more by the probabilities of their classes than
    by how many are right. Of three arms that accuracy hardly tells apart, that choice lost less (documentation,
    "Checks of the verdict").

    >>> get_choice_metric("accuracy"), get_choice_metric("macro_f1")
    ('calibrated_cross_entropy', 'macro_f1')
    """
    return CALIBRATED_CROSS_ENTROPY.key if key == ACCURACY.key else key


def get_estimator(key: str) -> Estimator:
    """Return the estimator of the metric with this key, which must be one that arms can be compared by.

    Args:
        key: of one of ``COMPARED`` or of ``CLASS_METRICS``.

    Returns:
        What computes the metric from predicted classes.

    Raises:
        KeyError: no metric has this key.
    """
    estimator = get_metric(key).estimator
    assert estimator is not None, f"{key} cannot be computed from predicted classes"
    return estimator


def list_compared(has_rare: bool) -> list[Metric]:
    """List the metrics that arms are compared by.

    Args:
        has_rare: whether some classes are rare; if not, the metrics of rare classes are left out.

    >>> [metric.key for metric in list_compared(has_rare=False)]
    ['accuracy', 'macro_f1', 'calibrated_cross_entropy', 'calibrated_brier']
    """
    return [metric for metric in COMPARED if has_rare or not metric.needs_rare]
