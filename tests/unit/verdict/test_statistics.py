"""Intervals hold what they promise where there is nothing, find what there is, and end where they should."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import integrate, stats

from ganaug_ray.verdict.mcnemar import compute_mcnemar
from ganaug_ray.verdict.mean_error import PRIOR_SCALE, combine_rows_and_repeats
from ganaug_ray.verdict.multiple_testing import adjust_holm, compute_best_of_factor
from ganaug_ray.verdict.paired_statistics import (
    SIGNIFICANCE_LEVEL,
    Differences,
    Estimate,
    compute_row_variance,
    estimate_mean_over_repeats,
    estimate_means,
    judge_effect,
)

TRIALS = 2000


def draw_splits(
    rng: np.random.Generator, splits: int, seeds: int, gain: float = 0.0, training: float = 0.0, trials: int = 1
) -> Differences:
    """Differences of 40 rows a split, of variance one; ``training`` moves a whole split, in standard errors of rows."""
    rows = 40
    rows_JSNM = rng.normal(size=(splits, 1, rows, trials)) + rng.normal(size=(splits, seeds, rows, trials))
    shift_J11M = training * np.sqrt(2 / rows) * rng.normal(size=(splits, 1, 1, trials))
    moved_JSNM = gain + shift_J11M + rows_JSNM / np.sqrt(2)
    values_JSM = moved_JSNM.mean(2)
    return Differences(values_JSM, list(moved_JSNM - values_JSM[:, :, None]), np.zeros(1))


def draw_seeds(
    rng: np.random.Generator, seeds: int, gain: float, by_row: float, by_seed: float, trials: int = 1
) -> Differences:
    """Differences of 200 rows of a single split that rows, seeds and both together move by chance."""
    rows = 200
    moved_SNM = gain + by_row * rng.normal(size=(1, rows, trials)) + by_seed * rng.normal(size=(seeds, 1, trials))
    moved_SNM = moved_SNM + rng.normal(size=(seeds, rows, trials))
    values_SM = moved_SNM.mean(1)
    return Differences(values_SM[None], [moved_SNM - values_SM[:, None]], np.zeros(1))


def share(estimates: list[Estimate], word: str) -> float:
    return float(np.mean([judge_effect(own.mean, own.p, own.p_worthwhile) == word for own in estimates]))


def test_repeats_alone_give_paired_t() -> None:
    """Where nothing is known of rows, the interval over splits is scipy's paired t interval."""
    values_JS = np.random.default_rng(0).normal(0.01, 0.02, (5, 3))
    found, expected = estimate_mean_over_repeats(values_JS), stats.ttest_1samp(values_JS.mean(1), 0)
    assert found.ci95 == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (found.p, found.df) == (pytest.approx(expected.pvalue), 4)
    assert found.effect_size == pytest.approx(values_JS.mean() / values_JS.mean(1).std(ddof=1))
    se = stats.sem(values_JS.mean(1))
    assert found.smallest_visible_gain == pytest.approx((stats.t.ppf(0.975, 4) + stats.t.ppf(0.8, 4)) * se)


@pytest.mark.parametrize(("splits", "seeds", "level"), [(4, 2, 0.05), (1, 4, 1.1 * 0.05), (7, 2, 0.85 * 0.05)])
def test_interval_equals_integral_over_posterior(splits: int, seeds: int, level: float) -> None:
    """The interval's ends miss as often as chosen, by adaptive quadrature over what the repeats leave possible."""
    rng = np.random.default_rng(1)
    drawn = draw_splits(rng, splits, seeds, 0.1, 1.0) if splits > 1 else draw_seeds(rng, seeds, 0.1, 1.0, 0.1)
    assert drawn.influence is not None
    (found,) = estimate_means(drawn)
    rows = sum(own.shape[1] for own in drawn.influence)
    if splits > 1:
        repeats = drawn.values_JSM.mean(1)[:, 0]
        within = np.mean([own.mean(0).var(0, ddof=1)[0] / own.shape[1] for own in drawn.influence])
        shared, df = 0.0, rows - splits
    else:
        repeats, moved_SN = drawn.values_JSM[0, :, 0], drawn.influence[0][:, :, 0]
        by_row = moved_SN.mean(0)
        interaction = ((moved_SN - by_row) ** 2).sum() / ((seeds - 1) * (rows - 1))
        within, df = interaction / rows, rows - 1
        shared = by_row.var(ddof=1) / rows - interaction / (seeds * rows)
        assert compute_row_variance(drawn.influence[0])[0] == pytest.approx(shared)
    nu = len(repeats) - 1

    def density(root: float) -> float:
        times = 1 + root**2
        chi2 = stats.chi2.pdf(nu * repeats.var(ddof=1) / (within * times), nu) / times
        return float(chi2 / (1 + root / PRIOR_SCALE))

    assert found.ci95 is not None
    half = found.ci95[1] - found.mean

    def missed(root: float) -> float:
        scale = np.sqrt(shared + within * (1 + root**2) / len(repeats))
        return float(density(root) * 2 * stats.t.sf(half / scale, df))

    ends = [0, 1, 10, 100, 1000]
    total, outside = (
        sum(integrate.quad(what, low, high, limit=200)[0] for low, high in itertools.pairwise(ends))
        for what in (density, missed)
    )
    assert outside / total == pytest.approx(level, abs=0.001)


def test_large_spread_gives_students_t() -> None:
    """Where training moves repeats far more than rows do, the interval is Student's t; where not, nearly the rows'."""
    within, none = np.array([1.0]), np.array([0.0])
    wide = combine_rows_and_repeats(np.array([1e4]), within, none, 5, 1000).compute_half_width(0.05)[0]
    assert wide == pytest.approx(stats.t.ppf(0.975, 4) * 100 / np.sqrt(5), rel=0.03)
    narrow = combine_rows_and_repeats(np.array([0.5]), within, none, 5, 1000).compute_half_width(0.05)[0]
    assert stats.norm.ppf(0.975) / np.sqrt(5) < narrow < 1.5 * stats.norm.ppf(0.975) / np.sqrt(5)


def test_p_agrees_with_interval() -> None:
    """P values are below five percent exactly where the interval leaves out zero, or the limit what is worthwhile."""
    found = estimate_means(draw_seeds(np.random.default_rng(3), 4, 0.25, 1.0, 0.1, 200), worthwhile=0.5)
    for own in found:
        assert own.ci95 is not None
        assert own.p is not None
        assert own.p_worthwhile is not None
        assert (own.p < 0.05) == (own.ci95[0] > 0 or own.ci95[1] < 0)
        assert own.gain_limit is not None
        assert own.mean < own.gain_limit < own.ci95[1]
        assert (own.p_worthwhile < 0.05) == (own.gain_limit < 0.5)
    for word in ("helped", "no worthwhile gain", "unclear"):
        assert share(found, word) > 0.02, "each occurs"
    assert estimate_mean_over_repeats(np.array([[0.1], [-0.1], [0.1], [-0.1]])).p == pytest.approx(1)


def test_verdict_words_follow_interval() -> None:
    """Hurt comes before no worthwhile gain, and that before helped; where less is better all is mirrored."""
    assert judge_effect(-0.02, 0.01, 0.001) == "hurt"
    assert judge_effect(0.002, 0.01, 0.001) == "no worthwhile gain", "a sure gain that is too small"
    assert judge_effect(0.02, 0.01, 0.9) == "helped"
    assert judge_effect(-0.02, 0.01, 0.9, higher_is_better=False) == "helped"
    assert judge_effect(0.02, 0.01, 0.001, higher_is_better=False) == "hurt"
    slightly_less = np.array([[[-0.001], [-0.0009], [-0.0011]]])
    (falls,) = estimate_means(Differences(slightly_less), worthwhile=-0.01)
    assert judge_effect(falls.mean, falls.p, falls.p_worthwhile, False) == "no worthwhile gain"
    assert falls.gain_limit is not None
    assert -0.01 < falls.gain_limit < falls.mean


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 1), (2, 2), (2, 10)])
def test_two_repeats_have_no_interval(shape: tuple[int, int]) -> None:
    """One or two trainings of each arm, or two splits, give a mean, and neither an interval nor a verdict."""
    rng = np.random.default_rng(0)
    (found,) = estimate_means(draw_splits(rng, *shape, gain=0.1))
    assert found.mean == pytest.approx(0.1, abs=0.5)
    assert (found.ci95, found.p, found.se, found.smallest_visible_gain) == (None, None, None, None)
    assert judge_effect(found.mean, found.p, found.p_worthwhile) == "not enough repeats"


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (5, 2)])
def test_equal_differences_have_row_interval(shape: tuple[int, int]) -> None:
    """Models that all answer alike leave the interval that as many test images leave possible, no narrower."""
    influence = [np.zeros((shape[1], 20, 1))] * shape[0]
    (found,) = estimate_means(Differences(np.zeros((*shape, 1)), influence))
    assert found.ci95 is not None
    rows = 20 * shape[0]
    assert found.ci95[1] >= stats.norm.ppf(0.975) * np.sqrt(2) / rows
    assert found.ci95[1] < 4 * np.sqrt(2) / rows
    assert found.effect_size is None


@pytest.mark.parametrize(("seeds", "by_row", "by_seed"), [(3, 2.0, 0.05), (5, 1.0, 0.0), (3, 0.0, 0.3), (8, 1.0, 0.2)])
def test_one_split_finds_no_null_effect(seeds: int, by_row: float, by_seed: float) -> None:
    """Over one split nothing is found where there is nothing."""
    found = estimate_means(draw_seeds(np.random.default_rng(seeds), seeds, 0, by_row, by_seed, TRIALS))
    assert share(found, "helped") <= 0.035


@pytest.mark.parametrize("training", [0.0, 1.0, 10.0])
@pytest.mark.parametrize(("splits", "seeds"), [(3, 1), (5, 1), (5, 3), (10, 1)])
def test_splits_find_no_null_effect(splits: int, seeds: int, training: float) -> None:
    """Over splits nothing is found where there is nothing, whether rows or trainings make up the spread."""
    rng = np.random.default_rng(splits + seeds)
    found = estimate_means(draw_splits(rng, splits, seeds, 0, training, TRIALS), worthwhile=1e-9)
    assert share(found, "helped") <= 0.04
    assert share(found, "hurt") <= 0.04
    assert share(found, "hurt") + share(found, "no worthwhile gain") <= 0.065, "one-sided, at 5 %"


def test_seeds_of_splits_are_no_splits() -> None:
    """Fifteen models of five splits are not fifteen splits: taken for that, they find too much."""
    drawn = draw_splits(np.random.default_rng(6), 5, 3, 0, 3.0, TRIALS)
    as_splits = Differences(drawn.values_JSM.reshape(15, 1, -1))
    assert share(estimate_means(as_splits), "helped") > 0.08
    assert share(estimate_means(drawn), "helped") <= 0.035


def test_interval_is_never_narrower_than_rows() -> None:
    """Repeats that agree by luck do not make the interval narrower than their test rows alone allow."""
    drawn = draw_splits(np.random.default_rng(7), 3, 1, 0, 0, 500)
    assert drawn.influence is not None
    of_rows = np.sqrt(np.mean([own.mean(0).var(0, ddof=1) / own.shape[1] for own in drawn.influence], 0) / 3)
    halves = np.array([own.ci95[1] - own.mean for own in estimate_means(drawn) if own.ci95])
    assert (halves >= stats.norm.ppf(0.975) * of_rows).all()
    alone = [own.ci95[1] - own.mean for own in estimate_means(Differences(drawn.values_JSM)) if own.ci95]
    assert (np.array(alone) < stats.norm.ppf(0.975) * of_rows).mean() > 0.1, (
        "Student's t of the repeats is, now and then"
    )


def test_added_rows_count_as_seen_ones() -> None:
    """Where each training errs on other rows, the rows that are added count less than where all err on the same."""
    half_widths = []
    for rows_that_differ in ([[5, 6]] * 8, [[5 + 2 * seed, 6 + 2 * seed] for seed in range(8)]):
        answers_SN = np.zeros((8, 60))
        for seed, (better, worse) in enumerate(rows_that_differ):
            answers_SN[seed, better], answers_SN[seed, worse] = 1, -1
        (found,) = estimate_means(Differences(np.zeros((1, 8, 1)), [answers_SN[:, :, None]]))
        assert found.ci95 is not None
        half_widths.append(found.ci95[1])
    by_hand = stats.norm.ppf(0.975) * np.sqrt(2 + 2) / 60
    assert half_widths[0] == pytest.approx(by_hand, rel=0.05)
    assert half_widths[1] < 0.6 * by_hand


def test_no_worthwhile_gain_is_found() -> None:
    """An effect of nothing ends in a firm no where the data suffice; a gain that is worthwhile rarely does."""
    rng = np.random.default_rng(8)
    nothing = estimate_means(draw_splits(rng, 5, 3, 0, 0, 500), worthwhile=0.3)
    assert share(nothing, "no worthwhile gain") >= 0.8
    just_worthwhile = estimate_means(draw_splits(rng, 5, 3, 0.3, 0, TRIALS), worthwhile=0.3)
    assert share(just_worthwhile, "no worthwhile gain") <= 0.05


def test_smallest_visible_gain_has_enough_power() -> None:
    """The smallest visible gain is found in four cases of five, or a little more."""
    rng = np.random.default_rng(8)
    visible = np.mean([own.smallest_visible_gain for own in estimate_means(draw_splits(rng, 8, 1, 0, 0, 200))])
    found = share(estimate_means(draw_splits(rng, 8, 1, float(visible), 0, TRIALS)), "helped")
    assert 0.76 <= found <= 0.92


def test_best_candidate_needs_wider_interval() -> None:
    """Eight candidates without effect over five splits, chosen by the very figures that are tested."""
    rng = np.random.default_rng(9)
    drawn = rng.normal(size=(TRIALS, 8, 5, 1)) - rng.normal(size=(TRIALS, 1, 5, 1))
    chosen = np.stack([own[own.mean((1, 2)).argmax()] for own in drawn], axis=-1)
    assert share(estimate_means(Differences(chosen)), "helped") > 0.08
    level = SIGNIFICANCE_LEVEL / compute_best_of_factor(8)
    wider = estimate_means(Differences(chosen), level)
    above = [own.ci95 is not None and own.ci95[0] > 0 for own in wider]
    assert np.mean(above) <= 0.05
    words = [judge_effect(own.mean, own.p and compute_best_of_factor(8) * own.p, 1.0) for own in wider]
    assert above == [word == "helped" for word in words]
    alone = stats.ttest_1samp(chosen[:, 0, 0], 0).confidence_interval(1 - 0.05 / 8)
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
