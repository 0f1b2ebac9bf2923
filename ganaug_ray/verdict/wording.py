"""Says in plain words how an arm changed a metric, and what the interval of that change covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ganaug_ray.core.wording import format_count
from ganaug_ray.evaluate.metric_register import Metric, get_metric
from ganaug_ray.verdict.outcomes import Outcome
from ganaug_ray.verdict.paired_statistics import MIN_REPEATS, has_enough_repeats
from ganaug_ray.verdict.split_overlap import SplitOverlap

if TYPE_CHECKING:
    from ganaug_ray.verdict.comparison import Comparison


def describe_repeats(comparison: Comparison) -> str:
    """Say over how many splits and seeds a comparison is, such as ``3 splits with 2 seeds each``.

    Args:
        comparison: of any number of splits, with as many seeds in each.

    Returns:
        The numbers in words; of a single split the seeds alone.
    """
    seeds = f"{comparison.seeds} seed{'s' * (comparison.seeds != 1)}"
    return seeds if comparison.splits == 1 else f"{comparison.splits} splits with {seeds} each"


def describe_change(comparison: Comparison, baseline: str) -> str:
    """Say by how many points the metric changed, with the interval of the change.

    Args:
        comparison: one that has an interval.
        baseline: what the baseline's classifiers are trained on, in words.
    """
    assert comparison.ci95 is not None
    metric = get_metric(comparison.metric)
    low, high = (metric.format_change(end) for end in comparison.ci95)
    return (
        f"test {metric.name} changed by {format_change(metric, comparison.mean)} "
        f"(95 % interval {low} to {high}) against {baseline}"
    )


def format_change(metric: Metric, value: float) -> str:
    """Format a difference of two values of a metric with its sign and unit, such as ``+1.2 points``."""
    return f"{metric.format_change(value)} {metric.change_unit}".rstrip()


def describe_coverage(
    outcomes: Sequence[Outcome],
    overlap: SplitOverlap | None,
    candidates: int = 1,
    looks: int = 1,
    fixed: Sequence[str] = (),
) -> str:
    """Say which sources of chance an interval over these repeats covers, and which it does not.

    Args:
        outcomes: the models of one arm.
        overlap: what the splits share; needed where there are several.
        candidates: number of arms that the chosen one was chosen from.
        looks: times that the verdict is looked at, planned or taken.
        fixed: what comes from elsewhere and is the same in all trainings, as subjects in the plural.
    """
    splits = len({outcome.split for outcome in outcomes})
    seeds = len({outcome.seed for outcome in outcomes})
    if not has_enough_repeats(splits, seeds):
        trainings = "Two splits" if splits == 2 else f"Fewer than {MIN_REPEATS} trainings of each arm"
        return (
            f"{trainings} say too little about chance, so there is no interval. "
            "McNemar's test covers the choice of test images alone, for these very models."
        )
    if splits == 1:
        coverage_words = (
            f"The interval covers the chance of training classifiers ({seeds} seeds) and the choice of test images "
            f"({len(outcomes[0].test.labels_N):,}). All models share one split of the data, and one GAN where "
            "an arm uses one. With other training images or another training of the GAN the result may differ by more."
        )
    else:
        assert overlap is not None
        coverage_words = (
            f"The interval covers the chance of training ({format_count(splits, 'split')} with "
            f"{format_count(seeds, 'seed')} each), the choice of training images, and that of test images "
            f"({overlap.tested:,}, each tested once). Each split has its own GAN where an arm uses one."
        )
        if overlap.train > 0:
            coverage_words += (
                f" Two splits share {100 * overlap.train:.0f} % of their training images on average. So the interval "
                "does not cover another collection of images: there the result may differ by more."
            )
        if candidates > 1 and overlap.chosen_on >= 0.005:
            coverage_words += (
                f" In other splits, {100 * overlap.chosen_on:.0f} % of the test images are validation images, and the "
                "arm was chosen by validation images. That may flatter it."
            )
    if candidates > 1:
        coverage_words += (
            f" The arm is the best of {candidates} that were compared on these images, now or before, so its interval "
            "is wider than that of a single arm would be."
        )
    if looks > 1:
        coverage_words += (
            f" The interval allows for {looks} looks at the verdict, taken before or planned with more repeats, so it "
            "is wider than that of a single look would be."
        )
    if fixed:
        coverage_words += (
            f" The interval takes {' and '.join(fixed)} as given: it does not cover how much other ones, made in the "
            "same way, would differ."
        )
    return coverage_words
