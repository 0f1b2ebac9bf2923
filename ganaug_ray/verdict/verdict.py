"""The rule of the verdict: from the predictions of the arms' models to helped, hurt or unclear; pure arithmetic.

Choices on validation, the last word on test:

1. Of the candidates (arms that may ship; controls may not), the one with the best mean validation metric is chosen.
2. Its difference from the baseline on test alone gives the verdict: helped if its 95 % interval (see
   ``paired_statistics``) lies above zero, hurt if below, else unclear.
3. The champion is the chosen arm if it helped, else the baseline; of its models the best on validation.

Everything else is reported and decides nothing: each control by its own interval; the other candidates together, with
p values adjusted for being a family (Holm), since the largest of several differences is likelier to be luck.

The models that an arm is chosen by are those that are tested, so the luck of their training goes along. The interval of
the best of three candidates or more is therefore wider (``correct_for_best``). Simulated over five splits, the best of
2, 4 and 8 candidates without any effect came out as helped in 4.5, 3.3 and 2.6 % where validation has no noise at all
(judged as any single arm: 4.5, 6.6 and 9.8 %), and in 3.3, 1.9 and 1.2 % where it is three times as noisy as training
(3.3, 3.6 and 4.3 %). The price: a gain that was found in 92 % of cases was found in 79 % beside three more candidates,
and in 62 % beside seven. So candidates should be few.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ganaug_ray.evaluate.metric_register import CROSS_ENTROPY, list_compared
from ganaug_ray.verdict import paired_statistics, per_class, wording
from ganaug_ray.verdict.comparison import Comparison, Role
from ganaug_ray.verdict.outcomes import Outcome, compute_differences
from ganaug_ray.verdict.split_overlap import SplitOverlap


def compare_arms(
    arm: str,
    baseline: str,
    ours: Sequence[Outcome],
    theirs: Sequence[Outcome],
    metric: str,
    rare: Sequence[int] = (),
    overlap: SplitOverlap | None = None,
    best_of: int = 1,
) -> Comparison:
    """Compare an arm with the baseline on test rows, without adjustment for other arms that are compared.

    Args:
        arm: its name.
        baseline: name of the baseline.
        ours: the arm's models.
        theirs: the baseline's models, of the same splits and seeds.
        metric: as for ``build_verdict``.
        rare: numbers of the rare classes.
        overlap: as for ``build_verdict``.
        best_of: number of candidates that the arm was chosen from, by the validation metric of these same models. With
            three or more the interval is wider, see ``correct_for_best``.

    Returns:
        The comparison, with the role ``chosen``.
    """
    values_JSM, influence_SNM = compute_differences(ours, theirs, metric, rare=rare)
    shared = overlap.correction if overlap else 0.0
    times = paired_statistics.correct_for_best(best_of)
    (estimate,) = paired_statistics.estimate_columns(
        values_JSM, influence_SNM, shared, paired_statistics.SIGNIFICANCE_LEVEL / times
    )
    p = None if estimate.p is None else min(1.0, times * estimate.p)
    values_JS = values_JSM[:, :, 0]
    return Comparison(
        arm,
        baseline,
        metric,
        values_JS.ravel().tolist(),
        values_JS.mean(1).tolist(),
        **asdict(estimate),
        p_adjusted=p,
        verdict=paired_statistics.judge_effect(estimate.mean, p),
    )


def build_verdict(
    outcomes: Mapping[str, Sequence[Outcome]],
    baseline: str,
    candidates: Sequence[str],
    metric: str,
    classes: Sequence[str],
    rare: Sequence[str] = (),
    overlap: SplitOverlap | None = None,
) -> dict[str, Any]:
    """Return the content of verdict.json. Without a candidate its verdict is None.

    Args:
        outcomes: arm -> its models: every seed in every split, the same for all arms.
        baseline: the arm that the others are compared with.
        candidates: arms that may be chosen; all others but the baseline are controls.
        metric: key of the one of ``COMPARED`` that decides.
        classes: K names, in order of their numbers.
        rare: names of the rare classes, whose mean F1 is a metric of its own.
        overlap: what the splits share; needed where there are several.

    Returns:
        JSON-like values: ``verdict``, ``sentence``, ``chosen``, ``champion``, ``comparisons`` by the deciding metric
        and ``other_metrics``, ``classes`` (arm -> rows of ``compare_classes``), ``pairs`` (McNemar's test for each pair
        of models), ``arms`` (arm -> metrics of each model and their means), and what they were made from.
    """
    splits = {outcome.split for outcome in outcomes[baseline]}
    assert len(splits) == 1 or overlap is not None, "how much splits share decides how wide the interval is"
    numbers = [classes.index(name) for name in rare]
    chosen = choose_arm({arm: outcomes[arm] for arm in candidates}, metric, numbers)
    best = chosen["arm"] if chosen else None
    compared_arms = [arm for arm in outcomes if arm != baseline]

    def against_baseline(key: str) -> list[Comparison]:
        comparisons = []
        for arm in compared_arms:
            best_of = len(candidates) if arm == best else 1
            comparison = compare_arms(arm, baseline, outcomes[arm], outcomes[baseline], key, numbers, overlap, best_of)
            comparisons.append(replace(comparison, role=_assign_role(arm, candidates, best)))
        return _adjust_candidates(comparisons)

    comparisons = against_baseline(metric)
    other_comparisons: list[Comparison] = []
    for other_metric in list_compared(bool(rare)):
        if other_metric.key != metric:
            other_comparisons += against_baseline(other_metric.key)
    deciding = next((comparison for comparison in comparisons if comparison.role == "chosen"), None)
    sentence = "There is no arm with synthetic images to compare."
    if deciding is not None:
        sentence = wording.describe_verdict(deciding)
    classes_by_arm = {}
    pairs = []
    for arm in compared_arms:
        classes_by_arm[arm] = per_class.compare_classes(outcomes[arm], outcomes[baseline], classes, rare, overlap)
        pairs += _test_pairs(arm, baseline, outcomes[arm], outcomes[baseline])
    return {
        "verdict": deciding and deciding.verdict,
        "metric": metric,
        "sentence": sentence,
        "covers": wording.describe_coverage(outcomes[baseline], overlap, len(candidates)),
        "smallest_visible_gain": deciding and deciding.smallest_visible_gain,
        "chosen": chosen,
        "champion": choose_champion(outcomes, baseline, deciding, metric, numbers),
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "other_metrics": [asdict(comparison) for comparison in other_comparisons],
        "classes": classes_by_arm,
        "rare": list(rare),
        "pairs": pairs,
        "arms": {arm: _summarize_arm(models, numbers) for arm, models in outcomes.items()},
        "baseline": baseline,
        "splits": len(splits),
        "seeds": len(outcomes[baseline]) // len(splits),
        "overlap": overlap and asdict(overlap),
    }


def _assign_role(arm: str, candidates: Sequence[str], chosen: str | None) -> Role:
    if arm == chosen:
        return "chosen"
    return "candidate" if arm in candidates else "control"


def _adjust_candidates(comparisons: list[Comparison]) -> list[Comparison]:
    """Adjust the p values of the candidates that were not chosen for being several."""
    exploratory = [comparison for comparison in comparisons if comparison.role == "candidate"]
    adjusted = paired_statistics.adjust_holm([comparison.p for comparison in exploratory])
    p_by_arm = dict(zip((comparison.arm for comparison in exploratory), adjusted, strict=True))
    family = []
    for comparison in comparisons:
        if comparison.arm not in p_by_arm:
            family.append(comparison)
            continue
        p = p_by_arm[comparison.arm]
        judged = paired_statistics.judge_effect(comparison.mean, p)
        family.append(replace(comparison, p_adjusted=p, verdict=judged))
    return family


def choose_arm(
    candidates: Mapping[str, Sequence[Outcome]], metric: str, rare: Sequence[int] = ()
) -> dict[str, Any] | None:
    """Choose the candidate with the best mean metric on validation; of equal ones the one with the lower cross-entropy.

    Args:
        candidates: arm -> its models.
        metric: as for ``build_verdict``.
        rare: numbers of the rare classes.

    Returns:
        ``arm``, ``by`` (``validation``), ``metric`` and ``values`` (arm -> the mean over its models); None without a
        candidate.
    """
    if not candidates:
        return None
    means: dict[str, dict[str, float]] = {}
    for arm, outcomes in candidates.items():
        means[arm] = _average_figures([outcome.val.summarize(rare) for outcome in outcomes])
    best = max(means, key=lambda arm: (means[arm][metric], -means[arm][CROSS_ENTROPY.key]))
    return {
        "arm": best,
        "by": "validation",
        "metric": metric,
        "values": {arm: figures[metric] for arm, figures in means.items()},
    }


def choose_champion(
    outcomes: Mapping[str, Sequence[Outcome]],
    baseline: str,
    deciding: Comparison | None,
    metric: str,
    rare: Sequence[int] = (),
) -> dict[str, Any]:
    """Choose the model to ship: the best on validation, of the chosen arm if that helped, else of the baseline.

    Args:
        outcomes: as for ``build_verdict``.
        baseline: as for ``build_verdict``.
        deciding: the comparison of the chosen arm; None without a candidate.
        metric: as for ``build_verdict``.
        rare: numbers of the rare classes.

    Returns:
        ``arm``, ``split``, ``seed``, ``repeat`` (these two in words), ``reason``, and ``figures`` (its metrics on
        ``val`` and ``test``).
    """
    arm = deciding.arm if deciding and deciding.verdict == "helped" else baseline
    if deciding is None:
        reason = f"{baseline} is the only arm that may ship" if len(outcomes) > 1 else f"{baseline} is the only arm"
    elif deciding.verdict == "helped":
        reason = f"{arm} helped: {wording.describe_change(deciding)}"
    elif deciding.verdict == "hurt":
        reason = f"{deciding.arm} hurt"
    else:
        reason = f"{deciding.arm} was not seen to help"

    def on_val(outcome: Outcome) -> tuple[float, float]:
        figures = outcome.val.summarize(rare)
        return figures[metric], -figures[CROSS_ENTROPY.key]

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


def _test_pairs(arm: str, baseline: str, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> list[dict[str, Any]]:
    theirs_by_repeat = {(outcome.split, outcome.seed): outcome for outcome in theirs}
    pairs = []
    for outcome in ours:
        other = theirs_by_repeat[outcome.split, outcome.seed]
        test = paired_statistics.compute_mcnemar(
            outcome.test.labels_N, outcome.test.predicted_N, other.test.predicted_N
        )
        pairs.append({"arm": arm, "baseline": baseline, "split": outcome.split, "seed": outcome.seed, **test})
    return pairs


def _summarize_arm(outcomes: Sequence[Outcome], rare: Sequence[int]) -> dict[str, Any]:
    """An arm's figures: ``repeats``, one a model, and ``mean``, over them on test."""
    repeats = []
    test_figures = []
    for outcome in outcomes:
        test_figures.append(outcome.test.summarize(rare))
        val_figures = outcome.val.summarize(rare)
        repeats.append({"split": outcome.split, "seed": outcome.seed, "val": val_figures, "test": test_figures[-1]})
    return {"repeats": repeats, "mean": _average_figures(test_figures)}


def _average_figures(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each figure over rows that have the same ones."""
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
