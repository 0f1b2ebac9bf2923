"""Says the verdict in plain words, and what its interval covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.verdict.outcomes import Outcome
from ganaug_ray.verdict.split_overlap import SplitOverlap

if TYPE_CHECKING:
    from ganaug_ray.verdict.comparison import Comparison


def describe_verdict(comparison: Comparison) -> str:
    """Say the verdict in words that need no statistics: which arm, by how much, over how many repeats.

    Args:
        comparison: of the chosen arm with the baseline.
    """
    if comparison.ci95 is None:
        return (
            f"Unclear: in {comparison.arm} the added images changed test {get_metric(comparison.metric).name} by "
            f"{_format_points(comparison.mean)} over {describe_repeats(comparison)}, but no interval can be drawn."
        )
    change_words = f"{describe_change(comparison)}, over {describe_repeats(comparison)}"
    if comparison.verdict == "helped":
        return f"The added images helped in {comparison.arm}: {change_words}."
    if comparison.verdict == "hurt":
        return f"The added images hurt in {comparison.arm}: {change_words}. Do not use them."
    assert comparison.smallest_visible_gain is not None
    if comparison.smallest_visible_gain >= 1:
        visible_gain_words = "So few repeats can show no gain at all."
    else:
        visible_gain_words = (
            f"So many repeats can show a gain of {100 * comparison.smallest_visible_gain:.1f} points or more."
        )
    return f"Unclear whether the added images help in {comparison.arm}: {change_words}. {visible_gain_words}"


def describe_repeats(comparison: Comparison) -> str:
    """Say over how many splits and seeds a comparison is, such as ``3 splits with 2 seeds each``."""
    seeds = f"{comparison.seeds} seed{'s' * (comparison.seeds != 1)}"
    return seeds if comparison.splits == 1 else f"{comparison.splits} splits with {seeds} each"


def describe_change(comparison: Comparison) -> str:
    """Say by how many points the metric changed, with the interval of the change.

    Args:
        comparison: one that has an interval.
    """
    assert comparison.ci95 is not None
    low, high = comparison.ci95
    return (
        f"test {get_metric(comparison.metric).name} changed by {_format_points(comparison.mean)} "
        f"(95 % interval {100 * low:+.1f} to {100 * high:+.1f}) against {comparison.baseline}"
    )


def _format_points(share: float) -> str:
    return f"{round(100 * share, 1) + 0.0:+.1f} points"  # no minus zero


def describe_coverage(outcomes: Sequence[Outcome], overlap: SplitOverlap | None, candidates: int = 1) -> str:
    """Say which sources of chance an interval over these repeats covers, and which it does not.

    Args:
        outcomes: the models of one arm.
        overlap: what the splits share; needed where there are several.
        candidates: number of arms that the chosen one was chosen from.
    """
    splits = len({outcome.split for outcome in outcomes})
    seeds = len({outcome.seed for outcome in outcomes})
    if splits == 1 and seeds == 1:
        return (
            "One training of each arm tells nothing of the chance of training, so there is no interval. "
            "McNemar's test speaks of these models alone, on other test images."
        )
    if splits == 1:
        coverage_words = (
            f"The interval covers the chance of training ({seeds} seeds) and of which images are in the test set "
            f"({len(outcomes[0].test.labels_N):,}). All models share one split of the data, so it does not cover "
            "another draw of training images: that could shift the result further."
        )
    else:
        assert overlap is not None
        coverage_words = (
            f"The interval covers the chance of which images are drawn for training and for test ({splits} splits, no "
            f"test image in two of them) and of training ({seeds} seed{'s' * (seeds != 1)} in each)."
        )
        if overlap.train > 0:
            coverage_words += (
                f" Two splits share {100 * overlap.train:.0f} % of their training images on average, and the interval "
                "is the wider for it."
            )
        if candidates > 1 and overlap.chosen_on >= 0.005:
            coverage_words += (
                f" Of the test images {100 * overlap.chosen_on:.0f} % are validation images of another split, on which "
                "the arm was chosen among others: that may flatter it."
            )
    if candidates > 2:
        coverage_words += (
            f" The arm is the best of {candidates} on validation, with the same models, so its interval is wider than "
            "that of a single arm would be."
        )
    return coverage_words
