"""How far a mean of paired differences may lie from the truth: the distribution of its error.

R repeats (splits, or the seeds of a single split) differ for two reasons: other test rows, and other trainings. The
variance of their mean is

    shared + within (1 + tau) / R

- ``within``: of one repeat, what its test rows by themselves explain; hundreds of rows tell of it, so it is as good as
  known.
- ``tau``: what trainings and draws of training rows add to it, in units of ``within``. Only the sample variance b of
  the R repeats tells of it: (R - 1) b / within is distributed as (1 + tau) chi-squared with R - 1 degrees of freedom.
- ``shared``: what the rows explain that all repeats have in common, those of a single split.

To take ``within`` off b and clip the rest at zero would cover too little, and b alone is Student's t with R - 1 degrees
of freedom, 4.3 standard errors for three repeats. So tau is averaged over what b leaves possible (its posterior). The
prior is flat in the root of tau up to a scale, and falls with its inverse beyond. Where rows make up the spread,
the interval is hardly wider than theirs; where trainings do, it is exactly Student's t with R - 1 degrees of freedom.
``tests/benchmarks/interval_coverage.py`` simulates how often it covers, and how wide it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

# Simulated: half as much covered 93 % where trainings make up most of the spread, twice as much was 7 to 12 % wider.
PRIOR_SCALE = 1.0  # up to which the prior is flat, in roots of tau
_TAUS_T = np.concatenate([[0.0], np.geomspace(1e-2, 1e6, 34)])
_TOLERANCE = 1e-12  # of the width of an interval


@dataclass(frozen=True)
class MeanError:
    """A mixture of Student's t distributions around zero, one a figure.

    Attributes:
        weights_MT: float64 [M figures, T parts], each row summing to one.
        scales_MT: of each part, float64 [M, T], above zero.
        df: degrees of freedom of every part.
    """

    weights_MT: np.ndarray
    scales_MT: np.ndarray
    df: int

    def compute_tail(self, distances_M: np.ndarray) -> np.ndarray:
        """Return the probability of an error at least so large, to either side.

        Args:
            distances_M: float64 [M], in the unit of the figures; the sign does not matter.

        Returns:
            float64 [M] in [0, 1].

        >>> use_repeats_alone(np.array([3.0, 3.0]), repeats=3).compute_tail(np.array([0.0, -4.303])).round(3).tolist()
        [1.0, 0.05]
        """
        tails_MT = 2 * special.stdtr(self.df, -np.abs(distances_M)[:, None] / self.scales_MT)
        return (self.weights_MT * tails_MT).sum(1)

    def compute_half_width(self, level: float) -> np.ndarray:
        """Return half the width of the interval that misses with probability ``level``.

        Args:
            level: above zero and below one.

        Returns:
            float64 [M], above zero, in the unit of the figures.

        >>> use_repeats_alone(np.array([3.0]), repeats=3).compute_half_width(0.05).round(3).tolist()
        [4.303]
        """
        half_M = -special.stdtrit(self.df, level / 2) * self.scales_MT.min(1)
        while True:  # Newton's method: the tail is convex, so that it nears the end from below and never passes it
            step_M = (self.compute_tail(half_M) - level) / self._compute_tail_slope(half_M)
            if not (step_M > _TOLERANCE * half_M).any():
                return half_M
            half_M = half_M + np.maximum(step_M, 0.0)

    def _compute_tail_slope(self, distances_M: np.ndarray) -> np.ndarray:
        """How fast the tail falls: twice the density, float64 [M]."""
        standardized_MT = distances_M[:, None] / self.scales_MT
        log_constant = special.gammaln((self.df + 1) / 2) - special.gammaln(self.df / 2) - np.log(np.pi * self.df) / 2
        log_density_MT = log_constant - (self.df + 1) / 2 * np.log1p(standardized_MT**2 / self.df)
        return 2 * (self.weights_MT * np.exp(log_density_MT) / self.scales_MT).sum(1)


def combine_rows_and_repeats(
    between_M: np.ndarray,
    within_M: np.ndarray,
    shared_M: np.ndarray,
    repeats: int,
    row_df: int,
) -> MeanError:
    """Return the error of the mean of repeats whose rows are known.

    Args:
        between_M: sample variance of the repeats, float64 [M].
        within_M: variance of one repeat by its own rows, float64 [M], above zero.
        shared_M: variance by rows that all repeats share, float64 [M].
        repeats: R, two at least.
        row_df: degrees of freedom of the rows' variance.
    """
    roots_T = np.sqrt(_TAUS_T)
    steps_T = np.gradient(roots_T)
    steps_T[0] = roots_T[1] / 2
    prior_T = steps_T / (1 + roots_T / PRIOR_SCALE)
    spread_T = 1 + _TAUS_T
    ratios_M1 = (between_M / within_M)[:, None]
    log_likelihood_MT = -(repeats - 1) / 2 * (np.log(spread_T) + ratios_M1 / spread_T)
    likelihood_MT = np.exp(log_likelihood_MT - log_likelihood_MT.max(1, keepdims=True))
    posterior_MT = likelihood_MT * prior_T
    posterior_MT /= posterior_MT.sum(1, keepdims=True)
    variance_MT = shared_M[:, None] + within_M[:, None] * spread_T / repeats
    return MeanError(posterior_MT, np.sqrt(variance_MT), row_df)


def use_repeats_alone(between_M: np.ndarray, repeats: int) -> MeanError:
    """Return the error of the mean of repeats where nothing is known of their rows: Student's t.

    Args:
        between_M: sample variance of the repeats, float64 [M], above zero.
        repeats: R, two at least.
    """
    scales_M1 = np.sqrt(between_M / repeats)[:, None]
    return MeanError(np.ones_like(scales_M1), scales_M1, repeats - 1)
