"""From paired differences to a mean, an interval and p values.

A difference d_js is a metric of an arm minus that of the baseline, on the test rows of split j, both trained with seed
s. With other seeds and other images it would be different; the interval has to cover that chance:

- **Several splits** (J > 1). The repeats are the D_j, the means of d_js over the seeds of a split: seeds share its
  images and are no independent evidence. Each D_j has the chance of its own test rows, of its trainings (GAN and
  classifiers) and of which images are trained on. Splits that share training rows have part of the last in common, and
  the differences between them do not show that part: the interval speaks of trainings on these images.
- **One split** (J = 1). The repeats are the seeds' d_s. Their test rows are the same, so what the rows add is shared
  by all: the component of rows in a two-way layout of rows and seeds (Searle, Casella & McCulloch 1992, "Variance
  Components"). Another draw of training images is not covered.

How the chance of rows and that of repeats are put together is in ``mean_error``. The rows' part is estimated by each
row's influence (see ``outcomes``), and never less than that of two rows in all which one of the two models alone has
right: where all answers agree, that is what the test images still leave possible (Agresti & Min 2005, "Simple improved
confidence intervals for comparing matched proportions", Statistics in Medicine 24, add as many). These two rows count
as much as the others do in the mean over seeds: where a row is right in one training and wrong in the next, less.

Fewer than ``MIN_REPEATS`` seeds of one split, or splits, have no interval worth the name. The best of several
candidates, see ``multiple_testing.compute_best_of_factor``, has a wider one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from ganaug_ray.verdict.mean_error import MeanError, combine_rows_and_repeats, use_repeats_alone

Verdict = Literal["helped", "no worthwhile gain", "unclear", "hurt", "not enough repeats"]
SIGNIFICANCE_LEVEL = 0.05
FIRM_NO_SHARE = 0.85  # of the level, for a gain to be ruled out; at all of it 5.6 % of ten splits were wrong, not 5 %
MANY_SPLITS = 6  # from so many on, an interval and its p are at MANY_SPLITS_SHARE of the level
MANY_SPLITS_SHARE = 0.85  # at all of it, 2.8 % of ten splits were wrong help, not 2.5 %
FEW_SEEDS = 7  # of a single split: up to so many, an interval and its p are at FEW_SEEDS_SHARE of the level
FEW_SEEDS_SHARE = 1.1  # at the level itself, 1.8 % of three seeds and 2.2 % of seven were wrong help, not 2.5 %
POWER = 0.8
MIN_REPEATS = 3  # of two splits the interval is 12 standard errors of their test images or more, whatever their seeds
MIN_P = 1e-30
MIN_VARIANCE = 1e-24  # of repeats; with less they are equal but for rounding
AGREEING_ROWS = 2.0  # rows that one model alone is supposed to have right, at least
_ONE_SIGMA = 2 * float(stats.norm.sf(1))


@dataclass(frozen=True)
class Differences:
    """Two arms' figures taken apart, model by model, on the same rows.

    Attributes:
        values_JSM: ours - theirs by split, seed and figure, float64.
        influence: of each split, how much each row moves each seed's figures, float64 [S, N, M]; None where nothing
            is known of rows.
        row_steps_M: how much another answer to one row changes each figure, times the number of rows; see
            ``Estimator.compute_row_steps``. Absent: one.
    """

    values_JSM: np.ndarray
    influence: Sequence[np.ndarray] | None = None
    row_steps_M: np.ndarray | None = None


@dataclass(frozen=True)
class Estimate:
    """A mean difference with its uncertainty; all but the mean are None for a single difference or equal ones.

    Attributes:
        mean: over splits and seeds.
        ci95: of the mean; at the level that was asked for times ``choose_level_share``, wider for the best of several.
        p: two-sided, over ``choose_level_share``; below that level just where the interval leaves out zero.
        p_worthwhile: one-sided, of a gain that is worthwhile, where the mean is below it, over FIRM_NO_SHARE; else one.
        gain_limit: end of the one-sided interval of the mean on the side of more gain. It is short of a worthwhile gain
            exactly where ``p_worthwhile`` is below that level.
        se: standard error of the mean: half the width of its 68 % interval.
        df: degrees of freedom of its most uncertain part: splits - 1, or seeds - 1 of a single split.
        effect_size: Cohen's d of paired differences: the mean in standard deviations over splits, or over the seeds of
            a single split; None where these are equal.
        smallest_visible_gain: the gain that as much data would have found with 80 % power, at the level of ``ci95``.
    """

    mean: float
    ci95: tuple[float, float] | None = None
    p: float | None = None
    p_worthwhile: float | None = None
    gain_limit: float | None = None
    se: float | None = None
    df: int | None = None
    effect_size: float | None = None
    smallest_visible_gain: float | None = None


def has_enough_repeats(splits: int, seeds: int) -> bool:
    """Whether a comparison has as many repeats as an interval needs: its splits or, of a single one, its seeds.

    >>> [has_enough_repeats(*repeats) for repeats in ((1, 3), (3, 1), (1, 2), (2, 2), (2, 10))]
    [True, True, False, False, False]
    """
    return (splits if splits > 1 else seeds) >= MIN_REPEATS


def choose_level_share(splits: int, seeds: int) -> float:
    """Return which part of a level to compute an interval at, so that it misses just less often than the level says.

    What is computed is a little too careful with few seeds, and a little too bold with many splits; by how much was
    simulated (``tests/benchmarks/interval_coverage.py``).

    >>> [choose_level_share(*repeats) for repeats in ((1, 3), (1, 8), (5, 1), (10, 3))]
    [1.1, 1.0, 1.0, 0.85]
    """
    if splits == 1:
        return FEW_SEEDS_SHARE if seeds <= FEW_SEEDS else 1.0
    return MANY_SPLITS_SHARE if splits >= MANY_SPLITS else 1.0


def estimate_means(
    differences: Differences, level: float = SIGNIFICANCE_LEVEL, worthwhile: float = 0.0
) -> list[Estimate]:
    """Estimate the mean of paired differences, each figure by itself.

    Args:
        differences: by split, seed and figure.
        level: how often the interval may miss; below 0.05 for the best of several and for several looks, see
            ``multiple_testing``.
        worthwhile: the least gain that is worth having, in the figures' unit; below zero where less is better.

    Returns:
        M estimates.
    """
    values_JSM = differences.values_JSM
    splits, seeds, figures = values_JSM.shape
    mean_M = values_JSM.mean((0, 1))
    repeats_RM = values_JSM.mean(1) if splits > 1 else values_JSM[0]
    repeats = len(repeats_RM)
    if not has_enough_repeats(splits, seeds):
        return [Estimate(float(mean)) for mean in mean_M]
    between_M = repeats_RM.var(0, ddof=1)
    if differences.influence is None and (between_M < MIN_VARIANCE).all():
        return [Estimate(float(mean)) for mean in mean_M]
    error = _estimate_error(differences, between_M, repeats)
    share = 1.0 if differences.influence is None else choose_level_share(splits, seeds)
    half_M = error.compute_half_width(share * level)
    power_M = error.compute_half_width(2 * (1 - POWER))
    se_M = error.compute_half_width(_ONE_SIGMA)
    p_M = np.clip(error.compute_tail(mean_M) / share, MIN_P, 1.0)
    p_worthwhile_M = np.clip(error.compute_tail(mean_M - worthwhile) / (2 * FIRM_NO_SHARE), MIN_P, 1.0)
    falls_short_M = mean_M < worthwhile if worthwhile >= 0 else mean_M > worthwhile
    one_sided_M = error.compute_half_width(2 * FIRM_NO_SHARE * level)
    gain_limit_M = mean_M + one_sided_M if worthwhile >= 0 else mean_M - one_sided_M
    estimates = []
    for m in range(figures):
        p_worthwhile = 1.0
        if falls_short_M[m]:
            p_worthwhile = float(p_worthwhile_M[m])
        effect_size = None
        if between_M[m] > MIN_VARIANCE:
            effect_size = float(mean_M[m] / np.sqrt(between_M[m]))
        estimate = Estimate(
            mean=float(mean_M[m]),
            ci95=(float(mean_M[m] - half_M[m]), float(mean_M[m] + half_M[m])),
            p=float(p_M[m]),
            p_worthwhile=p_worthwhile,
            gain_limit=float(gain_limit_M[m]),
            se=float(se_M[m]),
            df=repeats - 1,
            effect_size=effect_size,
            smallest_visible_gain=float(half_M[m] + power_M[m]),
        )
        estimates.append(estimate)
    return estimates


def estimate_mean_over_repeats(values_JS: np.ndarray) -> Estimate:
    """Estimate the mean of differences from their repeats by Student's t, where nothing is known of their rows.

    Args:
        values_JS: float64, by split and seed.
    """
    (estimate,) = estimate_means(Differences(values_JS[:, :, None]))
    return estimate


def _estimate_error(differences: Differences, between_M: np.ndarray, repeats: int) -> MeanError:
    if differences.influence is None:
        return use_repeats_alone(between_M, repeats)
    rows = sum(influence_SNM.shape[1] for influence_SNM in differences.influence)
    steps_M = np.ones_like(between_M) if differences.row_steps_M is None else differences.row_steps_M
    least_M = AGREEING_ROWS * _compute_common_share(differences.influence, steps_M) * (steps_M / rows) ** 2
    if len(differences.influence) > 1:
        within_M = np.mean([_compute_row_variance_of_mean(influence_SNM) for influence_SNM in differences.influence], 0)
        within_split_M = within_M + least_M * repeats
        return combine_rows_and_repeats(
            between_M, np.maximum(within_split_M, 1e-18), np.zeros_like(within_split_M), repeats, rows - repeats
        )
    (influence_SNM,) = differences.influence
    shared_M = compute_row_variance(influence_SNM) + least_M
    interaction_M = np.maximum(_compute_interaction(influence_SNM) / rows, 1e-18)
    return combine_rows_and_repeats(between_M, interaction_M, shared_M, repeats, rows - 1)


def _compute_common_share(influence: Sequence[np.ndarray], steps_M: np.ndarray) -> np.ndarray:
    """Which part of what rows do to single trainings is left in the mean over seeds: float64 [M], 0 to 1.

    One, where nothing is seen of it: a row more is counted that moves every training alike.
    """
    extra_row_M = np.maximum(steps_M**2, 1e-18)
    common_M = np.sum([(influence_SNM.mean(0) ** 2).sum(0) for influence_SNM in influence], 0)
    single_M = np.sum([(influence_SNM**2).mean(0).sum(0) for influence_SNM in influence], 0)
    return (extra_row_M + common_M) / (extra_row_M + single_M)


def _compute_row_variance_of_mean(influence_SNM: np.ndarray) -> np.ndarray:
    """Compute the variance of the mean over seeds by its rows and their interplay with trainings: float64 [M]."""
    return influence_SNM.mean(0).var(0, ddof=1) / influence_SNM.shape[1]


def _compute_interaction(influence_SNM: np.ndarray) -> np.ndarray:
    """The variance of a row's effect from seed to seed: float64 [M]."""
    seeds, rows = influence_SNM.shape[:2]
    by_row_NM = influence_SNM.mean(0)
    by_seed_S1M = influence_SNM.mean(1, keepdims=True)
    rest_SNM = influence_SNM - by_row_NM - by_seed_S1M + influence_SNM.mean((0, 1))
    return (rest_SNM**2).sum((0, 1)) / ((seeds - 1) * (rows - 1))


def compute_row_variance(influence_SNM: np.ndarray) -> np.ndarray:
    """Compute the variance of a mean over seeds and rows that is due to which rows they are.

    It is the component of rows in a two-way layout (Searle, Casella & McCulloch 1992): the variance of the rows' means
    over seeds, divided by N, minus the part of it that is the chance of training.

    Args:
        influence_SNM: float64, two seeds and two rows at least.

    Returns:
        The variances, at least zero, float64 [M].
    """
    seeds, rows = influence_SNM.shape[:2]
    of_training_M = _compute_interaction(influence_SNM) / (seeds * rows)
    return np.maximum(0.0, _compute_row_variance_of_mean(influence_SNM) - of_training_M)


def judge_effect(mean: float, p: float | None, p_worthwhile: float | None, higher_is_better: bool = True) -> Verdict:
    """Judge a mean difference by its p values.

    Args:
        mean: of the arm minus that of the baseline.
        p: two-sided, of no difference; adjusted where several questions are asked at once; None where there is none.
        p_worthwhile: of a worthwhile gain, one-sided; adjusted likewise.
        higher_is_better: whether a mean above zero is a gain.

    Returns:
        Hurt where the arm is worse for sure; no worthwhile gain where the gain, if any, is too small for sure; helped
        where it is better for sure; else unclear. Without a p there were not enough repeats.

    >>> [judge_effect(0.02, 0.01, 1.0), judge_effect(-0.02, 0.01, 0.001), judge_effect(0.02, 0.05, 1.0)]
    ['helped', 'hurt', 'unclear']
    >>> judge_effect(0.001, 0.6, 0.01), judge_effect(0.02, None, None)
    ('no worthwhile gain', 'not enough repeats')
    """
    if p is None or p_worthwhile is None:
        return "not enough repeats"
    gain = mean if higher_is_better else -mean
    differs = p < SIGNIFICANCE_LEVEL
    if differs and gain < 0:
        return "hurt"
    if p_worthwhile < SIGNIFICANCE_LEVEL:
        return "no worthwhile gain"
    return "helped" if differs else "unclear"
