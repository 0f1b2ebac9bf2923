"""Intervals by the bootstrap (Efron 1979): what a figure would be on other images drawn like these.

A resample of N rows is N weights, how often each row was drawn. Sums over the rows of many resamples are then one
matrix product, and so ten thousand rows a thousand times take a second or so.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import sparse

from ganaug_ray.core import rng

RESAMPLES = 1000
CONFIDENCE = 0.95
CHUNK = 2_000_000  # weights held at a time

Statistics = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Weights float64 [R, N] -> by name, the figure of each resample [R]."""


def weights(n: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """How often each of n rows is drawn in n draws with replacement: float64 [resamples, n], each row summing to n."""
    drawn = generator.integers(0, n, (resamples, n)) + np.arange(resamples)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def intervals(statistics: Statistics, n: int, seed: int) -> dict[str, list[float]]:
    """Percentile intervals of figures of n rows.

    Args:
        statistics: takes some resamples at a time; NaN where a resample has no such figure.
        n: rows.
        seed: of the draws.

    Returns:
        By name [low, high].
    """
    parts = [statistics(weights_RN) for weights_RN in _resamples(n, seed, "rows")]
    return {name: ends(np.concatenate([part[name] for part in parts])) for name in parts[0]}


def means(values_NA: np.ndarray, seed: int, key: str) -> np.ndarray:
    """Means of each column over resampled rows: float64 [RESAMPLES, A]; equal seeds and keys resample alike."""
    n = len(values_NA)
    return np.concatenate([weights_RN @ values_NA / n for weights_RN in _resamples(n, seed, key)])


def _resamples(n: int, seed: int, key: str) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(rng.number(seed, "bootstrap", key))
    at_once = max(1, min(RESAMPLES, CHUNK // n))
    for start in range(0, RESAMPLES, at_once):
        yield weights(n, min(at_once, RESAMPLES - start), generator)


def ends(values: np.ndarray) -> list[float]:
    """The middle 95 % of resampled values: [low, high]."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return [float(low), float(high)]


def spread(which: np.ndarray, columns: int, values: np.ndarray | None = None) -> sparse.csr_array:
    """Put each row's value, or a one, into the column of its number: sparse float64 [N, columns]."""
    rows = np.arange(len(which))
    values = np.ones(len(which)) if values is None else values
    return sparse.csr_array((values, (rows, which)), (len(which), columns))


def areas(weights_RN: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Area under the ROC curve and average precision of weighted rows, as scikit-learn defines them; labels 0 or 1."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])  # equal scores are passed together
    sorted_RN, positive_N = weights_RN[:, order], labels[order].astype(np.float64)
    positive_RT, all_RT = (np.add.reduceat(rows_RN, starts, axis=1) for rows_RN in (sorted_RN * positive_N, sorted_RN))
    negative_RT = all_RT - positive_RT
    hits_RT, misses_RT = positive_RT.cumsum(1), negative_RT.cumsum(1)
    positives, negatives = hits_RT[:, -1], misses_RT[:, -1]
    with np.errstate(invalid="ignore"):
        return {
            "roc_auc": (negative_RT * (hits_RT - positive_RT / 2)).sum(1) / (positives * negatives),
            "average_precision": (positive_RT * hits_RT / np.maximum(hits_RT + misses_RT, 1)).sum(1) / positives,
        }
