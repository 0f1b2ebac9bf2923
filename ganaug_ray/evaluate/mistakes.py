"""Finds a model's most confident mistakes, the classes it confuses, and labels that look wrong."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

FOLDS = 5
PROBE_C = 0.1  # inverse of the probe's L2 penalty: weak enough to fit classes, too strong to fit single rows


def find_confident_mistakes(labels: np.ndarray, probabilities: np.ndarray, max_rows: int) -> np.ndarray:
    """Return the numbers of the rows that are classified wrongly, the most confident first.

    Args:
        labels: true classes, int64 [N] in [0, K).
        probabilities: float [N, K].
        max_rows: number of rows that are returned at most.

    Returns:
        int64 [at most ``max_rows``].

    >>> find_confident_mistakes(np.array([0, 1, 1]), np.array([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8]]), 9).tolist()
    [1, 0]
    """
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(1), kind="stable")][:max_rows]


def find_confused_pairs(counts: np.ndarray, classes: Sequence[str], max_pairs: int) -> list[dict[str, Any]]:
    """Return the pairs of true and predicted class with the most mistakes, the most frequent first.

    Args:
        counts: confusion matrix, int64 [K, K], true class down.
        classes: K names.
        max_pairs: number of pairs that are returned at most.

    Returns:
        A row a pair: ``true``, ``predicted``, ``count``, and ``share`` of the true class's rows; pairs without a
        mistake are left out.

    >>> find_confused_pairs(np.array([[5, 0], [3, 1]]), ["cat", "dog"], 9)
    [{'true': 'dog', 'predicted': 'cat', 'count': 3, 'share': 0.75}]
    """
    off = counts - np.diag(counts.diagonal())
    order = np.argsort(-off, axis=None, kind="stable")[:max_pairs]
    pairs = []
    for true, predicted in zip(*np.unravel_index(order, off.shape), strict=True):
        count = off[true, predicted]
        if count:
            share = float(count / counts[true].sum())
            pairs.append({"true": classes[true], "predicted": classes[predicted], "count": int(count), "share": share})
    return pairs


def predict_out_of_sample(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> np.ndarray | None:
    """Predict each row's class probabilities with a linear probe that was fitted without this row.

    A network may have learned the wrong labels of its training rows by heart. Its penultimate features still place
    such a row among the class that it shows, and a logistic regression that has not seen the row's label says so. Its
    probability of the label is the self-confidence of confident learning (Northcutt et al. 2021, arXiv 1911.00068).

    Args:
        features: penultimate features, float [N, F].
        labels: as given, int64 [N] in [0, K).
        classes: K.
        seed: of the cross-validation folds, five at most.

    Returns:
        float64 [N, K]; None where fewer than two classes occur, or one occurs in a single row.
    """
    present = np.bincount(labels, minlength=classes)
    folds = min(FOLDS, int(present[present > 0].min(initial=FOLDS)))
    if folds < 2 or (present > 0).sum() < 2:
        return None
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=PROBE_C, max_iter=200))
    by_class = StratifiedKFold(folds, shuffle=True, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():  # one thread: sums in one order, and equal pages
        warnings.simplefilter("ignore")  # the last digits of a fit do not matter
        fold_probabilities = cross_val_predict(probe, features, labels, cv=by_class, method="predict_proba")
    probabilities = np.zeros((len(labels), classes))
    probabilities[:, present > 0] = fold_probabilities
    return probabilities


def rank_suspects(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Sort all rows by self-confidence, the probability of the label that they have, the least first.

    Args:
        labels: as given, int64 [N] in [0, K).
        probabilities: of ``predict_out_of_sample``, float64 [N, K].

    Returns:
        Numbers of rows, int64 [N].

    >>> rank_suspects(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]])).tolist()
    [1, 0]
    """
    return np.argsort(probabilities[np.arange(len(labels)), labels], kind="stable")
