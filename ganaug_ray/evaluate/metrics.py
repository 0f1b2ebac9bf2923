"""Computes the metrics of one model from its predictions, with scikit-learn."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn import metrics as sk

from ganaug_ray.evaluate import bootstrap
from ganaug_ray.evaluate.row_scores import compute_hits, compute_losses

CONFIDENCE_BINS = 15  # of confidence, in the calibration error; as in the paper
MAX_CURVE_POINTS = 200  # of a ROC or precision-recall curve that are kept


def read_split(predictions: pa.Table, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the labels and probabilities of one split from a model's table of predictions.

    Args:
        predictions: a model's predictions.parquet: ``split``, ``label`` and, as lists of K, ``probabilities``.
        split: ``train``, ``val`` or ``test``.

    Returns:
        (labels int64 [N], probabilities float32 [N, K]); N may be zero.
    """
    rows = predictions.filter(pc.field("split") == split).combine_chunks()
    labels = rows.column("label").to_numpy()
    flat = rows.column("probabilities").combine_chunks().flatten().to_numpy()
    return labels, flat.reshape(len(labels), predictions.schema.field("probabilities").type.list_size)


def compute_figures(labels: np.ndarray, probabilities: np.ndarray, classes: list[str], seed: int = 0) -> dict[str, Any]:
    """Compute all metrics of a model on some images, each with a 95 % bootstrap interval over these images.

    Macro averages are over the classes that occur, as true or as predicted ones; weighted averages weigh each class by
    its true rows. ``top3_accuracy`` or ``top5_accuracy`` is there as ``choose_top_k`` says. ``calibration_error`` is
    the sum over bins of confidence of rows / N · |accuracy - confidence| (Guo et al. 2017, arXiv 1706.04599). Where
    there are two classes and both occur, there are also ``roc_auc`` and ``average_precision`` of the second one.

    Args:
        labels: true classes, int64 [N] in [0, K); one row at least.
        probabilities: float [N, K], each row summing to one.
        classes: K names.
        seed: of the resamples.

    Returns:
        JSON-like values: ``n``, one float a metric, ``intervals`` (metric -> [low, high]), ``per_class``, ``confusion``
        (counts and shares of the true class), ``reliability`` (a row a bin of confidence), ``curves`` (of two classes,
        else empty) and ``bootstrap`` (how the intervals were made).
    """
    predicted = probabilities.argmax(1)
    metric_values: dict[str, float] = {"accuracy": float(sk.accuracy_score(labels, predicted))}
    for average in ("macro", "weighted"):
        scores = sk.precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)[:3]
        metric_values |= {f"{average}_{name}": float(score) for name, score in zip(_SCORES, scores, strict=True)}
    metric_values["cross_entropy"] = float(compute_losses(labels, probabilities).mean())
    if k := choose_top_k(len(classes)):
        metric_values[f"top{k}_accuracy"] = float(_is_in_top_k(labels, probabilities, k).mean())
    bins = bin_reliability(labels, probabilities)
    distances = [row["rows"] * abs(row["accuracy"] - row["confidence"]) for row in bins]
    metric_values["calibration_error"] = float(sum(distances)) / len(labels)
    drawn: dict[str, Any] = {}
    if len(classes) == 2 and len(np.unique(labels)) == 2:
        metric_values |= {
            "roc_auc": float(sk.roc_auc_score(labels, probabilities[:, 1])),
            "average_precision": float(sk.average_precision_score(labels, probabilities[:, 1])),
        }
        drawn = compute_curves(labels, probabilities[:, 1])
    counts = count_confusion(labels, probabilities)
    intervals, by_class = _bootstrap_intervals(labels, probabilities, seed)
    per_class = score_per_class(labels, probabilities, classes)
    for row, class_intervals in zip(per_class, by_class, strict=True):
        row["intervals"] = class_intervals
    return {
        "n": len(labels),
        **metric_values,
        "intervals": {name: intervals[name] for name in metric_values},
        "per_class": per_class,
        "confusion": {
            "counts": counts.tolist(),
            "shares": (counts / np.maximum(counts.sum(1, keepdims=True), 1)).tolist(),
        },
        "reliability": bins,
        "curves": drawn,
        "bootstrap": {"resamples": bootstrap.RESAMPLES, "confidence": bootstrap.CONFIDENCE, "of": "rows", "seed": seed},
    }


_SCORES = ("precision", "recall", "f1")


def choose_top_k(classes: int) -> int | None:
    """Return the k of top-k accuracy for a number of classes: 5 or 3, or None where neither is less than that number.

    Args:
        classes: number of classes, K.

    Returns:
        5, 3 or None.

    >>> [choose_top_k(classes) for classes in (2, 4, 10)]
    [None, 3, 5]
    """
    if classes > 5:
        return 5
    return 3 if classes > 3 else None


def _is_in_top_k(labels: np.ndarray, probabilities: np.ndarray, k: int) -> np.ndarray:
    order = np.argsort(probabilities, axis=1, kind="stable")[:, ::-1]
    return (order[:, :k] == labels[:, None]).any(1)


def _assign_bins(confidence: np.ndarray) -> np.ndarray:
    """Which bin, open below and closed above, each confidence falls into."""
    return np.clip(np.ceil(confidence * CONFIDENCE_BINS).astype(np.int64) - 1, 0, CONFIDENCE_BINS - 1)


def bin_reliability(labels: np.ndarray, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """Compute mean confidence and accuracy in each of 15 bins of confidence (Guo et al. 2017, arXiv 1706.04599).

    Args:
        labels: true classes, int64 [N] in [0, K).
        probabilities: float [N, K]; a row's confidence is its largest.

    Returns:
        A row a bin, in order: its ends ``low`` (exclusive) and ``high`` (inclusive), its number of ``rows``, and their
        mean ``confidence`` and ``accuracy``, both 0 where there are none.
    """
    confidence = probabilities.max(1).astype(np.float64)
    which = _assign_bins(confidence)
    rows = np.bincount(which, minlength=CONFIDENCE_BINS)
    mean_confidence = np.bincount(which, confidence, CONFIDENCE_BINS) / np.maximum(rows, 1)
    accuracy = np.bincount(which, compute_hits(labels, probabilities), CONFIDENCE_BINS) / np.maximum(rows, 1)
    bins = []
    for number in range(CONFIDENCE_BINS):
        bins.append(
            {
                "low": number / CONFIDENCE_BINS,
                "high": (number + 1) / CONFIDENCE_BINS,
                "rows": int(rows[number]),
                "confidence": float(mean_confidence[number]),
                "accuracy": float(accuracy[number]),
            }
        )
    return bins


def compute_curves(labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Compute the ROC curve and the precision-recall curve of two classes.

    Args:
        labels: int64 [N], 0 or 1; both occur.
        scores: probability of class 1, float [N].

    Returns:
        ``roc`` (false and true positive rate) and ``precision_recall`` (recall and precision) as lists of points
        [x, y], at most ``MAX_CURVE_POINTS``; and ``positive_share``, the share of class 1.
    """
    false_positives, true_positives, _ = sk.roc_curve(labels, scores)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    return {
        "roc": _thin_points(false_positives, true_positives),
        "precision_recall": _thin_points(recall, precision),
        "positive_share": float(labels.mean()),
    }


def _thin_points(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    chosen_points = np.unique(np.linspace(0, len(x) - 1, min(len(x), MAX_CURVE_POINTS)).round().astype(int))
    return [[float(a), float(b)] for a, b in zip(x[chosen_points], y[chosen_points], strict=True)]


def score_per_class(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Compute precision, recall, F1 and the number of rows of each class; a ratio with denominator zero counts as zero.

    Args:
        labels: true classes, int64 [N] in [0, K).
        probabilities: float [N, K].
        classes: K names.

    Returns:
        A row a class: ``class``, ``precision``, ``recall``, ``f1`` and ``rows``.

    >>> score_per_class(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]), ["cat", "dog"])[0]
    {'class': 'cat', 'precision': 0.5, 'recall': 1.0, 'f1': 0.6666666666666666, 'rows': 1}
    """
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        labels, probabilities.argmax(1), labels=list(range(len(classes))), zero_division=0
    )
    return [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for name, p, r, f, n in zip(classes, precision, recall, f1, support, strict=True)
    ]


def count_confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the confusion matrix: how many rows there are of each pair of true and predicted class.

    Args:
        labels: true classes, int64 [N] in [0, K).
        probabilities: float [N, K].

    Returns:
        int64 [K, K]: true class down, predicted class across.

    >>> count_confusion(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]])).tolist()
    [[1, 0], [1, 0]]
    """
    return sk.confusion_matrix(labels, probabilities.argmax(1), labels=list(range(probabilities.shape[1])))


def _bootstrap_intervals(
    labels: np.ndarray, probabilities: np.ndarray, seed: int
) -> tuple[dict[str, list[float]], list[dict[str, list[float]]]]:
    """Return (metric -> interval, for each class score -> interval)."""
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    confidence = probabilities.max(1).astype(np.float64)
    hits_N = compute_hits(labels, probabilities)
    k = choose_top_k(classes)
    blocks = {
        "true": bootstrap.scatter_columns(labels, classes),
        "predicted": bootstrap.scatter_columns(predicted, classes),
        "hit": bootstrap.scatter_columns(labels, classes, hits_N),
        "confidence": bootstrap.scatter_columns(_assign_bins(confidence), CONFIDENCE_BINS, confidence),
        "right": bootstrap.scatter_columns(_assign_bins(confidence), CONFIDENCE_BINS, hits_N),
        "loss": compute_losses(labels, probabilities)[:, None],
        "top": _is_in_top_k(labels, probabilities, k or 1).astype(np.float64)[:, None],
    }
    scores = probabilities[:, 1] if classes == 2 and len(np.unique(labels)) == 2 else None

    def statistics(weights_RN: np.ndarray) -> dict[str, np.ndarray]:
        sums = {name: weights_RN @ block for name, block in blocks.items()}
        values = _compute_from_sums(sums, len(labels), k)
        if scores is not None:
            values |= bootstrap.compute_areas(weights_RN, labels, scores)
        return values

    ends = bootstrap.compute_intervals(statistics, len(labels), seed)
    by_class = []
    for label in range(classes):
        by_class.append({name: ends.pop(f"{name} {label}") for name in _SCORES})
    return ends, by_class


def _compute_from_sums(sums: dict[str, np.ndarray], n: int, k: int | None) -> dict[str, np.ndarray]:
    """The same figures as scikit-learn's, of many resamples at once: sums over rows [R, ...] -> values [R]."""
    true = sums["true"]
    predicted = sums["predicted"]
    hit = sums["hit"]
    by_class = {
        "precision": hit / np.maximum(predicted, 1),
        "recall": hit / np.maximum(true, 1),
        "f1": 2 * hit / np.maximum(true + predicted, 1),
    }
    occurs = (true + predicted > 0).sum(1)
    metric_values = {
        "accuracy": hit.sum(1) / n,
        "cross_entropy": sums["loss"][:, 0] / n,
        "calibration_error": np.abs(sums["right"] - sums["confidence"]).sum(1) / n,
    }
    for name, values_RK in by_class.items():
        metric_values[f"macro_{name}"] = values_RK.sum(1) / occurs
        metric_values[f"weighted_{name}"] = (values_RK * true).sum(1) / n
        metric_values |= {f"{name} {label}": values for label, values in enumerate(values_RK.T)}
    if k:
        metric_values[f"top{k}_accuracy"] = sums["top"][:, 0] / n
    return metric_values
