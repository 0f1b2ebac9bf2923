"""How mlflow.pyfunc loads a classifier: its models name this module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ganaug_ray.classify.predict import Classifier, ImageInput
from ganaug_ray.core.storage import Folder


class PyfuncClassifier:
    """A classifier as MLflow calls it.

    Args:
        classifier: the classifier.
    """

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.classes = classifier.classes

    def predict(self, model_input: np.ndarray | Sequence[ImageInput], params: dict[str, Any] | None = None) -> Any:
        """Classify images of any size.

        Args:
            model_input: uint8 [N, H, W, C], or a list of paths, bytes, PIL images or arrays.
            params: not used.

        Returns:
            Probabilities float32 [N, K], in the order of ``classes``.
        """
        predictions = self._classifier.predict(list(model_input))
        return np.array([list(prediction.probabilities.values()) for prediction in predictions], np.float32)


def _load_pyfunc(path: str) -> PyfuncClassifier:
    """Load the model in a folder; MLflow calls it by this name."""
    return PyfuncClassifier(Classifier.load(Folder.from_uri(path)))
