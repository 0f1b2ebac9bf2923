"""Chooses among the generators of one training, look by look, which one is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ganaug_ray.gan.metrics import kid_fid_prdc
from ganaug_ray.gan.metrics.conditional_kid import CONDITIONAL_KID, ERROR_SUFFIX


@dataclass(frozen=True)
class Candidate:
    """A generator that might be kept.

    Attributes:
        chosen_by: name of the distance, lower is better; None: none could be measured.
        distance: zero or more: what is below zero by chance is no better than zero.
        error: its standard error.
        recall: share of the real images that its own resemble, in [0, 1]; None where unknown.
    """

    chosen_by: str | None
    distance: float
    error: float
    recall: float | None

    @classmethod
    def from_figures(cls, figures: Mapping[str, float]) -> Candidate:
        """Take what counts from a look's figures: of validation images, where there are enough of them.

        Args:
            figures: name -> value, as ``GanEvaluator.measure_quality`` gives them.

        >>> figures = {"kid_x_n50": 0.1, "kid_x_n50_std": 0.05}
        >>> Candidate.from_figures(figures | {"conditional_kid_x_n50": -0.01, "conditional_kid_x_n50_std": 0.02})
        Candidate(chosen_by='conditional_kid_x_n50', distance=0.0, error=0.02, recall=None)
        """
        name = kid_fid_prdc.choose_kid_name(figures)
        if name is None:
            return cls(None, 0.0, 0.0, None)
        error = kid_fid_prdc.compute_kid_error(figures, name)
        prefix = "val_" if name.startswith("val_") else ""
        for by_class in figures:
            if by_class.startswith(f"{prefix}{CONDITIONAL_KID}_") and not by_class.endswith(ERROR_SUFFIX):
                name, error = by_class, figures[by_class + ERROR_SUFFIX]
        recall = next((value for key, value in figures.items() if key.startswith(f"{prefix}recall_")), None)
        return cls(name, max(0.0, figures[name]), error, recall)

    def is_better_than(self, incumbent: Candidate, lowest: float) -> bool:
        """Return whether this later generator takes the place of the one that is kept so far.

        It must lie within its error of the lowest distance so far, its own included. So does the incumbent as a rule;
        then the one with the higher recall is kept, and of equals the later one, which has seen most.

        >>> incumbent = Candidate("kid", 0.10, 0.02, recall=0.6)
        >>> [Candidate("kid", 0.11, 0.02, recall).is_better_than(incumbent, 0.10) for recall in (0.5, 0.7)]
        [False, True]
        >>> [Candidate("kid", distance, 0.02, 0.5).is_better_than(incumbent, 0.10) for distance in (0.05, 0.13)]
        [True, False]
        """
        limit = min(lowest, self.distance) + self.error
        if self.distance > limit:
            return False
        if incumbent.distance > limit or self.recall is None or incumbent.recall is None:
            return True
        return self.recall >= incumbent.recall
