"""Compares two trained models on the same rows, by the test of McNemar."""

from __future__ import annotations

import numpy as np
from scipy import stats


def compute_mcnemar(labels_N: np.ndarray, ours_N: np.ndarray, theirs_N: np.ndarray) -> dict[str, float | int]:
    """Test whether two models are right equally often on the same rows, by the exact test of McNemar 1947.

    It holds for these two trained models on other rows; it does not cover other trainings.

    Args:
        labels_N: true classes, int64 [N].
        ours_N: classes predicted by the first model, int64 [N].
        theirs_N: classes predicted by the second model, int64 [N].

    Returns:
        ``ours_alone`` and ``theirs_alone``, the numbers of rows that only one model has right, and the two-sided ``p``
        of a binomial test that these are equally likely.

    >>> compute_mcnemar(np.array([0, 1, 1]), np.array([0, 1, 1]), np.array([0, 0, 0]))
    {'ours_alone': 2, 'theirs_alone': 0, 'p': 0.5}
    """
    ours = int(((ours_N == labels_N) & (theirs_N != labels_N)).sum())
    theirs = int(((theirs_N == labels_N) & (ours_N != labels_N)).sum())
    p = float(stats.binomtest(ours, ours + theirs).pvalue) if ours + theirs else 1.0
    return {"ours_alone": ours, "theirs_alone": theirs, "p": p}
