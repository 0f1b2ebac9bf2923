"""When a training is ended: histories of runs that did well, collapsed, or had nothing left to learn from."""

from __future__ import annotations

from typing import Any

from ganaug_ray.gan import early_stopping
from ganaug_ray.gan.early_stopping import Measurement


def look(step: int, kid: float, coverage: float = 0.8, real: float = 0.7, fake: float = 0.3) -> Measurement:
    return Measurement(step, kid, 0.01, coverage, real, fake)


GOOD = [look(100, 0.5), look(200, 0.3), look(300, 0.2)]


def test_a_run_that_gets_better_or_wavers_goes_on() -> None:
    assert early_stopping.find_stop_reason([]) is None
    assert early_stopping.find_stop_reason(GOOD) is None
    assert early_stopping.find_stop_reason([*GOOD, look(400, 0.25, 0.1), look(500, 0.19), look(600, 0.5, 0.1)]) is None


def test_worse_images_that_cover_less_are_a_collapse_after_three_looks() -> None:
    worse = [look(step, 0.6, 0.3) for step in (400, 500, 600)]
    assert early_stopping.find_stop_reason(GOOD + worse[:2]) is None
    said = early_stopping.find_stop_reason(GOOD + worse)
    assert said is not None
    assert said.startswith("collapsed: samples cover 0.30 of the images, 0.80 before, since step 400")
    assert "the best KID was 0.2000 at step 300, now it is 0.6000" in said


def test_worse_images_under_a_sure_discriminator_have_lost() -> None:
    won = [look(step, 0.6, real=0.97, fake=0.02) for step in (400, 500, 600)]
    said = early_stopping.find_stop_reason(GOOD + won)
    assert said is not None
    assert said.startswith("the discriminator has won: real images score 0.97, generated ones 0.02")


def test_a_sure_discriminator_or_a_worse_kid_alone_ends_nothing() -> None:
    assert (
        early_stopping.find_stop_reason(GOOD + [look(step, 0.2, real=0.99, fake=0.01) for step in (400, 500, 600)])
        is None
    )
    assert early_stopping.find_stop_reason(GOOD + [look(step, 0.6) for step in (400, 500, 600)]) is None


def test_a_worse_kid_is_one_beyond_its_spread() -> None:
    within = [look(step, 0.22, 0.1) for step in (400, 500, 600)]
    assert early_stopping.find_stop_reason(GOOD + within) is None


def test_looks_are_gathered_from_the_log_with_the_scores_since_the_one_before() -> None:
    def scores(step: int, real: float) -> dict[str, Any]:
        return {"step": step, "loss_g": 1.0, "loss_d": 1.0, "real_score": real, "fake_score": 0.1}

    quality = {
        "val_kid_teacher_n9": 0.3,
        "val_kid_teacher_n9_std": 0.02,
        "kid_teacher_n9": 9.0,
        "kid_teacher_n9_std": 9,
    }
    rows = [
        scores(10, 0.2),
        scores(20, 0.4),
        {"step": 20, **quality, "coverage_teacher_k5_n9": 0.5, "val_coverage_teacher_k5_n9": 0.6},
        scores(30, 0.9),
        {"step": 30, "fid_teacher_n9": 1.0},
        {"step": 30, **quality, "coverage_teacher_k5_n9": 0.7},
    ]
    one, two = early_stopping.collect_measurements(rows)
    assert (one.step, one.kid, one.spread, one.coverage) == (20, 0.3, 0.02, 0.5)
    assert round(one.real_score, 6) == 0.3
    assert (two.step, two.coverage, two.real_score) == (30, 0.7, 0.9)
