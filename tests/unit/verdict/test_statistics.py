"""Intervals are what scipy says they are, hold what they promise where there is nothing, and find what there is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ganaug_ray.verdict.paired_statistics import (
    SIGNIFICANCE_LEVEL,
    adjust_holm,
    compute_mcnemar,
    compute_row_variance,
    correct_for_best,
    estimate_mean,
    judge_effect,
)

TRIALS = 2000


def test_splits_give_paired_t_interval() -> None:
    """Over several splits the interval is the paired t interval of the means over seeds."""
    values_JS = np.random.default_rng(0).normal(0.01, 0.02, (5, 3))
    found, expected = estimate_mean(values_JS), stats.ttest_1samp(values_JS.mean(1), 0)
    assert found.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (found.p, found.df) == (pytest.approx(expected.pvalue), 4)
    assert found.se == pytest.approx(stats.sem(values_JS.mean(1)))
    assert found.effect_size == pytest.approx(values_JS.mean() / values_JS.mean(1).std(ddof=1))
    assert found.smallest_visible_gain == pytest.approx((stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) * found.se)


def test_shared_rows_widen_interval() -> None:
    """Splits that share training rows widen the interval by the correction of Nadeau and Bengio."""
    values_JS = np.random.default_rng(1).normal(0.01, 0.02, (5, 1))
    found = estimate_mean(values_JS, shared=0.25)
    se = np.sqrt(values_JS.var(ddof=1) * (1 / 5 + 0.25))
    assert found.se == pytest.approx(se)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(values_JS.mean()) / se, 4))


def one_split(rng: np.random.Generator, seeds: int, gain: float, by_row: float, by_seed: float) -> tuple:
    """Values [1, S] and influence [S, N] of a gain that rows, seeds and both together move by chance."""
    n = 200
    rows_SN = by_row * rng.normal(size=(1, n)) + by_seed * rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, n))
    rows_SN += gain
    return rows_SN.mean(1)[None], rows_SN - rows_SN.mean(1, keepdims=True)


def test_one_split_adds_test_row_variance() -> None:
    """Over one split the variance of the test rows is added to that of the seeds."""
    values_JS, influence_SN = one_split(np.random.default_rng(0), 3, 0.1, 2.0, 0.1)
    n = influence_SN.shape[1]
    by_row = influence_SN.mean(0)
    interaction = ((influence_SN - by_row) ** 2).sum() / (2 * (n - 1))
    of_the_rows = by_row.var(ddof=1) / n - interaction / (3 * n)
    assert compute_row_variance(influence_SN) == pytest.approx(of_the_rows)
    of_seeds = values_JS.var(ddof=1) / 3
    found = estimate_mean(values_JS, influence_SN)
    half = np.sqrt(stats.t.ppf(0.975, 2) ** 2 * of_seeds + stats.t.ppf(0.975, n - 1) ** 2 * of_the_rows)
    assert found.ci95 == pytest.approx((values_JS.mean() - half, values_JS.mean() + half))
    assert found.se == pytest.approx(np.sqrt(of_seeds + of_the_rows))
    only_seeds = estimate_mean(values_JS)
    assert only_seeds.ci95 == pytest.approx(tuple(stats.ttest_1samp(values_JS[0], 0).confidence_interval(0.95)))


def test_p_value_agrees_with_interval() -> None:
    """The p-value is below 5 percent exactly where the interval does not contain zero."""
    rng = np.random.default_rng(3)
    apart = []
    for _ in range(200):
        found = estimate_mean(*one_split(rng, 4, 0.25, 1.0, 0.1))
        assert found.ci95 is not None
        assert found.p is not None
        assert (found.p < 0.05) == (found.ci95[0] > 0 or found.ci95[1] < 0)
        apart.append(found.p < 0.05)
    assert 20 < sum(apart) < 180, "both occur"
    assert estimate_mean(np.array([[0.1], [-0.1]])).p == 1


@pytest.mark.parametrize("values", [[[0.1]], [[0.1, 0.1, 0.1]], [[0.1, 0.2], [0.2, 0.1]]])
def test_equal_differences_have_no_interval(values: list[list[float]]) -> None:
    """A single difference, or several equal ones, have no interval and no p-value."""
    found = estimate_mean(np.array(values), np.random.default_rng(0).normal(size=(len(values[0]), 50)))
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.ci95, found.p, found.se, found.smallest_visible_gain) == (None, None, None, None)
    assert judge_effect(found.mean, found.p) == "unclear"


def share_helped(found: list) -> float:
    return float(np.mean([judge_effect(one.mean, one.p) == "helped" for one in found]))


@pytest.mark.parametrize(("seeds", "by_row", "by_seed"), [(2, 1.0, 0.3), (3, 2.0, 0.05), (5, 1.0, 0.0), (3, 0.0, 0.3)])
def test_one_split_false_positive_rate(seeds: int, by_row: float, by_seed: float) -> None:
    """Over one split no more than 5 percent of comparisons without an effect are said to have helped."""
    rng = np.random.default_rng(seeds)
    assert share_helped([estimate_mean(*one_split(rng, seeds, 0, by_row, by_seed)) for _ in range(TRIALS)]) <= 0.05


def test_ignoring_test_rows_finds_too_much() -> None:
    """Without the variance of the test rows, more than 5 percent would be false discoveries."""
    rng = np.random.default_rng(4)
    drawn = [one_split(rng, 5, 0, 2.0, 0.05) for _ in range(TRIALS)]
    assert share_helped([estimate_mean(values_JS) for values_JS, _ in drawn]) > 0.15
    assert share_helped([estimate_mean(*one) for one in drawn]) <= 0.05


def test_one_split_detects_real_gain() -> None:
    """Over one split a real gain is found in at least 80 percent of comparisons."""
    rng = np.random.default_rng(5)
    assert share_helped([estimate_mean(*one_split(rng, 5, 0.6, 1.0, 0.1)) for _ in range(200)]) >= 0.8


def splits(rng: np.random.Generator, gain: float, common: float = 0.0) -> np.ndarray:
    """Five splits of three seeds: what is common to a split's seeds, and to all splits that share rows."""
    shared, own = rng.normal(size=(1, 1)), rng.normal(size=(5, 1))
    return gain + np.sqrt(common) * shared + np.sqrt(1 - common) * own + 0.5 * rng.normal(size=(5, 3))


def test_several_splits_detect_only_real_gain() -> None:
    """Over several splits a real gain is found, and at most 5 percent false ones are."""
    rng = np.random.default_rng(6)
    assert share_helped([estimate_mean(splits(rng, 0.0)) for _ in range(TRIALS)]) <= 0.05
    assert share_helped([estimate_mean(splits(rng, 2.5)) for _ in range(200)]) >= 0.8
    # Fifteen models are not fifteen splits: taken for that, they find too much.
    as_splits = [estimate_mean(splits(rng, 0.0).reshape(15, 1)) for _ in range(TRIALS)]
    assert share_helped(as_splits) > 0.08


def test_shared_rows_need_correction() -> None:
    """With a correlation of n_test / (n_train + n_test) between splits, as Nadeau and Bengio suppose."""
    rng = np.random.default_rng(7)
    drawn = [splits(rng, 0.0, common=0.3) for _ in range(TRIALS)]
    assert share_helped([estimate_mean(values_JS) for values_JS in drawn]) > 0.05
    assert share_helped([estimate_mean(values_JS, shared=0.3 / 0.7) for values_JS in drawn]) <= 0.05


def test_smallest_visible_gain_has_enough_power() -> None:
    """A gain as large as the smallest visible one is found in 80 percent of comparisons."""
    rng = np.random.default_rng(8)
    visible = (stats.t.ppf(0.975, 7) + stats.t.ppf(0.8, 7)) / np.sqrt(8)  # of a true standard deviation of one
    found = share_helped([estimate_mean(visible + rng.normal(size=(8, 1))) for _ in range(TRIALS)])
    assert found == pytest.approx(0.8, abs=0.04)


def test_best_of_several_needs_wider_interval() -> None:
    """Eight candidates without effect over five splits, chosen by the very figures that are tested."""
    rng = np.random.default_rng(9)
    drawn = rng.normal(size=(TRIALS, 8, 5, 1)) - rng.normal(size=(TRIALS, 1, 5, 1))
    chosen = [own[own.mean((1, 2)).argmax()] for own in drawn]
    assert share_helped([estimate_mean(values_JS) for values_JS in chosen]) > 0.08
    wider = [estimate_mean(values_JS, level=SIGNIFICANCE_LEVEL / correct_for_best(8)) for values_JS in chosen]
    above = [one.ci95 is not None and one.ci95[0] > 0 for one in wider]
    assert np.mean(above) <= 0.05
    assert above == [judge_effect(one.mean, one.p and correct_for_best(8) * one.p) == "helped" for one in wider]
    alone = stats.ttest_1samp(chosen[0][:, 0], 0).confidence_interval(1 - 0.05 / 4)
    assert wider[0].ci95 == pytest.approx(tuple(alone))


def test_holm_correction_equals_hand_calculation() -> None:
    """Figures by hand: 0.005 × 4, then 0.01 × 3, then 0.03 × 2, and 0.04 no smaller than the one before."""
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_holm([0.6, 0.7]) == [1.0, 1.0]
    assert adjust_holm([None, 0.02]) == [None, 0.04], "a question without an answer was asked too"
    assert adjust_holm([]) == []


def test_mcnemar_equals_binomial_test() -> None:
    """McNemar's test is the binomial test of the rows that only one of two models has right."""
    labels = np.zeros(100, int)
    ours, theirs = np.zeros(100, int), np.zeros(100, int)
    theirs[:12] = 1
    ours[10:15] = 1  # two of them wrong in both
    found = compute_mcnemar(labels, ours, theirs)
    assert (found["ours_alone"], found["theirs_alone"]) == (10, 3)
    assert found["p"] == pytest.approx(stats.binomtest(3, 13, 0.5).pvalue)
    assert compute_mcnemar(labels, ours, ours)["p"] == 1
