"""Whether augmentation reduces overfitting: the gap between metrics on training and on test images, arm by arm."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ganaug_ray.evaluate import bootstrap, metrics
from ganaug_ray.evaluate.metric_register import ACCURACY, UNCALIBRATED_ROW_MEANS
from ganaug_ray.verdict import paired_statistics

Figures = dict[str, np.ndarray]
Models = list[dict[str, Figures]]  # of one split, seed by seed: on training and on test rows


def compute_gaps(
    predictions: Mapping[str, list[list[pa.Table]]], baseline: str, seed: int = 0
) -> list[dict[str, Any]] | None:
    """Compute each arm's gap between training and test images, and its change against the baseline.

    The interval of a gap is a bootstrap over images, with the same resamples for all arms and seeds. The change against
    the baseline is paired by split and seed, with a t interval over splits, or over the seeds of a single split.

    Args:
        predictions: arm -> tables of predictions of its models, by split and, within a split, by seed; in the same
            order for all arms.
        baseline: the arm that others are compared with.
        seed: of the resamples.

    Returns:
        A row for each arm and each metric that is a mean over rows: ``arm``, ``metric``, the means ``train`` and
        ``test``, their difference ``gap`` = train - test with its ``ci95``, and ``change``, the difference from the
        baseline's gap (``mean``, ``ci95``, ``p``), None for the baseline itself. None instead of rows where a model has
        no predictions of training images.
    """
    by_arm: dict[str, list[Models]] = {}
    for arm, splits in predictions.items():
        by_arm[arm] = [[_score_model(table) for table in tables] for tables in splits]
        models = itertools.chain.from_iterable(by_arm[arm])
        if not all(len(model["train"][ACCURACY.key]) for model in models):
            return None
    rows = []
    for metric in UNCALIBRATED_ROW_MEANS:
        train_JS = {arm: _average_rows(models, metric.key, "train") for arm, models in by_arm.items()}
        test_JS = {arm: _average_rows(models, metric.key, "test") for arm, models in by_arm.items()}
        gap_JS = {arm: train_JS[arm] - test_JS[arm] for arm in by_arm}
        intervals = _bootstrap_intervals(by_arm, metric.key, seed)
        for arm in by_arm:
            train = float(train_JS[arm].mean())
            test = float(test_JS[arm].mean())
            change = None
            if arm != baseline:
                estimate = paired_statistics.estimate_mean_over_repeats(gap_JS[arm] - gap_JS[baseline])
                change = {"mean": estimate.mean, "ci95": estimate.ci95, "p": estimate.p}
            row = {"arm": arm, "metric": metric.key, "train": train, "test": test, "gap": train - test}
            rows.append({**row, "ci95": intervals[arm], "change": change})
    return rows


def describe_gap(rows: list[dict[str, Any]], arm: str, title: str) -> str:
    """Say in one sentence whether an arm reduces overfitting, by its gap in accuracy.

    Args:
        rows: of ``compute_gaps``.
        arm: name of the arm; for the baseline the sentence gives its gap.
        title: what its classifiers are trained on, in words.
    """
    (row,) = (row for row in rows if (row["metric"], row["arm"]) == (ACCURACY.key, arm))
    change = row["change"]
    if change is None:
        return f"Accuracy on training images minus that on test images is {_format_points(row['gap'])} points."
    mean = f"the gap changed by {_format_points(change['mean'])} points"
    unclear = f"Whether training on {title} reduces overfitting is unclear"
    if change["ci95"] is None:
        return f"{unclear}: {mean}, and there are too few trainings to tell."
    low, high = change["ci95"]
    interval = f"{mean} (95 % interval {_format_points(low)} to {_format_points(high)})"
    if high < 0:
        return f"Training on {title} reduced overfitting: {interval}."
    if low > 0:
        return f"Training on {title} increased overfitting: {interval}."
    return f"{unclear}: {interval}, and the interval includes zero."


def _format_points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # the zero turns a minus zero into a plain one


def _score_model(table: pa.Table) -> dict[str, Figures]:
    return {part: _score_rows(table, part) for part in ("train", "test")}


def _score_rows(table: pa.Table, split: str) -> Figures:
    labels, probabilities = metrics.read_split(table, split)
    return {metric.key: metric.rows(labels, probabilities) for metric in UNCALIBRATED_ROW_MEANS if metric.rows}


def _average_rows(splits: list[Models], metric: str, part: str) -> np.ndarray:
    """By split and seed, float64 [J, S]."""
    means = []
    for models in splits:
        means.append([model[part][metric].mean() for model in models])
    return np.array(means)


def _bootstrap_intervals(by_arm: dict[str, list[Models]], metric: str, seed: int) -> dict[str, list[float]]:
    """The resampled mean over splits and seeds on training images minus that on test images, by arm."""
    drawn = {arm: np.zeros(bootstrap.RESAMPLES) for arm in by_arm}
    splits = len(next(iter(by_arm.values())))
    for split, (part, sign) in itertools.product(range(splits), (("train", 1), ("test", -1))):
        row_means = []
        for splits_of_arm in by_arm.values():
            row_means.append(np.mean([model[part][metric] for model in splits_of_arm[split]], 0))
        rows_NA = np.stack(row_means, 1)
        for arm, values in zip(by_arm, bootstrap.resample_means(rows_NA, seed, f"{part} {split}").T, strict=True):
            drawn[arm] += sign * values / splits
    return {arm: bootstrap.compute_interval(values) for arm, values in drawn.items()}
