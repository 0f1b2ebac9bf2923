"""The gain in accuracy that a plan can see before anything is trained."""

from __future__ import annotations

import numpy as np

from ganaug_ray.verdict.mean_error import combine_rows_and_repeats
from ganaug_ray.verdict.multiple_testing import compute_best_of_factor, compute_looks_factor
from ganaug_ray.verdict.paired_statistics import (
    MIN_REPEATS,
    POWER,
    SIGNIFICANCE_LEVEL,
    choose_level_share,
    has_enough_repeats,
)

DISAGREEING = 0.05  # of the test images, on which exactly one of two trained models is right; measured: 0.02 to 0.15


def predict_visible_gain(
    tested: int, splits: int, seeds: int, disagreeing: float = DISAGREEING, looks: int = 1, arms: int = 1
) -> float | None:
    """Predict the gain that would be found with 80 % power, as a share; None of a plan without an interval.

    Trainings are supposed to add nothing to the chance of the test rows: with what they do add it is larger.

    Args:
        tested: test images in all splits together.
        splits: of the plan.
        seeds: of each split.
        disagreeing: share of the test images on which exactly one of two models is right.
        looks: times that the verdict may be looked at; the gain is that of the first look.
        arms: candidates, the best of which is judged.

    >>> round(predict_visible_gain(240, 5, 2), 3), round(predict_visible_gain(48, 1, 3), 3)
    (0.048, 0.099)
    """
    if not has_enough_repeats(splits, seeds):
        return None
    # Half of it is the rows' own and shared by all seeds of a split, half their interplay with each training.
    rows_1 = np.full(1, disagreeing / tested / 2)
    interplay_1 = np.full(1, disagreeing / tested / 2)
    if splits > 1:
        within_1 = splits * (rows_1 + interplay_1 / seeds)
        zero_1 = np.zeros(1)
        error = combine_rows_and_repeats(within_1, within_1, zero_1, splits, tested - splits)
    else:
        error = combine_rows_and_repeats(interplay_1, interplay_1, rows_1, seeds, tested - 1)
    level = SIGNIFICANCE_LEVEL / (compute_looks_factor(looks) * compute_best_of_factor(arms))
    half_width_1 = error.compute_half_width(choose_level_share(splits, seeds) * level)
    return float((half_width_1 + error.compute_half_width(2 * (1 - POWER)))[0])


def describe_visible_gain(tested: int, gain: float | None) -> str:
    """Say what a plan can see, and on what supposition.

    Args:
        tested: test images in all splits together.
        gain: what ``predict_visible_gain`` returned: a share, or None of a plan without an interval.

    Returns:
        A clause, without a full stop.

    >>> describe_visible_gain(48, None)
    'no gain: 3 seeds of one split are needed, or 3 splits (compare.seeds, compare.splits)'
    """
    if gain is None:
        return (
            f"no gain: {MIN_REPEATS} seeds of one split are needed, or {MIN_REPEATS} splits "
            "(compare.seeds, compare.splits)"
        )
    return (
        f"a gain of about {100 * gain:.1f} points of accuracy on {tested:,} test images, "
        f"if two models differ on {100 * DISAGREEING:.0f} % of them"
    )
