"""What several questions cost: p values for the best of several arms, for several looks, and for a family of tests."""

from __future__ import annotations

from collections.abc import Sequence

POCOCK_LEVELS = (0.05, 0.0294, 0.0221, 0.0182, 0.0158, 0.0142, 0.0130, 0.0120, 0.0112, 0.0106)  # two-sided, by looks
FEW_SPLITS = 0.9  # of Pocock's level: his looks have known variances; those of five splits alone gave 2.7 % of help


def compute_best_of_factor(candidates: int) -> float:
    """Return the factor on p values of the best of k candidates, where the choice is not independent of the test.

    If all k have no effect, the chance that any has a one-sided p below 2.5 % / k is at most 2.5 % (Bonferroni),
    whatever the choice went by. With (k + 1) / 2 up to 3.4 % of simulated comparisons ended in help.

    Args:
        candidates: number of arms that the best was chosen from; of none the factor is that of one.

    Returns:
        The factor, at least one.

    >>> [compute_best_of_factor(1), compute_best_of_factor(2), compute_best_of_factor(4)]
    [1.0, 2.0, 4.0]
    """
    return float(max(1, candidates))


def compute_looks_factor(looks: int) -> float:
    """Return the factor on p values where the verdict may be looked at several times, with more trainings each time.

    At every look the level is the same, so that all together are wrong in 5 % of cases (Pocock 1977, "Group sequential
    methods in the design and analysis of clinical trials", Biometrika 64). His variances are known. Where each look has
    to estimate them from five splits, looks are less alike than his, and his levels gave up to 2.7 % of wrong help
    (simulated by ``tests/benchmarks/looks_over_splits.py``); so several looks are at FEW_SPLITS of them. Of more
    looks than the table has, p values are multiplied by their number (Bonferroni).

    Args:
        looks: number of looks, at least one.

    Returns:
        The factor, at least one.

    >>> [round(compute_looks_factor(looks), 2) for looks in (1, 2, 4)]
    [1.0, 1.89, 3.05]
    """
    if looks == 1:
        return 1.0
    if looks > len(POCOCK_LEVELS):
        return float(looks)
    return POCOCK_LEVELS[0] / (FEW_SPLITS * POCOCK_LEVELS[looks - 1])


def multiply_p(p: float | None, times: float) -> float | None:
    """Multiply a p value, up to one; None stays None.

    Args:
        p: in [0, 1], or None where there is none.
        times: factor, at least one; see ``compute_best_of_factor`` and ``compute_looks_factor``.

    Returns:
        The product in [0, 1], or None.

    >>> multiply_p(0.25, 2.0), multiply_p(0.75, 2.0), multiply_p(None, 2.0)
    (0.5, 1.0, None)
    """
    return None if p is None else min(1.0, times * p)


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
