"""What validation images choose: the candidate that is tested, and the model that is shipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ganaug_ray.evaluate.metric_register import CROSS_ENTROPY, get_choice_metric, get_metric
from ganaug_ray.verdict import wording
from ganaug_ray.verdict.comparison import Comparison
from ganaug_ray.verdict.outcomes import Outcome


def choose_arm(
    candidates: Mapping[str, Sequence[Outcome]], metric: str, rare: Sequence[int] = ()
) -> dict[str, Any] | None:
    """Choose the candidate with the best mean score on validation; of equal ones the one with the lower cross-entropy.

    The score is the metric that decides, or the smoother one of ``get_choice_metric`` in its place.

    Args:
        candidates: arm -> its models.
        metric: as for ``build_verdict``.
        rare: numbers of the rare classes.

    Returns:
        ``arm``, ``by`` (``validation``), ``metric`` (the score) and ``values`` (arm -> its mean over the models);
        None without a candidate.
    """
    if not candidates:
        return None
    means: dict[str, dict[str, float]] = {}
    for arm, outcomes in candidates.items():
        means[arm] = average_figures([outcome.val.summarize(rare) for outcome in outcomes])
    score = get_choice_metric(metric)
    sign = 1 if get_metric(score).higher_is_better else -1
    best = max(means, key=lambda arm: (sign * means[arm][score], -means[arm][CROSS_ENTROPY.key]))
    return {
        "arm": best,
        "by": "validation",
        "metric": score,
        "values": {arm: figures[score] for arm, figures in means.items()},
    }


def choose_champion(
    outcomes: Mapping[str, Sequence[Outcome]],
    baseline: str,
    deciding: Comparison | None,
    metric: str,
    rare: Sequence[int] = (),
    titles: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Choose the model to ship: the best on validation, of the chosen arm if that helped, else of the baseline.

    Args:
        outcomes: as for ``build_verdict``.
        baseline: as for ``build_verdict``.
        deciding: the comparison of the chosen arm; None without a candidate.
        metric: as for ``build_verdict``.
        rare: numbers of the rare classes.
        titles: arm -> what its classifiers are trained on, in words; absent: the arm's name.

    Returns:
        ``arm``, ``split``, ``seed``, ``repeat`` (these two in words), ``reason``, and ``figures`` (its metrics on
        ``val`` and ``test``).
    """
    arm = deciding.arm if deciding and deciding.verdict == "helped" else baseline
    reason = _explain_arm(deciding, len(outcomes) > 1, titles)

    sign = 1 if get_metric(metric).higher_is_better else -1

    def on_val(outcome: Outcome) -> tuple[float, float]:
        figures = outcome.val.summarize(rare)
        return sign * figures[metric], -figures[CROSS_ENTROPY.key]

    best = max(outcomes[arm], key=on_val)
    several = len({outcome.split for outcome in outcomes[arm]}) > 1
    model_words = f"split {best.split}, seed {best.seed}" if several else f"seed {best.seed}"
    return {
        "arm": arm,
        "split": best.split,
        "seed": best.seed,
        "repeat": model_words,
        "reason": f"{reason}; {model_words} did best on validation",
        "figures": {"val": best.val.summarize(rare), "test": best.test.summarize(rare)},
    }


def _explain_arm(deciding: Comparison | None, has_controls: bool, titles: Mapping[str, str]) -> str:
    """Say why the champion is of its arm."""
    if deciding is None:
        return "it is the only arm that may ship" if has_controls else "it is the only arm"
    trained = f"training on {titles.get(deciding.arm, deciding.arm)}"
    if deciding.verdict == "helped":
        return (
            f"{trained} helped; {wording.describe_change(deciding, titles.get(deciding.baseline, deciding.baseline))}"
        )
    if deciding.verdict == "hurt":
        return f"{trained} hurt"
    if deciding.verdict == "no worthwhile gain":
        return f"{trained} brought no worthwhile gain"
    return f"{trained} was not shown to help"


def average_figures(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over rows that have the same ones.

    Args:
        rows: key of a figure -> its value; one row at least, all with the same keys.

    Returns:
        Key -> mean, in the order of the first row.

    >>> average_figures([{"accuracy": 0.5, "macro_f1": 0.25}, {"accuracy": 1.0, "macro_f1": 0.75}])
    {'accuracy': 0.75, 'macro_f1': 0.5}
    """
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
