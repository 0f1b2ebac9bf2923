"""The comparison at several numbers of training images: how many real images the synthetic ones are worth.

The learning curve of the baseline is its metric over the number of real training images a class: drawn through its
means, straight between them over the logarithm of the number, and never falling. If an arm with n real images reaches
what the baseline reaches with N, its n images are worth N. The interval is a percentile bootstrap: the
repeats (splits or, of a single one, seeds) are drawn anew, the same ones at every number (Efron & Tibshirani 1993,
chapter 13). Fewer than three of them give no interval, here as in the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganaug_ray.core import rng
from ganaug_ray.core.records import VerdictRecord
from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.verdict import paired_statistics

RESAMPLES = 2000


def build_curve(verdicts: Mapping[int, VerdictRecord]) -> dict[str, Any]:
    """Build the learning curves with and without synthetic images, from the verdicts at several numbers of images.

    Args:
        verdicts: number of real training images a class -> verdict.json. All have the same baseline, metric, splits and
            seeds. The chosen arm may differ between numbers; one at least has one.

    Returns:
        ``metric``, ``baseline``, ``sentence``, and ``points``, one a number that has a chosen arm, in rising order:
        ``per_class`` (the number), ``arm`` (the chosen one), ``baseline`` and ``ours`` (each ``mean`` and ``ci95``),
        ``verdict``, and ``worth`` (``images``, their interval ``ci95``, and ``beyond``: ``more`` or ``less`` where the
        arm's mean is outside the baseline's curve, else None).
    """
    numbers = sorted(verdicts)
    first = verdicts[numbers[0]]
    baseline = np.array([_collect_repeats(verdicts[n], first.baseline) for n in numbers])
    points = []
    for row, n in enumerate(numbers):
        chosen = verdicts[n].chosen
        if chosen is None:  # the generator was not usable with so few images
            continue
        ours = np.array(_collect_repeats(verdicts[n], chosen.arm))
        points.append(
            {
                "per_class": n,
                "arm": chosen.arm,
                "baseline": _estimate_mean(baseline[row]),
                "ours": _estimate_mean(ours),
                "verdict": verdicts[n].verdict,
                "worth": _estimate_worth(numbers, baseline, ours, row),
            }
        )
    return {
        "metric": first.metric,
        "baseline": first.baseline,
        "points": points,
        "sentence": describe_curve(points),
    }


def interpolate_equivalent_images(numbers: Sequence[int], baseline: np.ndarray, value: float) -> float:
    """Interpolate the number of images a class at which the baseline's learning curve reaches a value.

    The curve is straight between its points over log2 of the number, and the result is clamped to its ends.

    Args:
        numbers: of real training images a class, rising.
        baseline: the baseline's mean at each number, float64 [len(numbers)]; where it falls it counts as level.
        value: of the same metric.

    Returns:
        The number of images; the first or last of ``numbers`` where the value is outside the curve.

    >>> interpolate_equivalent_images([10, 20, 40], np.array([0.5, 0.6, 0.7]), 0.65).__round__(1)
    28.3
    """
    rising = np.maximum.accumulate(baseline)
    return float(2 ** np.interp(value, rising + 1e-12 * np.arange(len(rising)), np.log2(numbers)))


def _estimate_worth(numbers: list[int], baseline: np.ndarray, ours: np.ndarray, row: int) -> dict[str, Any]:
    """Estimate what a number is worth, and its interval; ``beyond``: off the curve.

    Figures of the baseline are [numbers, repeats], those of the arm at this number [repeats].
    """
    mean = float(ours.mean())
    curve = baseline.mean(1)
    beyond = None
    if mean > curve.max():
        beyond = "more"
    elif mean < curve[0]:
        beyond = "less"
    repeats = baseline.shape[1]
    interval = None
    if repeats >= paired_statistics.MIN_REPEATS:
        draw_from = np.random.Generator(np.random.Philox(rng.hash_to_number(0, "sizes", row)))
        draws = draw_from.integers(repeats, size=(RESAMPLES, repeats))
        resampled = []
        for draw in draws:
            value = float(ours[draw].mean())
            resampled.append(interpolate_equivalent_images(numbers, baseline[:, draw].mean(1), value))
        interval = tuple(float(end) for end in np.percentile(resampled, [2.5, 97.5]))
    return {"images": interpolate_equivalent_images(numbers, curve, mean), "ci95": interval, "beyond": beyond}


def describe_curve(points: Sequence[Mapping[str, Any]]) -> str:
    """Say in one sentence how many real images each number of images with synthetic ones is worth.

    Args:
        points: of ``build_curve``.
    """
    parts = []
    for point in points:
        worth = point["worth"]
        beyond = {"more": "more than ", "less": "less than ", None: ""}[worth["beyond"]]
        text = f"{point['per_class']} with the added images do as well as {beyond}{worth['images']:.0f}"
        if worth["ci95"]:
            low, high = worth["ci95"]
            text += f" ({low:.0f} to {high:.0f})"
        parts.append(f"{text} alone")
    sentence = f"Real training images a class: {'; '.join(parts)}."
    if all(point["worth"]["ci95"] is None for point in points):
        least = paired_statistics.MIN_REPEATS
        sentence += f" Not enough repeats for intervals: they need {least} seeds of one split, or {least} splits."
    return sentence


def _collect_repeats(verdict: VerdictRecord, arm: str) -> list[float]:
    """An arm's figures on test: the means of the splits, or of one split each seed's."""
    by_split: dict[int, list[float]] = {}
    for repeat in verdict.arms[arm].repeats:
        by_split.setdefault(repeat.split, []).append(repeat.test[verdict.metric])
    if len(by_split) > 1:
        return [float(np.mean(values)) for values in by_split.values()]
    return next(iter(by_split.values()))


def _estimate_mean(values: np.ndarray) -> dict[str, Any]:
    mean_estimate = paired_statistics.estimate_mean_over_repeats(values[:, None])
    return {"mean": mean_estimate.mean, "ci95": mean_estimate.ci95}


def describe_plot(learning_curve: Mapping[str, Any]) -> str:
    """Describe the plot of the learning curves in words, for those who cannot see it.

    Args:
        learning_curve: of ``build_curve``.
    """
    rows = []
    for point in learning_curve["points"]:
        without = 100 * point["baseline"]["mean"]
        beside = 100 * point["ours"]["mean"]
        rows.append(f"{point['per_class']}: {without:.1f} and {beside:.1f}")
    name = get_metric(learning_curve["metric"]).name
    return f"Test {name} in percent, without and with synthetic images, by the number of real ones: {'; '.join(rows)}"
