"""The rule of the verdict: from the predictions of the arms' models to helped, hurt or unclear; pure arithmetic.

Choices on validation, the last word on test:

1. Of the candidates (arms that may ship; controls may not), the one that does best on validation is chosen, by
   a smoother score where accuracy decides (``metric_register.get_choice_metric``).
2. Its difference from the baseline on test alone gives the verdict by its 95 % interval (see ``paired_statistics``):
   hurt if that lies below zero; no worthwhile gain if its one-sided 95 % limit lies below ``compare.worthwhile``;
   helped if the interval lies above zero; else unclear. Of a metric that falls where models get better, above and
   below change places.
3. The champion is the chosen arm if it helped, else the baseline; of its models the best on validation.

Everything else is reported and decides nothing: each control by its own interval; the other candidates together, with
p values adjusted for being a family (Holm), since the largest of several differences is likelier to be luck.

The models that an arm is chosen by are those that are tested, so the luck of their training goes along. The interval of
the best of several candidates is therefore wider (``multiple_testing.compute_best_of_factor``), and candidates that
were compared on the same test images before and are no longer there count too. So candidates should be few.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import Any

from ganaug_ray.evaluate.metric_register import get_metric, list_compared
from ganaug_ray.verdict import answer, choices, mcnemar, multiple_testing, paired_statistics, per_class, wording
from ganaug_ray.verdict.comparison import Comparison, Role
from ganaug_ray.verdict.outcomes import Outcome, compute_differences
from ganaug_ray.verdict.split_overlap import SplitOverlap

WORTHWHILE = 0.01  # one point


def compare_arms(
    arm: str,
    baseline: str,
    ours: Sequence[Outcome],
    theirs: Sequence[Outcome],
    metric: str,
    rare: Sequence[int] = (),
    best_of: int = 1,
    worthwhile: float = WORTHWHILE,
    looks: int = 1,
) -> Comparison:
    """Compare an arm with the baseline on test rows, without adjustment for other arms that are compared.

    Args:
        arm: its name.
        baseline: name of the baseline.
        ours: the arm's models.
        theirs: the baseline's models, of the same splits and seeds.
        metric: as for ``build_verdict``.
        rare: numbers of the rare classes.
        best_of: number of candidates that the arm was chosen from, by the validation metric of these same models. With
            several the interval is wider, see ``compute_best_of_factor``.
        worthwhile: as for ``build_verdict``.
        looks: as for ``build_verdict``.

    Returns:
        The comparison, with the role ``chosen``.
    """
    higher_is_better = get_metric(metric).higher_is_better
    differences = compute_differences(ours, theirs, metric, rare=rare)
    times = multiple_testing.compute_best_of_factor(best_of) * multiple_testing.compute_looks_factor(looks)
    (estimate,) = paired_statistics.estimate_means(
        differences,
        paired_statistics.SIGNIFICANCE_LEVEL / times,
        worthwhile if higher_is_better else -worthwhile,
    )
    values_JS = differences.values_JSM[:, :, 0]
    comparison = Comparison(
        arm,
        baseline,
        metric,
        values_JS.ravel().tolist(),
        values_JS.mean(1).tolist(),
        **asdict(estimate),
        worthwhile=worthwhile,
        p_adjusted=None,
        p_worthwhile_adjusted=None,
        verdict="not enough repeats",
    )
    return _judge(comparison, estimate.p, estimate.p_worthwhile, times)


def _judge(comparison: Comparison, p: float | None, p_worthwhile: float | None, times: float) -> Comparison:
    """Return the comparison with p values that are ``times`` as large, and the verdict by them."""
    p_adjusted = multiple_testing.multiply_p(p, times)
    p_worthwhile_adjusted = multiple_testing.multiply_p(p_worthwhile, times)
    higher_is_better = get_metric(comparison.metric).higher_is_better
    word = paired_statistics.judge_effect(comparison.mean, p_adjusted, p_worthwhile_adjusted, higher_is_better)
    return replace(comparison, p_adjusted=p_adjusted, p_worthwhile_adjusted=p_worthwhile_adjusted, verdict=word)


def build_verdict(
    outcomes: Mapping[str, Sequence[Outcome]],
    baseline: str,
    candidates: Sequence[str],
    metric: str,
    classes: Sequence[str],
    rare: Sequence[str] = (),
    overlap: SplitOverlap | None = None,
    worthwhile: float = WORTHWHILE,
    ever_compared: int = 0,
    looks: int = 1,
    additions: Mapping[str, str] = MappingProxyType({}),
    fixed_additions: Sequence[str] = (),
    gan_arms: Collection[str] = (),
    titles: Mapping[str, str] = MappingProxyType({}),
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
        worthwhile: the least gain in the metric that is worth having, above zero: 0.01 is one point.
        ever_compared: candidates that were ever compared on these test images, with those that are no longer there.
        looks: times that the verdict is looked at, planned or taken; see ``compute_looks_factor``.
        additions: arm -> what it adds to the baseline, in words; absent: synthetic images.
        fixed_additions: those of them that are not made anew in each repeat.
        gan_arms: arms with images of a GAN that each split trains.
        titles: arm -> what its classifiers are trained on, in words; absent: the arm's name.

    Returns:
        JSON-like values: ``verdict``, ``sentence``, ``action`` and ``details`` (see ``answer.Answer``), ``chosen``,
        ``champion``, ``comparisons`` by the deciding metric and ``other_metrics``, ``classes`` (arm -> rows of
        ``compare_classes``), ``pairs`` (McNemar's test for each pair of models), ``arms`` (arm -> metrics of each model
        and their means), and what they were made from.
    """
    splits = {outcome.split for outcome in outcomes[baseline]}
    assert len(splits) == 1 or overlap is not None, "how much splits share decides what the interval speaks of"
    numbers = [classes.index(name) for name in rare]
    theirs = outcomes[baseline]
    chosen = choices.choose_arm({arm: outcomes[arm] for arm in candidates}, metric, numbers)
    best = chosen["arm"] if chosen else None
    compared_arms = [arm for arm in outcomes if arm != baseline]
    rivals = max(len(candidates), ever_compared)

    def compare_with_baseline(metric_key: str) -> list[Comparison]:
        comparisons = []
        for arm in compared_arms:
            best_of = rivals if arm == best else 1
            comparison = compare_arms(
                arm, baseline, outcomes[arm], theirs, metric_key, numbers, best_of, worthwhile, looks
            )
            comparisons.append(replace(comparison, role=_assign_role(arm, candidates, best)))
        return _adjust_candidates(comparisons, looks)

    comparisons = compare_with_baseline(metric)
    other_comparisons: list[Comparison] = []
    for other_metric in list_compared(bool(rare)):
        if other_metric.key != metric:
            other_comparisons += compare_with_baseline(other_metric.key)
    deciding = next((comparison for comparison in comparisons if comparison.role == "chosen"), None)
    figures_by_arm = {arm: _summarize_arm(models, numbers) for arm, models in outcomes.items()}
    words = answer.NOTHING_COMPARED
    if deciding is not None:
        before, after = (figures_by_arm[arm]["mean"][metric] for arm in (baseline, deciding.arm))
        addition = additions.get(deciding.arm, answer.SYNTHETIC_IMAGES)
        words = answer.describe_answer(
            deciding, before, after, addition, len(candidates), has_own_gan=deciding.arm in gan_arms
        )
    fixed = list(dict.fromkeys(fixed_additions))
    classes_by_arm = {}
    pairs = []
    for arm in compared_arms:
        classes_by_arm[arm] = per_class.compare_classes(
            outcomes[arm], outcomes[baseline], classes, rare, worthwhile, looks
        )
        pairs += _compare_model_pairs(arm, baseline, outcomes[arm], theirs)
    return {
        "verdict": deciding and deciding.verdict,
        "metric": metric,
        **words._asdict(),
        "covers": wording.describe_coverage(outcomes[baseline], overlap, rivals, looks, fixed),
        "worthwhile": worthwhile,
        "smallest_visible_gain": deciding and deciding.smallest_visible_gain,
        "chosen": chosen,
        "ever_compared": rivals,
        "looks": looks,
        "champion": choices.choose_champion(outcomes, baseline, deciding, metric, numbers, titles),
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "other_metrics": [asdict(comparison) for comparison in other_comparisons],
        "classes": classes_by_arm,
        "rare": list(rare),
        "pairs": pairs,
        "arms": figures_by_arm,
        "titles": {arm: titles.get(arm, arm) for arm in outcomes},
        "baseline": baseline,
        "splits": len(splits),
        "seeds": len(outcomes[baseline]) // len(splits),
        "overlap": overlap and asdict(overlap),
    }


def _assign_role(arm: str, candidates: Sequence[str], chosen: str | None) -> Role:
    if arm == chosen:
        return "chosen"
    return "candidate" if arm in candidates else "control"


def _adjust_candidates(comparisons: list[Comparison], looks: int) -> list[Comparison]:
    """Adjust the p values of the candidates that were not chosen for being several, and for several looks."""
    times = multiple_testing.compute_looks_factor(looks)
    family = [comparison for comparison in comparisons if comparison.role == "candidate"]
    ps = multiple_testing.adjust_holm([comparison.p for comparison in family])
    ps_worthwhile = multiple_testing.adjust_holm([comparison.p_worthwhile for comparison in family])
    judged = {
        comparison.arm: _judge(comparison, p, p_worthwhile, times)
        for comparison, p, p_worthwhile in zip(family, ps, ps_worthwhile, strict=True)
    }
    return [judged.get(comparison.arm, comparison) for comparison in comparisons]


def _compare_model_pairs(
    arm: str, baseline: str, ours: Sequence[Outcome], theirs: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """Return McNemar's test of each pair of models of one split and seed."""
    theirs_by_repeat = {(outcome.split, outcome.seed): outcome for outcome in theirs}
    pairs = []
    for outcome in ours:
        other = theirs_by_repeat[outcome.split, outcome.seed]
        test = mcnemar.compute_mcnemar(outcome.test.labels_N, outcome.test.predicted_N, other.test.predicted_N)
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
    return {"repeats": repeats, "mean": choices.average_figures(test_figures)}
