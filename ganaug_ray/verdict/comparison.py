"""An arm against the baseline, as figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ganaug_ray.verdict.paired_statistics import Verdict

Role = Literal["chosen", "candidate", "control"]


@dataclass(frozen=True)
class Comparison:
    """An arm against the baseline on test rows, paired by split and seed.

    Attributes:
        differences: of each model, in order of splits and, within them, seeds.
        by_split: their means over seeds.
        worthwhile: the least gain that is worth having, above zero.
        p_adjusted: for being one of a family, or the best of one; what the verdict goes by. The rest is described in
            ``Estimate``.
        p_worthwhile_adjusted: likewise.
    """

    arm: str
    baseline: str
    metric: str
    differences: list[float]
    by_split: list[float]
    mean: float
    ci95: tuple[float, float] | None
    p: float | None
    p_worthwhile: float | None
    se: float | None
    df: int | None
    effect_size: float | None
    smallest_visible_gain: float | None
    worthwhile: float
    p_adjusted: float | None
    p_worthwhile_adjusted: float | None
    verdict: Verdict
    role: Role = "chosen"

    @property
    def splits(self) -> int:
        """Over how many splits."""
        return len(self.by_split)

    @property
    def seeds(self) -> int:
        """Over how many seeds in each."""
        return len(self.differences) // len(self.by_split)
