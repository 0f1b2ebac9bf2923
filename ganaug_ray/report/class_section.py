"""The report's sections by class: the champion's figures, what was taken for what, and the images of each class.

Of many classes the page has the worst, and all of them as a download: nobody reads a table of a thousand rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import VerdictRecord
from ganaug_ray.evaluate import metrics, plots
from ganaug_ray.evaluate.targets import find_champion
from ganaug_ray.report.downloads import MAX_ROWS, encode_csv

MAX_MATRIX_CLASSES = 20  # beyond, a confusion matrix has cells too small for numbers

Record = experiment_dir.Record


def collect_classes(run: experiment_dir.Run, verdict: VerdictRecord, classes: list[str]) -> Record:
    """Collect the champion's confusion and figures by class on test, and what each arm but the controls changed.

    Returns:
        ``confusion`` [K][K], ``per_class`` and ``recall_change`` (arm -> a mean for each class).
    """
    answers = metrics.read_split(find_champion(run, verdict).read_table("predictions.parquet"), "test")
    shippable_arms = [comparison.arm for comparison in verdict.comparisons if comparison.role != "control"]
    recall_changes = {}
    for arm in shippable_arms:
        recall_changes[arm] = [row.recall.mean for row in verdict.classes[arm]]
    return {
        "confusion": metrics.count_confusion(*answers).tolist(),
        "per_class": metrics.score_per_class(*answers, classes),
        "recall_change": recall_changes,
    }


def lay_out_classes(figures: Record) -> dict[str, Any]:
    """Return what the template shows of the classes, and the tables to download.

    Args:
        figures: of report.json.

    Returns:
        class_rows: the champion's figures of the worst classes, with the change in recall of the shown arm.
        class_arm: that arm; None if none was compared.
        class_csv: figures of all classes, and the changes of all arms.
        count_rows, count_csv: images by class and split; of many classes those with the fewest training images.
        screened_rows, screened_csv: likewise what the screening kept and why it rejected the rest.
        confusion: the matrix as SVG; None where there are too many classes to read it.
        confusion_csv: of all pairs of classes that were confused, how often.
    """
    classes = figures["data"]["classes"]
    changes = figures["recall_change"]
    chosen = figures["verdict"]["chosen"]
    shown_arm = chosen["arm"] if chosen else next(iter(changes), None)
    counts = np.array(figures["confusion"])
    return {
        "class_arm": shown_arm,
        "class_rows": _choose_worst(figures["per_class"], changes.get(shown_arm)),
        "class_csv": _encode_class_figures(figures["per_class"], changes),
        **_lay_out_counts(figures["data"]),
        **_lay_out_screening(figures["gan"]),
        "confusion": _draw_confusion(counts, classes) if len(classes) <= MAX_MATRIX_CLASSES else None,
        "confusion_csv": _encode_confusion(counts, classes),
    }


def _choose_worst(per_class: Sequence[Record], changes: Sequence[float] | None) -> list[Record]:
    rows = [{**row, "change": changes[number] if changes else None} for number, row in enumerate(per_class)]
    return rows if len(rows) <= MAX_ROWS else sorted(rows, key=lambda row: row["f1"])[:MAX_ROWS]


def _encode_class_figures(per_class: Sequence[Record], changes: Mapping[str, Sequence[float]]) -> str:
    header = ["class", "precision", "recall", "f1", "images", *(f"change in recall, {arm}" for arm in changes)]
    rows = []
    for number, row in enumerate(per_class):
        figures = [row[key] for key in ("class", "precision", "recall", "f1", "rows")]
        rows.append([*figures, *(values[number] for values in changes.values())])
    return encode_csv(header, rows)


def _lay_out_counts(data: Record) -> dict[str, Any]:
    splits = ("train", "val", "test", "unused")
    rows = [(name, *(data["counts"][split][name] for split in splits)) for name in data["classes"]]
    fewest = sorted(rows, key=lambda row: row[1])[:MAX_ROWS]
    return {
        "count_rows": rows if len(rows) <= MAX_ROWS else fewest,
        "count_csv": encode_csv(["class", *splits], rows),
    }


def _lay_out_screening(gan: Record | None) -> dict[str, Any]:
    if gan is None or not gan["reasons"]:
        return {"screened_rows": [], "screened_csv": ""}
    rows = []
    for name, reasons in gan["screened"].items():
        rows.append((name, gan["kept"][name], *(reasons.get(reason, 0) for reason in gan["reasons"])))
    fewest = sorted(rows, key=lambda row: row[1])[:MAX_ROWS]
    return {
        "screened_rows": rows if len(rows) <= MAX_ROWS else fewest,
        "screened_csv": encode_csv(["class", "kept", *gan["reasons"]], rows),
    }


def _draw_confusion(counts: np.ndarray, classes: Sequence[str]) -> str:
    alt = (
        f"Confusion matrix of the champion on test, {len(classes)} classes: {counts.trace()} of {counts.sum()} on the "
        "diagonal"
    )
    return plots.encode_svg(plots.plot_confusion(counts, classes), alt)


def _encode_confusion(counts: np.ndarray, classes: Sequence[str]) -> str:
    rows = [(classes[true], classes[predicted], counts[true, predicted]) for true, predicted in np.argwhere(counts)]
    return encode_csv(["true class", "predicted class", "images"], rows)
