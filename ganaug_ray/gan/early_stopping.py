"""Decides when a GAN's training should end early: its images have collapsed, or its discriminator has won or overfits.

How the discriminator stands is judged by signs of its logits and by validation images, so alike under every loss: with
the hinge loss no gradient takes a logit beyond 1, a score of 0.73.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from ganaug_ray.gan.metrics import kid_fid_prdc

CONSECUTIVE_MEASUREMENTS = 3  # in a row, since one bad look is followed by a good one often enough
MIN_KID_SPREADS = 3.0  # a KID is worse where it lies this many spreads above the best one
MIN_COVERAGE_SHARE = 0.5  # of the best coverage; less of it is a collapse
# Measured on 100 digits: with preset dcgan the sign was 1.00 and the gap 0.95 after 1,200 steps of 32 images, with
# scarce never above 0.6 and 0.1 in 2,000.
MIN_SURE_SIGN = 0.9  # mean sign of the logits of images about which the discriminator is right nearly always
MIN_OVERFIT_GAP = 0.5  # validation images score as much like generated ones as like training images


@dataclass(frozen=True)
class Measurement:
    """The metrics of the averaged generator at a step, and the mean signs since the measurement before.

    Attributes:
        step: steps done.
        kid: by which generators are compared.
        spread: its standard deviation over subsets.
        coverage: in [0, 1].
        real_sign: mean sign of the logits of training images, in [-1, 1].
        fake_sign: likewise of generated ones.
        val_gap: see ``overfitting.compute_validation_gap``; None where it means nothing.
    """

    step: int
    kid: float
    spread: float
    coverage: float
    real_sign: float
    fake_sign: float
    val_gap: float | None

    def is_worse_than(self, best: Measurement) -> bool:
        """Return whether its KID is above the best one by more than chance."""
        return self.kid > best.kid + MIN_KID_SPREADS * max(best.spread, self.spread)

    @property
    def discriminator_has_won(self) -> bool:
        """Whether it is right about nearly all training images and nearly all generated ones."""
        return self.real_sign > MIN_SURE_SIGN and self.fake_sign < -MIN_SURE_SIGN

    @property
    def discriminator_overfits(self) -> bool:
        """Whether it is right about nearly all training images, and takes unseen real ones for generated ones."""
        return self.real_sign > MIN_SURE_SIGN and self.val_gap is not None and self.val_gap > MIN_OVERFIT_GAP


def collect_measurements(rows: Iterable[Mapping[str, Any]]) -> list[Measurement]:
    """Collect the measurements from a training log, in order; rows without KID or coverage are left out."""
    measurements: list[Measurement] = []
    signs: list[tuple[float, float]] = []
    for row in rows:
        if "real_sign" in row:
            signs.append((row["real_sign"], row["fake_sign"]))
        kid = kid_fid_prdc.choose_kid_name(row)
        coverage = next((name for name in row if name.startswith("coverage_")), None)
        if kid is None or coverage is None or not signs:
            continue
        measurements.append(
            Measurement(
                step=row["step"],
                kid=row[kid],
                spread=row[f"{kid}_std"],
                coverage=row[coverage],
                real_sign=mean(real for real, _ in signs),
                fake_sign=mean(fake for _, fake in signs),
                val_gap=row.get("val_gap"),
            )
        )
        signs = []
    return measurements


def find_stop_reason(measurements: list[Measurement]) -> str | None:
    """Return why the training should end, or None if it should go on.

    The last three measurements must all say so, compared with the best one before them.

    A collapse: the KID is worse and the coverage less than half. A discriminator that overfits: the KID is worse, and
    it knows training images by heart, so that it no longer teaches what real images look like. One that has won: the
    KID is worse and it is right about nearly all images, so that there is little left to learn from it.
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
    if all(measurement.discriminator_overfits for measurement in recent):
        return (
            f"the discriminator overfits: it calls {_to_share(last.real_sign):.0%} of the training images real, "
            f"but scores validation images more like generated ones (gap {last.val_gap:.2f}: 0 is like training "
            f"images, 1 like generated ones), {since}"
        )
    if all(measurement.discriminator_has_won for measurement in recent):
        return (
            f"the discriminator has won: it calls {_to_share(last.real_sign):.0%} of the training images and "
            f"{_to_share(last.fake_sign):.0%} of the generated ones real, {since}"
        )
    return None


def _to_share(mean_sign: float) -> float:
    """The share of positive logits, given their mean sign.

    >>> _to_share(0.5)
    0.75
    """
    return (1 + mean_sign) / 2
