"""Scores of single rows, whose means over rows are metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ganaug_ray.evaluate.answer_scores import PredictedClasses


def compute_hits(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return for each row 1 where its most probable class is the true one, else 0.

    Args:
        labels: true classes, int64 [N] in [0, K).
        probabilities: float [N, K].

    Returns:
        float64 [N].

    >>> compute_hits(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]])).tolist()
    [1.0, 0.0]
    """
    return (probabilities.argmax(1) == labels).astype(np.float64)


def compute_losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the cross-entropy of each row, -log p of its true class, in nats.

    Args:
        labels: true classes, int64 [N] in [0, K).
        probabilities: float [N, K].

    Returns:
        float64 [N], at least zero; p counts as 2.2e-16 where it is below, so that no loss is infinite.

    >>> compute_losses(np.array([0, 1]), np.array([[0.5, 0.5], [0.75, 0.25]])).round(3).tolist()
    [0.693, 1.386]
    """
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.maximum(chosen, np.finfo(np.float64).eps))


def compute_brier(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the Brier score of each row, the squared distance of its probabilities from the truth (Brier 1950).

    Args:
        labels: int64 [N], true classes.
        probabilities: float [N, K].

    Returns:
        float64 [N] in [0, 2]; 0 where the true class has probability one.

    >>> compute_brier(np.array([0, 1]), np.array([[0.5, 0.5], [0.0, 1.0]])).tolist()
    [0.5, 0.0]
    """
    distances = probabilities.astype(np.float64)
    distances[np.arange(len(labels)), labels] -= 1
    return (distances**2).sum(1)


@dataclass(frozen=True)
class RowMean:
    """The mean over rows of a score of their probabilities: M = 1.

    Attributes:
        key: of the metric, in ``row_scores``.
    """

    key: str

    def compute_row_steps(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return zero: other rows never leave a mean of probabilities as it is.

        Args:
            answers: not used.
            rare: not used.

        Returns:
            float64 [1].
        """
        return np.zeros(1)

    def compute(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return the mean of the rows' scores.

        Args:
            answers: of N rows, one at least, with scores under ``key``.
            rare: not used.

        Returns:
            float64 [1], in the unit of the scores.

        >>> answers = PredictedClasses(np.array([0, 1]), np.array([0, 1]), 2, {"brier": np.array([0.25, 0.75])})
        >>> RowMean("brier").compute(answers).tolist(), RowMean("brier").compute_influence(answers)[:, 0].tolist()
        ([0.5], [-0.25, 0.25])
        """
        return answers.row_scores[self.key].mean(keepdims=True)

    def compute_influence(self, answers: PredictedClasses, rare: Sequence[int] = ()) -> np.ndarray:
        """Return a row's score less the mean.

        Args:
            answers: as for ``compute``.
            rare: not used.

        Returns:
            float64 [N, 1], of mean zero.
        """
        scores_N = answers.row_scores[self.key]
        return (scores_N - scores_N.mean())[:, None]
