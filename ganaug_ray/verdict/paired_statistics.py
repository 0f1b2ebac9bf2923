"""From paired differences to a mean, an interval and a p value.

A difference d_js is a metric of an arm minus that of the baseline, on the test rows of split j, both trained with seed
s. With other seeds and other images it would be different; the interval has to cover that chance:

- **Several splits** (J > 1). D_j is the mean of d_js over the seeds of a split: they share its images and are no
  independent evidence. The mean of the D_j has the variance ``s² (1/J + o * n_test / n_train)``, s² the sample variance
  of the D_j, with J - 1 degrees of freedom. ``o`` is the share of a split's training rows that another split trains on
  too. With o = 0 splits share nothing and this is the plain paired t interval; with o = 1 it is the corrected resampled
  t of Nadeau & Bengio 2003 ("Inference for the Generalization Error", Machine Learning 52), which Bouckaert & Frank
  2004 recommend for repeated cross-validation. In between, the correlation that they ascribe to shared training rows is
  taken in proportion to how many are shared: a rule of thumb, as theirs is.
- **One split** (J = 1). Two variances add up, each with its own degrees of freedom: ``s²/S`` of the S seeds (S - 1),
  and that of the test rows (n - 1), by the influence of each row (see ``outcomes``), averaged over seeds. What of the
  latter is the chance of training on a row, and hence in s² already, is taken off: the components of a two-way layout
  of rows and seeds (Searle, Casella & McCulloch 1992, "Variance Components"). Half the width of the interval is the
  root of the sum of the squared half widths of both (Howe 1974, "Approximate Confidence Limits on the Mean of X + Y",
  JASA 69). Welch-Satterthwaite's degrees of freedom would make it too narrow: simulated with two seeds of large spread,
  6.3 % of effects of zero were taken for help rather than 2.5 %. Another draw of training images is not covered.

A single difference, or differences that are all equal, have no interval that could be trusted.

The best of several candidates has a wider interval, see ``correct_for_best``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, special, stats

Verdict = Literal["helped", "unclear", "hurt"]
SIGNIFICANCE_LEVEL = 0.05
POWER = 0.8
MIN_P = 1e-30  # where the search for p ends


@dataclass(frozen=True)
class Estimate:
    """A mean difference with its uncertainty; all but the mean are None for a single difference or equal ones.

    Attributes:
        mean: over splits and seeds.
        ci95: (low, high) of the mean, at the level that was asked for: 95 %, or more for the best of several.
        p: two-sided, in [1e-30, 1]; below that level exactly where the interval leaves out zero.
        se: standard error of the mean.
        df: degrees of freedom of its most uncertain part: splits - 1, or seeds - 1 of a single split.
        effect_size: Cohen's d of paired differences: the mean in standard deviations over splits, or over the seeds of
            a single split.
        smallest_visible_gain: the true gain that would be found with 80 % power at that level, with as much data.
    """

    mean: float
    ci95: tuple[float, float] | None = None
    p: float | None = None
    se: float | None = None
    df: int | None = None
    effect_size: float | None = None
    smallest_visible_gain: float | None = None


def estimate_mean(
    values_JS: np.ndarray,
    influence_SN: np.ndarray | None = None,
    shared: float = 0.0,
    level: float = SIGNIFICANCE_LEVEL,
) -> Estimate:
    """Estimate the mean of paired differences, by the rules at the head of this module.

    Args:
        values_JS: the differences, float64 [J splits, S seeds].
        influence_SN: how much each test row moves each seed's difference, float64 [S, N], where there is a single
            split; None leaves the chance of the test rows out of the interval.
        shared: o * n_test / n_train, where there are several splits; at least zero.
        level: how often the interval may miss, in (0, 1); below 0.05 for the best of several, see ``correct_for_best``.

    >>> estimate = estimate_mean(np.array([[0.01], [0.02], [0.03]]))
    >>> round(estimate.mean, 3), [round(end, 4) for end in estimate.ci95], round(estimate.p, 3)
    (0.02, [-0.0048, 0.0448], 0.074)
    """
    mean = float(values_JS.mean())
    splits = len(values_JS)
    repeats = values_JS.mean(1) if splits > 1 else values_JS[0]
    if len(repeats) < 2 or np.ptp(repeats) < 1e-12:
        return Estimate(mean)
    spread = float(repeats.var(ddof=1))
    df = len(repeats) - 1
    correction = shared if splits > 1 else 0
    parts = [(spread * (1 / len(repeats) + correction), df)]
    if splits == 1 and influence_SN is not None:
        parts.append((compute_row_variance(influence_SN), influence_SN.shape[1] - 1))
    half = _compute_half_width(parts, level)
    return Estimate(
        mean,
        ci95=(mean - half, mean + half),
        p=_solve_p_value(parts, abs(mean)),
        se=float(np.sqrt(sum(variance for variance, _ in parts))),
        df=df,
        effect_size=float(mean / np.sqrt(spread)),
        smallest_visible_gain=half + _compute_half_width(parts, 2 * (1 - POWER)),
    )


def estimate_columns(
    values_JSM: np.ndarray, influence_SNM: np.ndarray | None, shared: float = 0.0, level: float = SIGNIFICANCE_LEVEL
) -> list[Estimate]:
    """Estimate the means of several metrics' differences, each by itself.

    Args:
        values_JSM: the differences, float64 [J splits, S seeds, M].
        influence_SNM: as for ``estimate_mean``, float64 [S, N, M], or None.
        shared: as for ``estimate_mean``.
        level: as for ``estimate_mean``.

    Returns:
        M estimates.
    """
    column_estimates = []
    for m in range(values_JSM.shape[2]):
        influence_SN = None if influence_SNM is None else influence_SNM[:, :, m]
        column_estimates.append(estimate_mean(values_JSM[:, :, m], influence_SN, shared, level))
    return column_estimates


def compute_row_variance(influence_SN: np.ndarray) -> float:
    """Compute how much of the variance of a mean over seeds and rows is due to which rows they are.

    It is the component of rows in a two-way layout (Searle, Casella & McCulloch 1992): the variance of the rows' means
    over seeds, divided by N, minus the part of it that is the chance of training.

    Args:
        influence_SN: float64 [S, N], two seeds and two rows at least.

    Returns:
        The variance; zero where the estimate is negative.

    >>> compute_row_variance(np.array([[-1.0, 1.0], [-1.0, 1.0]]))
    1.0
    """
    seeds, n = influence_SN.shape
    by_row_N = influence_SN.mean(0)
    rest_SN = influence_SN - by_row_N - influence_SN.mean(1, keepdims=True) + influence_SN.mean()
    of_training = float((rest_SN**2).sum()) / ((seeds - 1) * (n - 1)) / (seeds * n)
    return max(0.0, float(by_row_N.var(ddof=1)) / n - of_training)


Parts = Sequence[tuple[float, int]]  # (variance, its degrees of freedom)


def _compute_half_width(parts: Parts, level: float) -> float:
    """Half the width of the interval at 1 - level."""
    return float(np.sqrt(sum(variance * special.stdtrit(df, level / 2) ** 2 for variance, df in parts)))


def _solve_p_value(parts: Parts, distance: float) -> float:
    """The level at which the interval just reaches zero."""
    if distance < _compute_half_width(parts, 1 - 1e-9):
        return 1.0
    if distance > _compute_half_width(parts, MIN_P):
        return MIN_P

    def measure_excess(log_level: float) -> float:
        return _compute_half_width(parts, np.exp(log_level)) - distance

    return float(np.exp(optimize.brentq(measure_excess, np.log(MIN_P), 0.0)))


def correct_for_best(candidates: int) -> float:
    """Return how many times smaller the p value of the best of several candidates must be to count as significant.

    If none has an effect, the chance that any has a one-sided p below 5 % / candidates is at most 5 % (Bonferroni),
    whatever the choice went by. One or two candidates need no correction, as the interval leaves 2.5 % to each side.

    Args:
        candidates: number of arms that the best was chosen from; one at least.

    >>> [correct_for_best(1), correct_for_best(2), correct_for_best(4)]
    [1.0, 1.0, 2.0]
    """
    return max(1.0, candidates / 2)


def judge_effect(mean: float, p: float | None) -> Verdict:
    """Judge a mean difference by its p value: helped or hurt where p is below 0.05, else unclear.

    Args:
        mean: above zero where the arm is better.
        p: two-sided, adjusted where several questions are asked at once; None where there is none.

    >>> [judge_effect(0.02, 0.01), judge_effect(-0.02, 0.01), judge_effect(0.02, 0.05), judge_effect(0.02, None)]
    ['helped', 'hurt', 'unclear', 'unclear']
    """
    if p is None or p >= SIGNIFICANCE_LEVEL:
        return "unclear"
    return "helped" if mean > 0 else "hurt"


def adjust_holm(ps: Sequence[float | None]) -> list[float | None]:
    """Adjust p values for several tests at once (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Args:
        ps: p values in [0, 1]; one that is None stays None, but counts as one of them.

    Returns:
        The adjusted ones, at least as large, in the same order.

    >>> adjust_holm([0.01, 0.04, None, 0.02])
    [0.04, 0.08, None, 0.06]
    """
    adjusted: list[float | None] = [None] * len(ps)
    known = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    least = 0.0
    for rank, (p, place) in enumerate(known):
        least = min(1.0, max(least, (len(ps) - rank) * p))
        adjusted[place] = least
    return adjusted


def compute_mcnemar(labels_N: np.ndarray, ours_N: np.ndarray, theirs_N: np.ndarray) -> dict[str, float | int]:
    """Test whether two models are right equally often on the same rows, by the exact test of McNemar 1947.

    It holds for these two trained models on other rows; it does not cover other trainings.

    Args:
        labels_N: true classes, int64 [N].
        ours_N: classes predicted by the first model, int64 [N].
        theirs_N: classes predicted by the second model, int64 [N].

    Returns:
        ``ours_alone`` and ``theirs_alone``, the numbers of rows that only one model has right, and the two-sided ``p``
        of a binomial test that these are equally likely.

    >>> compute_mcnemar(np.array([0, 1, 1]), np.array([0, 1, 1]), np.array([0, 0, 0]))
    {'ours_alone': 2, 'theirs_alone': 0, 'p': 0.5}
    """
    ours = int(((ours_N == labels_N) & (theirs_N != labels_N)).sum())
    theirs = int(((theirs_N == labels_N) & (ours_N != labels_N)).sum())
    p = float(stats.binomtest(ours, ours + theirs).pvalue) if ours + theirs else 1.0
    return {"ours_alone": ours, "theirs_alone": theirs, "p": p}
