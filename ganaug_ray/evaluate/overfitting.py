"""Does augmentation reduce overfitting? The figures on training images minus those on test images, an arm at a time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ganaug_ray.evaluate import bootstrap, metrics
from ganaug_ray.evaluate.compare import paired

Figures = dict[str, np.ndarray]


def gaps(predictions: Mapping[str, list[pa.Table]], baseline: str, seed: int = 0) -> list[dict[str, Any]] | None:
    """Return a row an arm and metric; None where a model has no predictions of training images.

    The interval of a gap is a bootstrap over images, the same resamples for all arms and seeds. The change against
    the baseline is paired by seed, with the verdict's t interval.

    Args:
        predictions: arm -> its models' tables of predictions, in the same order of seeds.
        baseline: the arm that others are held against.
        seed: of the resamples.
    """
    by_arm: dict[str, list[dict[str, Figures]]] = {}
    for arm, tables in predictions.items():
        by_arm[arm] = [{split: _rows(table, split) for split in ("train", "test")} for table in tables]
        if any(not len(model["train"]["accuracy"]) for model in by_arm[arm]):
            return None
    found = []
    for metric in ("accuracy", "cross_entropy"):
        apart = {arm: _apart(models, metric) for arm, models in by_arm.items()}
        intervals = _intervals(by_arm, metric, seed)
        for arm, models in by_arm.items():
            train, test = (float(np.mean([m[split][metric].mean() for m in models])) for split in ("train", "test"))
            change = None if arm == baseline else paired(apart[arm] - apart[baseline])
            row = {"arm": arm, "metric": metric, "train": train, "test": test, "gap": train - test}
            found.append({**row, "ci95": intervals[arm], "change": change})
    return found


def sentence(rows: list[dict[str, Any]]) -> str:
    """Say what became of overfitting, by the gap in accuracy of the last arm."""
    row = [row for row in rows if row["metric"] == "accuracy"][-1]
    change = row["change"]
    if change is None:
        return f"On training images accuracy is {_points(row['gap'])} points above that on test images."
    mean = f"the gap changed by {_points(change['mean'])} points"
    if change["ci95"] is None:
        return f"Whether synthetic images reduce overfitting is unclear: {mean}, but no interval can be drawn."
    low, high = change["ci95"]
    interval = f"{mean} (95 % interval {_points(low)} to {_points(high)})"
    if high < 0:
        return f"Synthetic images reduced overfitting: {interval}."
    if low > 0:
        return f"Synthetic images increased overfitting: {interval}."
    return f"Whether synthetic images reduce overfitting is unclear: {interval}, and the interval holds zero."


def _points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f}"  # the zero turns a minus zero into a plain one


def _rows(table: pa.Table, split: str) -> Figures:
    labels, probabilities = metrics.split_of(table, split)
    return {
        "accuracy": (probabilities.argmax(1) == labels).astype(np.float64),
        "cross_entropy": metrics.losses(labels, probabilities),
    }


def _apart(models: list[dict[str, Figures]], metric: str) -> np.ndarray:
    return np.array([model["train"][metric].mean() - model["test"][metric].mean() for model in models])


def _intervals(by_arm: dict[str, list[dict[str, Figures]]], metric: str, seed: int) -> dict[str, list[float]]:
    """The resampled mean over seeds on training images minus that on test images, by arm."""
    drawn: dict[str, np.ndarray] = {}
    for split, sign in (("train", 1), ("test", -1)):
        rows_NA = np.stack([np.mean([m[split][metric] for m in models], 0) for models in by_arm.values()], 1)
        for arm, values in zip(by_arm, bootstrap.means(rows_NA, seed, split).T, strict=True):
            drawn[arm] = drawn.get(arm, 0) + sign * values
    return {arm: bootstrap.ends(values) for arm, values in drawn.items()}
