"""The register of metrics: the setting, the tables and the sums are about the same ones."""

from __future__ import annotations

from typing import get_args

import numpy as np

from ganaug_ray.config import CompareConfig
from ganaug_ray.evaluate import metrics
from ganaug_ray.evaluate.metric_register import (
    ACCURACY,
    CLASS_METRICS,
    COMPARED,
    CROSS_ENTROPY,
    METRICS,
    SUMMARIZED,
    TABULATED,
)


def keys(some: tuple) -> list[str]:
    return [metric.key for metric in some]


def test_setting_offers_all_compared_metrics() -> None:
    """compare.metric may be each metric that arms are compared by, and a gain of it must be a good thing."""
    assert list(get_args(CompareConfig.model_fields["metric"].annotation)) == keys(COMPARED)
    assert all(metric.higher_is_better and metric.is_share for metric in COMPARED)


def test_every_computed_figure_is_registered() -> None:
    """What a model's figures are called is in the register, whatever the number of classes."""
    registered = set(keys(METRICS))
    for classes in (2, 4, 10):
        labels_N = np.arange(40) % classes
        probabilities_NK = np.random.default_rng(classes).dirichlet(np.ones(classes), 40)
        figures = metrics.compute_figures(labels_N, probabilities_NK, [str(label) for label in range(classes)])
        assert set(figures["intervals"]) <= registered


def test_metric_keys_are_unique() -> None:
    """A key names one metric, and columns that every data set has are those without rare classes."""
    every_key = keys((*METRICS, *CLASS_METRICS))
    assert len(set(every_key)) == len(every_key)
    assert set(keys(SUMMARIZED)) - set(keys(TABULATED)) == {"rare_f1"}


def test_metric_of_rows_is_their_mean() -> None:
    """The values of rows have the mean that the model's figure has."""
    labels_N = np.arange(30) % 3
    probabilities_NK = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    figures = metrics.compute_figures(labels_N, probabilities_NK, ["a", "b", "c"])
    for metric in (ACCURACY, CROSS_ENTROPY):
        assert metric.rows is not None
        assert np.isclose(metric.rows(labels_N, probabilities_NK).mean(), figures[metric.key])
