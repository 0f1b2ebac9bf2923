"""The comparison of an arm with the baseline, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ganaug_ray.verdict.paired_statistics import Verdict

Role = Literal["chosen", "candidate", "control"]


@dataclass(frozen=True)
class Comparison:
    """An arm compared with the baseline on test rows, paired by split and seed.

    Attributes:
        arm: its name.
        baseline: name of the arm that it is compared with.
        metric: key of the metric.
        differences: the metric of the arm minus that of the baseline, by split and, within a split, by seed.
        by_split: the mean difference of each split.
        mean: the mean difference.
        ci95: interval of the mean; see ``Estimate``, as for the attributes up to ``smallest_visible_gain``.
        p: see ``Estimate``.
        p_worthwhile: see ``Estimate``.
        gain_limit: see ``Estimate``.
        se: see ``Estimate``.
        df: see ``Estimate``.
        effect_size: see ``Estimate``.
        smallest_visible_gain: see ``Estimate``.
        worthwhile: the least gain that is worth having, above zero.
        p_adjusted: the p value for being one question of several, the best arm of several, or looked at several times;
            the verdict goes by it.
        p_worthwhile_adjusted: likewise, of a worthwhile gain.
        verdict: the answer in a word; see ``judge_effect``.
        role: ``chosen`` (the best candidate on validation), ``candidate`` (another arm that may ship) or ``control``.
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
    gain_limit: float | None
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
        """The number of splits."""
        return len(self.by_split)

    @property
    def seeds(self) -> int:
        """The number of seeds in each split."""
        return len(self.differences) // len(self.by_split)
