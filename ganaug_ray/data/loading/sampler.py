"""Chooses the rows of a pass over a store and their order, as a pure function of a key."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ganaug_ray.core import rng


@dataclass(frozen=True)
class Sampling:
    """Which rows of a store make up one pass over it (an epoch): each once, or all classes equally often.

    Attributes:
        balanced: whether every class is drawn as often as the largest has rows.
        classes: numbers of the classes whose rows are drawn; None: all.
    """

    balanced: bool = False
    classes: tuple[int, ...] | None = None

    def order_epoch(self, labels_N: np.ndarray, number: int, key: tuple[rng.Key, ...]) -> np.ndarray:
        """Return the rows of a pass in random order; every pass has as many.

        Balanced, a class of n rows, where the largest has m, gives each of them floor(m / n) times, and so many of them
        once more that it comes to m; which these are differs from pass to pass.

        Args:
            labels_N: class of each row of the store, int64 [N].
            number: of the pass, from zero.
            key: of the order; equal keys give equal ones.

        Returns:
            Numbers of rows, int64.

        >>> labels_N = np.array([0, 0, 0, 0, 0, 1, 1])
        >>> np.bincount(labels_N[Sampling(balanced=True).order_epoch(labels_N, 0, (0,))]).tolist()
        [5, 5]
        """
        rows = np.arange(len(labels_N)) if self.classes is None else np.flatnonzero(np.isin(labels_N, self.classes))
        assert len(rows), f"no row is of the classes {self.classes}"
        if self.balanced:
            names, counts = np.unique(labels_N[rows], return_counts=True)
            class_orders = []
            for name in names.tolist():
                class_rows = rows[labels_N[rows] == name]
                order = rng.draw_permutation(len(class_rows), *key, "epoch", number, "class", name)
                class_orders.append(
                    np.resize(class_rows[order], counts.max())
                )  # again from its beginning, as often as it takes
            rows = np.concatenate(class_orders)
        return rows[rng.draw_permutation(len(rows), *key, "epoch", number)]

    def compute_class_shares(self, counts_K: Sequence[int]) -> np.ndarray:
        """Compute how often each class is drawn.

        Args:
            counts_K: rows of each class in the store; one class at least has some.

        Returns:
            Shares that sum to one, float64 [K].

        >>> Sampling().compute_class_shares([6, 2, 0]).tolist()
        [0.75, 0.25, 0.0]
        >>> Sampling(balanced=True).compute_class_shares([6, 2, 0]).tolist()
        [0.5, 0.5, 0.0]
        """
        shares_K = np.array(counts_K, np.float64)
        if self.classes is not None:
            shares_K[~np.isin(np.arange(len(shares_K)), self.classes)] = 0.0
        if self.balanced:
            shares_K = (shares_K > 0).astype(np.float64)
        return shares_K / shares_K.sum()


NATURAL_SAMPLING = Sampling()
