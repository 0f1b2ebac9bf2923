"""The report's section on the arms: every arm beside the baseline, what it cost, its classes, and its ratio."""

from collections.abc import Mapping
from typing import Any

from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.config import ArmConfig, MixConfig
from ganaug_ray.core import experiment_dir
from ganaug_ray.evaluate import plots
from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.report import arm_plots


def collect_arms(
    verdict: experiment_dir.Record, markers: Mapping[str, experiment_dir.Record], arms: Mapping[str, ArmConfig]
) -> experiment_dir.Record:
    """Return ``arm_rows`` (an arm each: role, mean, comparisons, cost) and ``ratios`` (kind -> comparisons)."""
    comparisons_by_arm = {comparison["arm"]: comparison for comparison in verdict["comparisons"]}
    ordered = sorted(comparisons_by_arm, key=lambda arm: arm_plots.ROLE_ORDER.index(comparisons_by_arm[arm]["role"]))
    rows = []
    for arm in (verdict["baseline"], *ordered):
        trained: list[experiment_dir.Record] = [
            arm_config
            for arm_config in markers.values()
            if (arm_config["stage"], arm_config.get("arm")) == ("train", arm)
        ]
        rows.append(
            {
                "arm": arm,
                "settings": KINDS[arms[arm].kind].describe_settings(arms[arm]) if arm in arms else "",
                "role": comparisons_by_arm[arm]["role"] if arm in comparisons_by_arm else "baseline",
                "mean": verdict["arms"][arm]["mean"][verdict["metric"]],
                "comparison": comparisons_by_arm.get(arm),
                "others": [comparison for comparison in verdict["other_metrics"] if comparison["arm"] == arm],
                "models": len(trained),
                "train_seconds": sum(model["train_seconds"] for model in trained),
            }
        )
    kinds: dict[str, list[experiment_dir.Record]] = {}
    for arm in ordered:
        arm_config = arms[arm]
        if KINDS[arm_config.kind].has_extra_rows:
            kinds.setdefault(_describe_kind(arm_config), []).append(
                {**comparisons_by_arm[arm], "ratio": arm_config.ratio}
            )
    several = {
        kind: comparisons
        for kind, comparisons in kinds.items()
        if len({comparison["ratio"] for comparison in comparisons}) > 1
    }
    return {"arm_rows": rows, "ratios": several}


def _describe_kind(arm: ArmConfig) -> str:
    """What arms of one line in the picture of ratios have in common."""
    parts = [arm.kind, *([] if arm.classes == "all" else [f"{arm.classes} classes"])]
    parts += [] if arm.strategy == MixConfig().strategy else [arm.strategy]
    return ", ".join(parts)


def draw_arms(verdict: experiment_dir.Record, ratios: Mapping[str, list[experiment_dir.Record]]) -> dict[str, Any]:
    """Return the section's pictures by name: forest, classes and ratios, each where there is something to show."""
    drawn: dict[str, Any] = {}
    if verdict["comparisons"]:
        alt = _describe_changes(verdict["comparisons"], "arm")
        drawn["forest"] = plots.encode_svg(arm_plots.plot_forest(verdict["comparisons"]), f"Change on test. {alt}")
    if verdict["chosen"]:
        rows = verdict["classes"][verdict["chosen"]["arm"]]
        alt = "; ".join(f"{row['class']}: {100 * row['f1']['mean']:+.1f}" for row in rows[: arm_plots.MAX_BARS])
        drawn["classes"] = plots.encode_svg(arm_plots.plot_classes(rows), f"Change in F1 by class, in points. {alt}")
    if ratios:
        name = get_metric(verdict["metric"]).name
        alt = _describe_changes([comparison for comparisons in ratios.values() for comparison in comparisons], "ratio")
        drawn["ratios"] = plots.encode_svg(
            arm_plots.plot_ratios(dict(ratios), name), f"Change in test {name} by ratio. {alt}"
        )
    return drawn


def _describe_changes(comparisons: list[experiment_dir.Record], key: str) -> str:
    return "; ".join(f"{c[key]}: {100 * c['mean']:+.1f} points" for c in comparisons)
