"""Prometheus metrics of batches, predictions and drift; Ray Serve itself counts requests and their latency."""

from __future__ import annotations

from typing import Any

import numpy as np
from ray.serve import metrics

from ganaug_ray.serve.live_model import ModelVersion

BATCH_SIZE_BOUNDS = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
PREDICTION_TAGS: Any = ("version", "label")  # its annotation says a tuple of one
CONFIDENCE_BOUNDS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99]


class ServeMetrics:
    """Counts the batches of a replica as Prometheus metrics; a callback for ``Service``'s on_batch."""

    def __init__(self) -> None:
        self._sizes = metrics.Histogram("ganaug_batch_size", "Images that were classified together.", BATCH_SIZE_BOUNDS)
        self._shares = metrics.Histogram(
            "ganaug_confidence", "Probability of the predicted class.", CONFIDENCE_BOUNDS, ("version",)
        )
        self._drift = metrics.Gauge(
            "ganaug_drift", "1 while images or answers differ from those of the training set, else 0.", ("version",)
        )
        self._labels = metrics.Counter("ganaug_predictions", "Images, by predicted class.", PREDICTION_TAGS)

    def __call__(self, model: ModelVersion, images_NHWC: np.ndarray, probabilities_NK: np.ndarray) -> None:
        """Count a batch, and check it for drift: images uint8 [N, H, W, C], probabilities float32 [N, K]."""
        if not len(images_NHWC):
            return
        self._sizes.observe(len(images_NHWC))
        if model.drift is not None:
            self._drift.set(model.drift.observe_batch(images_NHWC, probabilities_NK), {"version": model.version})
        for share in probabilities_NK.max(1):
            self._shares.observe(float(share), {"version": model.version})
        labels, counts = np.unique(probabilities_NK.argmax(1), return_counts=True)
        for k, count in zip(labels, counts, strict=True):
            label = model.classifier.classes[k].encode("ascii", "backslashreplace").decode()  # all that Ray's tags hold
            self._labels.inc(int(count), {"version": model.version, "label": label})
