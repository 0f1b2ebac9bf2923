"""The report's sections on the champion: its metrics, its mistakes, what it learned, and overfitting by arm.

All but the last are laid out from its evaluation on the test images; without one these sections are left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import Repeat, VerdictRecord
from ganaug_ray.data.card.dataset_card import encode_picture
from ganaug_ray.evaluate import model_plots, plots
from ganaug_ray.evaluate.targets import MARKER, EvaluationTarget, build_target, find_champion, find_model
from ganaug_ray.verdict import overfitting

_STAGE_KEYS = ("stage", "status", "seconds", "versions")  # of a marker; the rest are figures


def collect_champion(run: experiment_dir.Run, verdict: VerdictRecord) -> experiment_dir.Record:
    """Return ``evaluation`` (the champion's, or None) and ``overfitting`` (rows and a sentence, or None)."""
    predictions = {arm: _read_predictions(run, arm, figures.repeats) for arm, figures in verdict.arms.items()}
    rows = overfitting.compute_gaps(predictions, verdict.baseline)
    described_arm = verdict.chosen.arm if verdict.chosen else verdict.baseline
    title = verdict.name_arm(described_arm)
    champion_target = _find_target(run, verdict)
    evaluation = experiment_dir.read_marker(champion_target.out, MARKER)
    if evaluation is not None:
        for key in _STAGE_KEYS:
            evaluation.pop(key, None)
    return {
        "evaluation": evaluation,
        "overfitting": rows and {"rows": rows, "sentence": overfitting.describe_gap(rows, described_arm, title)},
    }


def _read_predictions(run: experiment_dir.Run, arm: str, repeats: Sequence[Repeat]) -> list[list[pa.Table]]:
    """The predictions of an arm's models, split by split."""
    tables_by_split: dict[int, list[pa.Table]] = {}
    for repeat in repeats:
        table = find_model(run, arm, repeat).read_table("predictions.parquet")
        tables_by_split.setdefault(repeat.split, []).append(table)
    return list(tables_by_split.values())


def _find_target(run: experiment_dir.Run, verdict: VerdictRecord) -> EvaluationTarget:
    return build_target(run, find_champion(run, verdict), None)


def draw_champion(
    run: experiment_dir.Run, verdict: VerdictRecord, evaluation: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the pictures of the champion's evaluation by name; none if there is no evaluation."""
    if evaluation is None:
        return {}
    folder = _find_target(run, verdict).out
    classes = evaluation["classes"]
    error = evaluation["calibration_error"]
    drawn: dict[str, Any] = {
        "reliability": plots.encode_svg(
            model_plots.plot_reliability(evaluation["reliability"]),
            f"Accuracy over confidence; calibration error {100 * error:.1f} points",
        ),
        "shares": plots.encode_svg(
            plots.plot_confusion(np.array(evaluation["confusion"]["counts"]), classes, in_percent=True),
            f"Confusion matrix in percent of the true class, {len(classes)} classes",
        ),
    }
    if evaluation["curves"]:
        drawn["roc"] = plots.encode_svg(
            model_plots.plot_roc(evaluation["curves"]), f"ROC curve, area {evaluation['roc_auc']:.3f}"
        )
        drawn["precision_recall"] = plots.encode_svg(
            model_plots.plot_precision_recall(evaluation["curves"]),
            f"Precision-recall curve, average precision {evaluation['average_precision']:.3f}",
        )
    if folder.has_file("embedding.parquet"):
        points = folder.read_table("embedding.parquet")
        drawn["embedding"] = plots.encode_svg(
            model_plots.plot_embedding_table(points, classes), _describe_embedding(points)
        )
    return drawn | {"tiles": _group_tiles(folder.read_table("pictures.parquet"))}


def _describe_embedding(points: pa.Table) -> str:
    kinds = points["kind"].to_pylist()
    n = {kind: kinds.count(kind) for kind in ("real", "mistake", "synthetic")}
    fake = f" and {n['synthetic']} synthetic" if n["synthetic"] else ""
    return f"Features of {n['real'] + n['mistake']} real{fake} images in two dimensions, {n['mistake']} mistakes marked"


def _group_tiles(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Section -> its figures: a caption, and the pictures up to the next caption or all of them where there is none."""
    # A model may have made no mistake, and no label may look wrong.
    sections: dict[str, list[dict[str, Any]]] = {"mistakes": [], "suspects": [], "right": [], "layers": []}
    for row in table.to_pylist():
        figures = sections.setdefault(row["section"], [])
        if row["caption"] or not figures:
            figures.append({"caption": row["caption"], "pictures": []})
        figures[-1]["pictures"].append(encode_picture(row["png"]))
    return sections
