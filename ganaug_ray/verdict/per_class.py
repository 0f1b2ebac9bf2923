"""Which classes gain: compares an arm with the baseline class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ganaug_ray.evaluate.metric_register import CLASS_METRICS
from ganaug_ray.verdict import paired_statistics
from ganaug_ray.verdict.outcomes import Outcome, Part, compute_differences
from ganaug_ray.verdict.paired_statistics import Estimate
from ganaug_ray.verdict.split_overlap import SplitOverlap


def compare_classes(
    ours: Sequence[Outcome],
    theirs: Sequence[Outcome],
    classes: Sequence[str],
    rare: Sequence[str] = (),
    overlap: SplitOverlap | None = None,
) -> list[dict[str, Any]]:
    """Compare an arm with the baseline on the test rows, class by class, in F1 and recall.

    For each of the two metrics the p values are adjusted for there being several classes (Holm). The intervals are not
    adjusted.

    Args:
        ours: the arm's models.
        theirs: the baseline's models, of the same splits and seeds.
        classes: K names.
        rare: names of the rare ones.
        overlap: what the splits share; needed where there are several.

    Returns:
        A row a class: ``class``, ``rare``, ``f1`` and ``recall`` (the attributes of ``Estimate``, and ``p_adjusted``),
        and the ``verdict`` by the adjusted p of F1.
    """
    rows: list[dict[str, Any]] = [{"class": name, "rare": name in rare} for name in classes]
    for metric in CLASS_METRICS:
        estimates = _estimate_by_class(ours, theirs, metric.key, "test", overlap)
        adjusted = paired_statistics.adjust_holm([estimate.p for estimate in estimates])
        for row, estimate, p in zip(rows, estimates, adjusted, strict=True):
            row[metric.key] = {**asdict(estimate), "p_adjusted": p}
    for row in rows:
        row["verdict"] = paired_statistics.judge_effect(row["f1"]["mean"], row["f1"]["p_adjusted"])
    return rows


def find_gaining_classes(
    ours: Sequence[Outcome], theirs: Sequence[Outcome], classes: Sequence[str], overlap: SplitOverlap | None = None
) -> list[str]:
    """Return the names of the classes that gain on validation: whose mean F1 rises by more than its standard error.

    That is a guess by which to train an arm, not a result: the arm has to be confirmed on test like any other. Where
    there is no standard error, for a single model or equal differences, no class is said to gain.

    Args:
        ours: as for ``compare_classes``.
        theirs: as for ``compare_classes``.
        classes: as for ``compare_classes``.
        overlap: as for ``compare_classes``.

    Returns:
        Names, in the order of ``classes``.
    """
    gaining = []
    for name, estimate in zip(classes, _estimate_by_class(ours, theirs, "f1", "val", overlap), strict=True):
        if estimate.se is not None and estimate.mean > estimate.se:
            gaining.append(name)
    return gaining


def _estimate_by_class(
    ours: Sequence[Outcome], theirs: Sequence[Outcome], metric: str, part: Part, overlap: SplitOverlap | None
) -> list[Estimate]:
    values_JSK, influence_SNK = compute_differences(ours, theirs, metric, part)
    shared = overlap.correction if overlap else 0.0
    return paired_statistics.estimate_columns(values_JSK, influence_SNK, shared)
