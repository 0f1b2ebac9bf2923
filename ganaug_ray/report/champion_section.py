"""The report's sections on the champion: its figures, what it gets wrong, what it learned, and overfitting by arm.

All but the last are laid out from its evaluation on the test images; without one these sections are left out.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from ganaug_ray.core import experiment_dir
from ganaug_ray.data.card.dataset_card import picture
from ganaug_ray.evaluate import model_plots, plots
from ganaug_ray.evaluate.targets import MARKER, Target, champion, model_of, target
from ganaug_ray.verdict import overfitting
from ganaug_ray.verdict.split_overlap import Overlap

OF_THE_RUN = ("stage", "status", "seconds", "versions", "model")  # of a marker; the rest are figures


def collect(run: experiment_dir.Run, verdict: experiment_dir.Record) -> experiment_dir.Record:
    """Return ``evaluation`` (the champion's, or None) and ``overfitting`` (rows and a sentence, or None)."""
    arms = verdict["arms"]

    def read(arm: str, repeats: list[experiment_dir.Record]) -> list[list[pa.Table]]:
        by_split: dict[int, list[pa.Table]] = {}
        for own in repeats:
            by_split.setdefault(own["split"], []).append(model_of(run, arm, own).read_table("predictions.parquet"))
        return list(by_split.values())

    predictions = {arm: read(arm, own["repeats"]) for arm, own in arms.items()}
    shared = Overlap(**verdict["overlap"]).correction if verdict["overlap"] else 0.0
    rows = overfitting.gaps(predictions, verdict["baseline"], shared)
    told = verdict["chosen"]["arm"] if verdict["chosen"] else verdict["baseline"]
    place = _place(run, verdict)
    record = experiment_dir.done(place.out, MARKER)
    return {
        "evaluation": record
        and {k: v for k, v in record.items() if k not in ("seconds", "versions", "stage", "status")},
        "overfitting": rows and {"rows": rows, "sentence": overfitting.sentence(rows, told)},
    }


def _place(run: experiment_dir.Run, verdict: experiment_dir.Record) -> Target:
    return target(run, champion(run, verdict), None)


def draw(run: experiment_dir.Run, verdict: experiment_dir.Record, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the pictures of the champion's evaluation by name; none where there is no evaluation."""
    if found is None:
        return {}
    folder, classes = _place(run, verdict).out, found["classes"]
    error = found["calibration_error"]
    drawn: dict[str, Any] = {
        "reliability": plots.svg(
            model_plots.reliability(found["reliability"]),
            f"Accuracy over confidence; calibration error {100 * error:.1f} points",
        ),
        "shares": plots.svg(
            plots.confusion(np.array(found["confusion"]["counts"]), classes, in_percent=True),
            f"Confusion matrix in percent of the true class, {len(classes)} classes",
        ),
    }
    if found["curves"]:
        drawn["roc"] = plots.svg(model_plots.roc(found["curves"]), f"ROC curve, area {found['roc_auc']:.3f}")
        drawn["precision_recall"] = plots.svg(
            model_plots.precision_recall(found["curves"]),
            f"Precision-recall curve, average precision {found['average_precision']:.3f}",
        )
    if folder.has("embedding.parquet"):
        points = folder.read_table("embedding.parquet")
        drawn["embedding"] = plots.svg(model_plots.scatter(points, classes), _in_words(points))
    return drawn | {"tiles": _tiles(folder.read_table("pictures.parquet"))}


def _in_words(points: pa.Table) -> str:
    kinds = points["kind"].to_pylist()
    n = {kind: kinds.count(kind) for kind in ("real", "mistake", "synthetic")}
    fake = f" and {n['synthetic']} synthetic" if n["synthetic"] else ""
    return f"Features of {n['real'] + n['mistake']} real{fake} images in two dimensions, {n['mistake']} mistakes marked"


def _tiles(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Section -> its figures: a caption, and the pictures up to the next caption or all of them where there is none."""
    # A model may have made no mistake, and no label may look wrong.
    sections: dict[str, list[dict[str, Any]]] = {"mistakes": [], "suspects": [], "right": [], "layers": []}
    for row in table.to_pylist():
        figures = sections.setdefault(row["section"], [])
        if row["caption"] or not figures:
            figures.append({"caption": row["caption"], "pictures": []})
        figures[-1]["pictures"].append(picture(row["png"]))
    return sections
