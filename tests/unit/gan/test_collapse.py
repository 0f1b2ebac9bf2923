"""When a training is ended: histories of runs that did well, collapsed, or had nothing left to learn from."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ganaug_ray.gan import early_stopping
from ganaug_ray.gan.early_stopping import Measurement
from ganaug_ray.gan.metrics import overfitting


def look(
    step: int, kid: float, coverage: float = 0.8, real: float = 0.4, fake: float = -0.4, gap: float | None = 0.1
) -> Measurement:
    return Measurement(step, kid, 0.01, coverage, real, fake, gap)


GOOD = [look(100, 0.5), look(200, 0.3), look(300, 0.2)]


def test_improving_or_wavering_training_continues() -> None:
    """A training that improves, or gets worse only for a moment, is not ended."""
    assert early_stopping.find_stop_reason([]) is None
    assert early_stopping.find_stop_reason(GOOD) is None
    assert early_stopping.find_stop_reason([*GOOD, look(400, 0.25, 0.1), look(500, 0.19), look(600, 0.5, 0.1)]) is None


def test_collapse_needs_three_bad_measurements() -> None:
    """Worse images with lower coverage end the training as collapsed after three measurements, not after two."""
    worse = [look(step, 0.6, 0.3) for step in (400, 500, 600)]
    assert early_stopping.find_stop_reason(GOOD + worse[:2]) is None
    said = early_stopping.find_stop_reason(GOOD + worse)
    assert said is not None
    assert said.startswith("collapsed: samples cover 0.30 of the images, 0.80 before, since step 400")
    assert "the best KID was 0.2000 at step 300, now it is 0.6000" in said


def test_winning_discriminator_stops_training() -> None:
    """Worse images and a discriminator that is always right end the training, and the reason says so."""
    won = [look(step, 0.6, real=0.98, fake=-0.96) for step in (400, 500, 600)]
    said = early_stopping.find_stop_reason(GOOD + won)
    assert said is not None
    assert said.startswith(
        "the discriminator has won: it calls 99% of the training images and 2% of the generated ones real, since"
    )


def test_overfitting_discriminator_stops_training() -> None:
    """Worse images and a discriminator that takes unseen real images for generated ones end the training."""
    overfits = [look(step, 0.6, real=0.96, fake=-0.5, gap=0.8) for step in (400, 500, 600)]
    said = early_stopping.find_stop_reason(GOOD + overfits)
    assert said is not None
    assert said.startswith(
        "the discriminator overfits: it calls 98% of the training images real, but scores validation images more "
        "like generated ones (gap 0.80: 0 is like training images, 1 like generated ones), since step 400"
    )


def test_hinge_discriminator_can_win() -> None:
    """Logits at the hinge loss's margin, beyond which no gradient takes them, are those of one that has won."""
    margin_B = torch.full((16,), 1.05)
    signs = {
        "real_sign": overfitting.compute_mean_sign(margin_B).item(),
        "fake_sign": overfitting.compute_mean_sign(-margin_B).item(),
    }
    kid = {"val_kid_teacher_n9": 0.3, "val_kid_teacher_n9_std": 0.02, "coverage_teacher_k5_n9": 0.5}
    (measurement,) = early_stopping.collect_measurements([{"step": 10, **signs}, {"step": 10, **kid}])
    assert measurement.discriminator_has_won


@pytest.mark.parametrize(
    ("kid", "real", "fake", "gap"),
    [
        (0.2, 0.99, -0.99, 0.9),  # the images are as good as they were
        (0.6, 0.4, -0.4, 0.9),  # it is not sure of the training images
        (0.6, 0.99, -0.4, 0.1),  # it knows unseen real images for real, and is not sure of generated ones
        (0.6, 0.99, -0.4, None),
    ],
)
def test_single_warning_sign_continues_training(kid: float, real: float, fake: float, gap: float | None) -> None:
    """One sign of an overfitting or winning discriminator, or a worse KID alone, does not end a training."""
    later = [look(step, kid, real=real, fake=fake, gap=gap) for step in (400, 500, 600)]
    assert early_stopping.find_stop_reason(GOOD + later) is None


def test_kid_within_spread_is_not_worse() -> None:
    """A KID that is higher by less than its spread does not count as worse."""
    within = [look(step, 0.22, 0.1) for step in (400, 500, 600)]
    assert early_stopping.find_stop_reason(GOOD + within) is None


def test_measurements_average_signs_since_previous() -> None:
    """Measurements come from the log, each with the mean signs since the measurement before."""

    def signs(step: int, real: float) -> dict[str, Any]:
        return {"step": step, "loss_g": 1.0, "loss_d": 1.0, "real_sign": real, "fake_sign": -0.1}

    quality = {
        "val_kid_teacher_n9": 0.3,
        "val_kid_teacher_n9_std": 0.02,
        "kid_teacher_n9": 9.0,
        "kid_teacher_n9_std": 9,
    }
    rows = [
        signs(10, 0.2),
        signs(20, 0.4),
        {"step": 20, **quality, "coverage_teacher_k5_n9": 0.5, "val_coverage_teacher_k5_n9": 0.6, "val_gap": 0.25},
        signs(30, 0.9),
        {"step": 30, "fid_teacher_n9": 1.0},
        {"step": 30, **quality, "coverage_teacher_k5_n9": 0.7},
    ]
    one, two = early_stopping.collect_measurements(rows)
    assert (one.step, one.kid, one.spread, one.coverage) == (20, 0.3, 0.02, 0.5)
    assert round(one.real_sign, 6) == 0.3
    assert (two.step, two.coverage, two.real_sign) == (30, 0.7, 0.9)
    assert (one.val_gap, two.val_gap) == (0.25, None)
