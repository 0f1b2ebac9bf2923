"""Decides when a GAN's training should end early: its images have collapsed, or its discriminator has won."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from ganaug_ray.gan.metrics import kid_fid_prdc

CONSECUTIVE_MEASUREMENTS = 3  # in a row, since one bad look is followed by a good one often enough
MIN_KID_SPREADS = 3.0  # by so many of its spreads must the KID lie above the best one to be worse
MIN_COVERAGE_SHARE = 0.5  # of the best coverage; less of it is a collapse
# Scores of a discriminator that has won.
WON_REAL_SCORE = 0.95
WON_FAKE_SCORE = 0.05


@dataclass(frozen=True)
class Measurement:
    """The metrics of the averaged generator at a step, and the mean scores since the measurement before."""

    step: int
    kid: float
    spread: float
    coverage: float
    real_score: float
    fake_score: float

    def is_worse_than(self, best: Measurement) -> bool:
        """Return whether its KID is above the best one by more than chance."""
        return self.kid > best.kid + MIN_KID_SPREADS * max(best.spread, self.spread)

    @property
    def discriminator_has_won(self) -> bool:
        """Whether real images score nearly 1 and generated ones nearly 0."""
        return self.real_score > WON_REAL_SCORE and self.fake_score < WON_FAKE_SCORE


def collect_measurements(rows: Iterable[Mapping[str, Any]]) -> list[Measurement]:
    """Collect the measurements from a training log, in order; rows without KID or coverage are left out."""
    measurements: list[Measurement] = []
    scores: list[tuple[float, float]] = []
    for row in rows:
        if "real_score" in row:
            scores.append((row["real_score"], row["fake_score"]))
        kid = kid_fid_prdc.choose_kid_name(row)
        coverage = next((name for name in row if name.startswith("coverage_")), None)
        if kid is None or coverage is None or not scores:
            continue
        measurements.append(
            Measurement(
                step=row["step"],
                kid=row[kid],
                spread=row[f"{kid}_std"],
                coverage=row[coverage],
                real_score=mean(real for real, _ in scores),
                fake_score=mean(fake for _, fake in scores),
            )
        )
        scores = []
    return measurements


def find_stop_reason(measurements: list[Measurement]) -> str | None:
    """Return why the training should end, or None if it should go on.

    The last three measurements must all say so, compared with the best one before them.

    A collapse: the KID is worse and the coverage less than half. A discriminator that has won: the KID is worse, real
    images score nearly 1 and generated ones nearly 0, so that there is little left to learn from it.
    """
    before = measurements[:-CONSECUTIVE_MEASUREMENTS]
    recent = measurements[-CONSECUTIVE_MEASUREMENTS:]
    if not before:
        return None
    best = min(before, key=lambda measurement: measurement.kid)
    if not all(measurement.is_worse_than(best) for measurement in recent):
        return None
    last = recent[-1]
    since = (
        f"since step {recent[0].step}; the best KID was {best.kid:.4f} at step {best.step}, now it is {last.kid:.4f}"
    )
    if all(measurement.coverage < MIN_COVERAGE_SHARE * best.coverage for measurement in recent):
        return f"collapsed: samples cover {last.coverage:.2f} of the images, {best.coverage:.2f} before, {since}"
    if all(measurement.discriminator_has_won for measurement in recent):
        return (
            f"the discriminator has won: real images score {last.real_score:.2f}, generated ones "
            f"{last.fake_score:.2f}, {since}"
        )
    return None
