"""Several looks at a verdict are paid for: together they are wrong as seldom as one."""

from __future__ import annotations

import numpy as np
import pytest

from ganaug_ray.verdict.multiple_testing import compute_looks_factor, multiply_p
from ganaug_ray.verdict.paired_statistics import (
    Differences,
    Estimate,
    estimate_means,
    judge_effect,
)
from ganaug_ray.verdict.verdict import build_verdict
from tests.unit.verdict.test_compare import CLASSES, GOOD, REAL, arm
from tests.unit.verdict.test_statistics import draw_seeds


def test_levels_of_looks_are_pocock() -> None:
    """Each look is at nine tenths of the level of Pocock's table; p values, interval and words follow it."""
    assert compute_looks_factor(1) == 1.0
    levels = [0.05 / compute_looks_factor(looks) for looks in range(2, 6)]
    assert levels == pytest.approx([0.9 * pocock for pocock in (0.0294, 0.0221, 0.0182, 0.0158)])
    assert compute_looks_factor(12) == 12.0, "more than the table has"
    outcomes = {"real": arm(REAL), "syn": arm(GOOD), "noise": arm(GOOD)}
    single, several = (build_verdict(outcomes, "real", ["syn"], "accuracy", CLASSES, looks=looks) for looks in (1, 4))
    for before, after in zip(single["comparisons"], several["comparisons"], strict=True):
        for key in ("p_adjusted", "p_worthwhile_adjusted"):
            assert after[key] == pytest.approx(min(1.0, compute_looks_factor(4) * before[key]))
        assert after["ci95"][0] < before["ci95"][0]
    assert "allows for 4 looks at the verdict" in several["covers"]
    assert "looked at" not in single["covers"]


def test_several_looks_keep_error_rate() -> None:
    """Without an effect, four looks call it help hardly more often than one does; unpaid looks do."""
    draws = draw_seeds(np.random.default_rng(1), 12, gain=0, by_row=0, by_seed=0.3, trials=2000)
    assert draws.influence is not None

    def find_help(estimates: list[Estimate], times: float) -> np.ndarray:
        words = [judge_effect(e.mean, multiply_p(e.p, times), 1.0) for e in estimates]
        return np.array([word == "helped" for word in words])

    paid = unpaid = np.zeros(2000, bool)
    for seeds in (3, 6, 9, 12):
        influence = [part[:seeds] for part in draws.influence]
        estimates = estimate_means(Differences(draws.values_JSM[:, :seeds], influence, draws.row_steps_M))
        paid = paid | find_help(estimates, compute_looks_factor(4))
        unpaid = unpaid | find_help(estimates, 1.0)
    assert paid.mean() <= 0.032
    assert unpaid.mean() > 0.04
