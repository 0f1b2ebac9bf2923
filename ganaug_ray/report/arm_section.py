"""The report's section on the arms: every arm beside the baseline, its cost, its classes, and its ratio."""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.augment.arm_titles import describe_images
from ganaug_ray.config import ArmConfig, Job, MixConfig
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import ModelRecord, StageRecord, VerdictRecord
from ganaug_ray.core.records.verdict import ArmComparison
from ganaug_ray.evaluate import plots
from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.report import arm_plots

MAX_FOREST_ARMS = 6  # of the chart at the top of the page


def collect_arms(verdict: VerdictRecord, markers: Mapping[str, StageRecord], job: Job) -> experiment_dir.Record:
    """Return ``arm_rows`` (for each arm its role, mean, comparisons and cost) and ``ratios`` (label -> comparisons)."""
    arms = job.compared_arms
    comparisons_by_arm = {comparison.arm: comparison for comparison in verdict.comparisons}
    ordered = sorted(comparisons_by_arm, key=lambda arm: arm_plots.ROLE_ORDER.index(comparisons_by_arm[arm].role))
    rows = []
    for arm in (verdict.baseline, *ordered):
        comparison = comparisons_by_arm.get(arm)
        trained = [record for record in markers.values() if isinstance(record, ModelRecord) and record.arm == arm]
        rows.append(
            {
                "arm": arm,
                "title": verdict.name_arm(arm),
                "settings": KINDS[arms[arm].kind].describe_settings(arms[arm]) if arm in arms else "",
                "role": comparison.role if comparison else "baseline",
                "mean": verdict.arms[arm].mean[verdict.metric],
                "comparison": comparison and comparison.to_json(),
                "others": [other.to_json() for other in verdict.other_metrics if other.arm == arm],
                "models": len(trained),
                "train_seconds": sum(model.train_seconds for model in trained),
            }
        )
    comparisons = [comparisons_by_arm[arm] for arm in ordered]
    return {"arm_rows": rows, "ratios": _group_by_ratio_line(comparisons, job)}


def _group_by_ratio_line(comparisons: Sequence[ArmComparison], job: Job) -> dict[str, list[experiment_dir.Record]]:
    """Group comparisons into the lines of the picture of ratios: arms that differ in their ratio alone, by label."""
    comparisons_by_label: dict[str, list[experiment_dir.Record]] = defaultdict(list)
    ratios_by_label: dict[str, set[float]] = defaultdict(set)
    for comparison in comparisons:
        arm = job.compared_arms[comparison.arm]
        if KINDS[arm.kind].has_extra_rows:
            label = _label_ratio_line(job, arm)
            comparisons_by_label[label].append({**comparison.to_json(), "ratio": arm.ratio})
            ratios_by_label[label].add(arm.ratio)
    return {label: comparisons_by_label[label] for label, ratios in ratios_by_label.items() if len(ratios) > 1}


def _label_ratio_line(job: Job, arm: ArmConfig) -> str:
    """Return the label of an arm's line in the picture of ratios: its images, classes and strategy."""
    parts = [describe_images(job, arm)]
    if arm.classes != "all":
        parts.append(f"{arm.classes} classes")
    if arm.strategy != MixConfig().strategy:
        parts.append(arm.strategy)
    return ", ".join(parts)


def draw_arms(verdict: experiment_dir.Record, ratios: Mapping[str, list[experiment_dir.Record]]) -> dict[str, Any]:
    """Return the section's pictures by name: forest, classes and ratios, those that have anything to show."""
    drawn: dict[str, Any] = {}
    titles = verdict["titles"]
    if verdict["comparisons"]:
        shown = _choose_shown_arms(verdict["comparisons"])
        drawn["forest"] = plots.encode_svg(
            arm_plots.plot_forest(shown, titles),
            f"Change on test. {_describe_changes(shown, [titles[comparison['arm']] for comparison in shown])}",
        )
        drawn["forest_arms"] = len(shown)
    if verdict["chosen"]:
        rows = verdict["classes"][verdict["chosen"]["arm"]]
        alt = "; ".join(f"{row['class']}: {100 * row['f1']['mean']:+.1f}" for row in rows[: arm_plots.MAX_BARS])
        drawn["classes"] = plots.encode_svg(arm_plots.plot_classes(rows), f"Change in F1 by class, in points. {alt}")
    if ratios:
        metric = get_metric(verdict["metric"])
        comparisons = list(itertools.chain.from_iterable(ratios.values()))
        alt = _describe_changes(comparisons, [comparison["ratio"] for comparison in comparisons])
        drawn["ratios"] = plots.encode_svg(
            arm_plots.plot_ratios(dict(ratios), metric.key), f"Change in test {metric.name} by ratio. {alt}"
        )
    return drawn


def _choose_shown_arms(comparisons: list[experiment_dir.Record]) -> list[experiment_dir.Record]:
    """The chosen arm and those that gained most, in the order that they have."""

    def rank(comparison: experiment_dir.Record) -> tuple[bool, float]:
        sign = -1 if get_metric(comparison["metric"]).higher_is_better else 1
        return comparison["role"] != "chosen", sign * comparison["mean"]

    shown = {comparison["arm"] for comparison in sorted(comparisons, key=rank)[:MAX_FOREST_ARMS]}
    return [comparison for comparison in comparisons if comparison["arm"] in shown]


def _describe_changes(comparisons: list[experiment_dir.Record], names: Sequence[Any]) -> str:
    changes = []
    for name, comparison in zip(names, comparisons, strict=True):
        metric = get_metric(comparison["metric"])
        changes.append(f"{name}: {metric.format_change(comparison['mean'])} {metric.change_unit}".rstrip())
    return "; ".join(changes)
