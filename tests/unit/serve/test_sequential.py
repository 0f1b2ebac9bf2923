"""The sequential test of two models, by simulation: how often it is wrong, and how soon it is right."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from ganaug_ray.serve import sequential_test
from ganaug_ray.serve.sequential_test import compute_evidence, judge_candidate

MOST = 1500  # images that one model alone had right


def limits() -> np.ndarray:
    """By number of such images, how many of them the candidate must win for a verdict: int64 [MOST + 1]."""
    found, wins = [1], 1
    for n in range(1, MOST + 1):
        wins = max(wins, (n + 1) // 2)
        while wins <= n and judge_candidate(wins, n - wins) == "undecided":
            wins += 1
        found.append(wins)
    return np.array(found)


def test_equal_models_rarely_get_verdict() -> None:
    """Of equal models judged after every label, no more than 5 percent get a verdict."""
    needed, runs = limits(), 4000
    wins = np.cumsum(np.random.default_rng(0).random((runs, MOST)) < 0.5, 1)
    n = np.arange(1, MOST + 1)
    alarms = ((wins >= needed[1:]) | (n - wins >= needed[1:])).any(1).mean()
    assert alarms <= sequential_test.ERROR_LEVEL
    assert alarms > 0.01, "a test that never says anything would be no test"


def test_better_candidate_is_detected() -> None:
    """They differ on one image in ten: 6.5 % the candidate alone has right, 3.5 % the champion."""
    needed, runs = limits(), 500
    wins = np.cumsum(np.random.default_rng(1).random((runs, MOST)) < 0.65, 1)
    better = wins >= needed[1:]
    assert better[:, : 500 - 1].any(1).mean() > 0.95, "with 500 such images, about 5,000 labels"


def test_evidence_is_fair_and_symmetric() -> None:
    """The evidence has an expected value of one between equal models and treats both sides alike."""
    for n in (1, 7, 40):
        assert sum(comb(n, wins) / 2**n * compute_evidence(wins, n - wins) for wins in range(n + 1)) == pytest.approx(1)
    assert compute_evidence(30, 10) == pytest.approx(compute_evidence(10, 30))
    assert (judge_candidate(40, 10), judge_candidate(10, 40), judge_candidate(25, 25)) == (
        "better",
        "worse",
        "undecided",
    )
    assert compute_evidence(10**6, 0) > 1e300, "and no overflow"
