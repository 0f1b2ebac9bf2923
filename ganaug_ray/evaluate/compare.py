"""Predictions in, verdict out: pure arithmetic, from nothing but the predictions of the arms' models.

The rule: the difference of the metric on test rows between an arm and the baseline is taken for each seed; over the
seeds a paired t interval at 95 % (degrees of freedom = pairs - 1) is laid around the mean. Above zero as a whole:
helped. Below zero as a whole: hurt. Otherwise unclear. With a single pair, or with differences that are all equal,
there is no interval worth the name: unclear.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

Verdict = Literal["helped", "unclear", "hurt"]
CONFIDENCE = 0.95
METRICS = ("accuracy", "macro_f1")


@dataclass(frozen=True)
class Outcome:
    """One model's figures: by split, by metric."""

    seed: int
    val: dict[str, float]
    test: dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """An arm against the baseline, paired by seed."""

    arm: str
    baseline: str
    metric: str
    differences: list[float]
    mean: float
    ci95: tuple[float, float] | None
    p: float | None
    verdict: Verdict


def compare(arm: str, baseline: str, ours: list[Outcome], theirs: list[Outcome], metric: str) -> Comparison:
    """Compare two arms trained with the same seeds."""
    assert [o.seed for o in ours] == [o.seed for o in theirs], "arms are paired by seed"
    differences = np.array([a.test[metric] - b.test[metric] for a, b in zip(ours, theirs, strict=True)])
    found = paired(differences)
    verdict: Verdict = "unclear"
    if found["ci95"] is not None:
        low, high = found["ci95"]
        verdict = "helped" if low > 0 else "hurt" if high < 0 else "unclear"
    return Comparison(arm, baseline, metric, differences.tolist(), **found, verdict=verdict)


def paired(differences: np.ndarray) -> dict[str, Any]:
    """The mean of differences [seeds], and their t interval and p; both None where there is none worth the name."""
    mean = float(differences.mean())
    if len(differences) < 2 or np.ptp(differences) < 1e-12:
        return {"mean": mean, "ci95": None, "p": None}
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(CONFIDENCE)
    return {"mean": mean, "ci95": (float(interval.low), float(interval.high)), "p": float(test.pvalue)}


def choose(arms: Mapping[str, list[Outcome]], baseline: str, comparisons: list[Comparison]) -> dict[str, Any]:
    """Name the champion: of the arm that helped most, else of the baseline; the seed that did best on validation.

    Test figures decide the arm through the verdict alone, never the seed.
    """
    helped = [comparison for comparison in comparisons if comparison.verdict == "helped"]
    if helped:
        best = max(helped, key=lambda comparison: comparison.mean)
        arm, reason = best.arm, f"{best.arm} helped: {_gain(best)}"
    else:
        arm, reason = baseline, "no arm with synthetic images helped" if comparisons else f"{baseline} is the only arm"
    metric = comparisons[0].metric if comparisons else "accuracy"
    seed = max(arms[arm], key=lambda outcome: (outcome.val[metric], -outcome.val["cross_entropy"])).seed
    return {"arm": arm, "seed": seed, "reason": f"{reason}; seed {seed} did best on validation"}


def verdict(arms: Mapping[str, list[Outcome]], baseline: str, metric: str) -> dict[str, Any]:
    """Return the content of verdict.json. Without any other arm than the baseline, the verdict is None.

    Of several arms, the verdict is that of the best one: the arm whose images are to be used, if any are.
    ``comparisons`` are by the metric that decides, ``other_metrics`` the same by the others, which decide nothing.
    """

    def against_baseline(by: str) -> list[Comparison]:
        return [compare(arm, baseline, own, arms[baseline], by) for arm, own in arms.items() if arm != baseline]

    comparisons = against_baseline(metric)
    leading = max(comparisons, key=lambda c: (("hurt", "unclear", "helped").index(c.verdict), c.mean), default=None)
    return {
        "verdict": leading.verdict if leading else None,
        "metric": metric,
        "sentence": sentence(leading, len(comparisons))
        if leading
        else "There is no arm with synthetic images to compare.",
        "arms": {
            arm: {
                "seeds": {str(o.seed): {"val": o.val, "test": o.test} for o in outcomes},
                "mean": {name: float(np.mean([o.test[name] for o in outcomes])) for name in outcomes[0].test},
            }
            for arm, outcomes in arms.items()
        },
        "comparisons": [vars(comparison) for comparison in comparisons],
        "other_metrics": [vars(comparison) for by in METRICS if by != metric for comparison in against_baseline(by)],
        "champion": choose(arms, baseline, comparisons),
    }


def sentence(comparison: Comparison, arms: int = 1) -> str:
    """Say the verdict in words that need no statistics, and of which arm it is where several have synthetic images."""
    where = f" in {comparison.arm}" if arms > 1 else ""
    seeds = f"{len(comparison.differences)} seed{'s' * (len(comparison.differences) != 1)}"
    if comparison.ci95 is None:
        return f"Unclear: {seeds} gave a difference of {_points(comparison.mean)}{where}, but no interval can be drawn."
    if comparison.verdict == "helped":
        return f"Synthetic images helped{where}: {_gain(comparison)}, over {seeds}."
    if comparison.verdict == "hurt":
        return f"Synthetic images hurt{where}: {_gain(comparison)}, over {seeds}. Do not use them."
    return (
        f"Unclear whether synthetic images help{where}: {_gain(comparison)}, over {seeds}, and the interval holds zero."
    )


def _gain(comparison: Comparison) -> str:
    name = {"accuracy": "accuracy", "macro_f1": "macro-F1"}[comparison.metric]
    assert comparison.ci95 is not None
    low, high = comparison.ci95
    return (
        f"test {name} changed by {_points(comparison.mean)} "
        f"(95 % interval {100 * low:+.1f} to {100 * high:+.1f}) against {comparison.baseline}"
    )


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"
