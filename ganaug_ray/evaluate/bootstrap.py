"""Confidence intervals by the bootstrap (Efron 1979): what a metric could be on other images drawn like these.

A resample of N rows is N weights, how often each row was drawn. Sums over the rows of many resamples are then one
matrix product, so that ten thousand rows a thousand times take a second or so.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import sparse

from ganaug_ray.core import rng

RESAMPLES = 1000
CONFIDENCE = 0.95
MAX_WEIGHTS_AT_ONCE = 2_000_000  # weights held at a time

Statistics = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Weights float64 [R, N] -> by name, the figure of each resample [R]."""


def draw_weights(n: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Count how often each of n rows is drawn in n draws with replacement.

    Args:
        n: number of rows; one at least.
        resamples: R, how often n rows are drawn.
        generator: of the draws.

    Returns:
        float64 [R, n], each row summing to n.

    >>> draw_weights(4, 2, np.random.default_rng(0)).sum(1).tolist()
    [4.0, 4.0]
    """
    first_cell_R1 = np.arange(resamples)[:, None] * n  # a resample counts in cells of its own
    cells_RN = generator.integers(0, n, (resamples, n)) + first_cell_R1
    counts = np.bincount(cells_RN.ravel(), minlength=resamples * n)
    return counts.reshape(resamples, n).astype(np.float64)


def compute_intervals(statistics: Statistics, n: int, seed: int) -> dict[str, list[float]]:
    """Compute 95 % percentile intervals of metrics of n rows (Efron & Tibshirani 1993, chapter 13).

    Args:
        statistics: computes the metrics of some resamples, from their weights float64 [R, n]; NaN where a resample has
            no such metric.
        n: number of rows; one at least.
        seed: of the draws.

    Returns:
        Name -> [low, high], from ``RESAMPLES`` resamples.
    """
    resampled: dict[str, list[np.ndarray]] = {}
    for weights_RN in _iterate_resamples(n, seed, "rows"):
        for name, values in statistics(weights_RN).items():
            resampled.setdefault(name, []).append(values)
    return {name: compute_interval(np.concatenate(parts)) for name, parts in resampled.items()}


def resample_means(values_NA: np.ndarray, seed: int, key: str) -> np.ndarray:
    """Compute the mean of each column over the rows of each of ``RESAMPLES`` resamples.

    Args:
        values_NA: float64 [N, A], a row an image.
        seed: of the draws.
        key: of the draws; with an equal seed and key the same rows are drawn.

    Returns:
        float64 [RESAMPLES, A].

    >>> resample_means(np.array([[1.0, 2.0], [1.0, 2.0]]), seed=0, key="rows")[0].tolist()
    [1.0, 2.0]
    """
    n = len(values_NA)
    return np.concatenate([weights_RN @ values_NA / n for weights_RN in _iterate_resamples(n, seed, key)])


def _iterate_resamples(n: int, seed: int, key: str) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(rng.hash_to_number(seed, "bootstrap", key))
    at_once = max(1, min(RESAMPLES, MAX_WEIGHTS_AT_ONCE // n))
    for start in range(0, RESAMPLES, at_once):
        yield draw_weights(n, min(at_once, RESAMPLES - start), generator)


def compute_interval(values: np.ndarray) -> list[float]:
    """Return the ends of the middle 95 % of resampled values.

    Args:
        values: float64 [R]; NaN values are left out.

    Returns:
        [low, high].

    >>> [round(end, 3) for end in compute_interval(np.linspace(0, 1, 1001))]
    [0.025, 0.975]
    """
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return [float(low), float(high)]


def scatter_columns(which: np.ndarray, columns: int, values: np.ndarray | None = None) -> sparse.csr_array:
    """Put each row's value into the column that ``which`` names, so that weights @ result sums the values by column.

    Args:
        which: the column of each row, int64 [N] in [0, columns).
        columns: number of columns.
        values: float64 [N]; None: 1 for each row, which makes the sums counts.

    Returns:
        Sparse float64 [N, columns].

    >>> scatter_columns(np.array([1, 0]), 2).toarray().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    rows = np.arange(len(which))
    values = np.ones(len(which)) if values is None else values
    return sparse.csr_array((values, (rows, which)), (len(which), columns))


def compute_areas(weights_RN: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the area under the ROC curve and the average precision of weighted rows, as scikit-learn defines them.

    Args:
        weights_RN: how often each row counts, float64 [R, N], a row a resample.
        labels: int64 [N], 0 or 1.
        scores: probability of class 1, float [N].

    Returns:
        ``roc_auc`` and ``average_precision``, float64 [R] in [0, 1]; NaN where a resample lacks a class they need.

    >>> compute_areas(np.ones((1, 4)), np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))["roc_auc"].tolist()
    [0.75]
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])  # equal scores are passed together
    sorted_RN = weights_RN[:, order]
    positive_RT = np.add.reduceat(sorted_RN * labels[order].astype(np.float64), starts, axis=1)
    negative_RT = np.add.reduceat(sorted_RN, starts, axis=1) - positive_RT
    hits_RT = positive_RT.cumsum(1)
    misses_RT = negative_RT.cumsum(1)
    positives = hits_RT[:, -1]
    negatives = misses_RT[:, -1]
    with np.errstate(invalid="ignore"):
        return {
            "roc_auc": (negative_RT * (hits_RT - positive_RT / 2)).sum(1) / (positives * negatives),
            "average_precision": (positive_RT * hits_RT / np.maximum(hits_RT + misses_RT, 1)).sum(1) / positives,
        }
