"""Which classes gain: compares an arm with the baseline class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ganaug_ray.evaluate.metric_register import CLASS_METRICS
from ganaug_ray.verdict import multiple_testing, paired_statistics
from ganaug_ray.verdict.outcomes import Outcome, Part, compute_differences
from ganaug_ray.verdict.paired_statistics import Estimate


def compare_classes(
    ours: Sequence[Outcome],
    theirs: Sequence[Outcome],
    classes: Sequence[str],
    rare: Sequence[str] = (),
    worthwhile: float = 0.01,
    looks: int = 1,
) -> list[dict[str, Any]]:
    """Compare an arm with the baseline on the test rows, class by class, in F1 and recall.

    For each of the two metrics the p values are adjusted for there being several classes (Holm) and several looks. The
    intervals are not adjusted.

    Args:
        ours: the arm's models.
        theirs: the baseline's models, of the same splits and seeds.
        classes: K names.
        rare: names of the rare ones.
        worthwhile: the least gain in a figure that is worth having.
        looks: times that the verdict may be looked at while seeds and splits are added.

    Returns:
        A row a class: ``class``, ``rare``, ``f1`` and ``recall`` (the attributes of ``Estimate``, and ``p_adjusted``),
        and the ``verdict`` by the adjusted p of F1.
    """
    times = multiple_testing.compute_looks_factor(looks)
    rows: list[dict[str, Any]] = [{"class": name, "rare": name in rare} for name in classes]
    for metric in CLASS_METRICS:
        estimates = _estimate_by_class(ours, theirs, metric.key, "test", worthwhile)
        ps = multiple_testing.adjust_holm([estimate.p for estimate in estimates])
        ps_worthwhile = multiple_testing.adjust_holm([estimate.p_worthwhile for estimate in estimates])
        for row, estimate, p, p_worthwhile in zip(rows, estimates, ps, ps_worthwhile, strict=True):
            row[metric.key] = {
                **asdict(estimate),
                "p_adjusted": multiple_testing.multiply_p(p, times),
                "p_worthwhile_adjusted": multiple_testing.multiply_p(p_worthwhile, times),
            }
    for row in rows:
        figures = row["f1"]
        row["verdict"] = paired_statistics.judge_effect(
            figures["mean"], figures["p_adjusted"], figures["p_worthwhile_adjusted"]
        )
    return rows


def find_gaining_classes(ours: Sequence[Outcome], theirs: Sequence[Outcome], classes: Sequence[str]) -> list[str]:
    """Return the names of the classes that gain on validation: whose mean F1 rises by more than its standard error.

    That is a guess by which to train an arm, not a result: the arm has to be confirmed on test like any other. Where
    there is no standard error, for a single model or equal differences, no class counts as gaining.

    Args:
        ours: as for ``compare_classes``.
        theirs: as for ``compare_classes``.
        classes: as for ``compare_classes``.

    Returns:
        Names, in the order of ``classes``.
    """
    gaining = []
    for name, estimate in zip(classes, _estimate_by_class(ours, theirs, "f1", "val", 0.0), strict=True):
        if estimate.se is not None and estimate.mean > estimate.se:
            gaining.append(name)
    return gaining


def _estimate_by_class(
    ours: Sequence[Outcome], theirs: Sequence[Outcome], metric: str, part: Part, worthwhile: float
) -> list[Estimate]:
    return paired_statistics.estimate_means(compute_differences(ours, theirs, metric, part), worthwhile=worthwhile)
