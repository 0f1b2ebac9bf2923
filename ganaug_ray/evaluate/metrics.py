"""Figures of one model from its predictions; scikit-learn does the sums."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support


def split_of(predictions: pa.Table, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (labels int64 [N], probabilities float32 [N, K]) of one split's rows."""
    rows = predictions.filter(pc.field("split") == split).combine_chunks()
    labels = rows.column("label").to_numpy()
    probabilities = np.stack(rows.column("probabilities").to_numpy(zero_copy_only=False))
    return labels, probabilities


def summary(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Accuracy and macro-F1 in [0, 1], and the mean cross-entropy in nats.

    >>> summary(np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))["accuracy"]
    1.0
    """
    predicted = probabilities.argmax(1)
    chosen = probabilities[np.arange(len(labels)), labels]
    classes = list(range(probabilities.shape[1]))
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, labels=classes, average="macro", zero_division=0)),
        "cross_entropy": float(-np.log(np.clip(chosen, 1e-12, None)).mean()),
    }


def per_class(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of rows of each class."""
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, probabilities.argmax(1), labels=list(range(len(classes))), zero_division=0
    )
    return [
        {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for name, p, r, f, n in zip(classes, precision, recall, f1, support, strict=True)
    ]


def confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts int64 [K, K]: true class down, predicted class across."""
    return confusion_matrix(labels, probabilities.argmax(1), labels=list(range(probabilities.shape[1])))
