"""The evaluate stage: takes a model and labelled images, writes metrics and pictures to evaluation/<model>/<images>/.

evaluation.json       all metrics; the marker, written last
predictions.parquet   a row an image: id, path, label, predicted, probability
suspects.parquet      the images searched for wrong labels, the least credible label first
embedding.parquet     each image as a point in two dimensions
pictures.parquet      small pictures with captions, for the report
figures/*.png
"""

import functools
import io
import time
from typing import Any

import numpy as np
import pyarrow as pa

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core import experiment_dir, metrics_log
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.card import figures as card_figures
from ganaug_ray.data.ingest.external import ExternalImages
from ganaug_ray.evaluate import insights, metrics, mistakes, model_plots, plots, test_images
from ganaug_ray.evaluate.insights import Picture
from ganaug_ray.evaluate.targets import MARKER, TEST_SPLIT, EvaluationTarget, hash_inputs
from ganaug_ray.evaluate.test_images import EvaluationImages

MAX_PAIRS = 8


def evaluate_model(
    target: EvaluationTarget, seed: int, other_images: ExternalImages | None = None, device: str = "cpu"
) -> experiment_dir.Record:
    """Evaluate a model on labelled images, write everything to its evaluation folder, and return the marker.

    Args:
        target: the model, the images and the folder.
        seed: of bootstrap resamples, cross-validation folds and the images that are embedded.
        other_images: as ``read_other_images`` yields them; None: the experiment's test images.
        device: where the model runs.

    Returns:
        The content of evaluation.json: the metrics of ``metrics.compute_figures``, ``mistakes`` (their number),
        ``confused_pairs`` and what was evaluated on what.

    Raises:
        UserError: there is no finished model, the images are of classes that it does not know, or none is left.
    """
    started = time.monotonic()
    run = target.home
    classifier = Classifier.load(target.model, device)
    out = target.out.create()
    out.delete_file(MARKER)  # what was here is about to be written over
    rows, facts = test_images.select_evaluation_images(target, classifier, other_images)
    probabilities = _read_probabilities(run, target, classifier, rows)
    pictures, points, searched = _write_insights(run, target, classifier, rows, probabilities, seed)
    model_figures = metrics.compute_figures(rows.labels, probabilities, classifier.classes, seed)
    pairs = mistakes.find_confused_pairs(np.array(model_figures["confusion"]["counts"]), classifier.classes, MAX_PAIRS)
    out.write_table("predictions.parquet", _build_predictions_table(rows, probabilities, classifier.classes))
    log = metrics_log.read_metrics(target.model)
    _draw_figures(out / "figures", model_figures, classifier.classes, pictures, points, log)
    made_from = hash_inputs(target)
    if target.data:
        made_from["images"] = experiment_dir.compute_fingerprint(rows.ids)
    record = {
        "hash": experiment_dir.compute_fingerprint(made_from),
        "inputs": made_from,
        "model": str(target.model),
        "arm": target.record.arm,
        "seed": target.record.seed,
        "classes": classifier.classes,
        **facts,
        **model_figures,
        "mistakes": int((probabilities.argmax(1) != rows.labels).sum()),
        "confused_pairs": pairs,
        "searched_for_wrong_labels": searched,
    }
    return experiment_dir.write_marker(out, MARKER, "evaluate", started, record)


def _write_insights(
    run: experiment_dir.Run,
    target: EvaluationTarget,
    classifier: Classifier,
    rows: EvaluationImages,
    probabilities: np.ndarray,
    seed: int,
) -> tuple[list[Picture], pa.Table | None, int]:
    """Write what is to be seen in the images; return pictures, the embedding, and how many labels were searched."""
    pictures = insights.show_mistakes(classifier, rows, probabilities)
    pictures += insights.show_right_images(classifier, rows, probabilities)
    pictures += insights.show_layers(classifier, rows.images[:1][0])
    splits = {}
    synthetic = None
    if target.data is None:
        for name in ("train", "val"):
            splits[name] = test_images.read_split(run, name, classifier, insights.MAX_SEARCHED_ROWS)
        splits[TEST_SPLIT] = rows
        synthetic = test_images.read_synthetic(run, classifier)
    else:
        splits["data"] = rows
    searched = 0
    suspected = insights.find_suspects(classifier, splits, seed)
    if suspected is not None:
        suspects, suspect_pictures = suspected
        target.out.write_table("suspects.parquet", suspects)
        pictures += suspect_pictures
        searched = len(suspects)
    points = insights.embed_images(classifier, rows, probabilities, synthetic, seed)
    if points is not None:
        target.out.write_table("embedding.parquet", points)
    target.out.write_table("pictures.parquet", _build_pictures_table(pictures))
    return pictures, points, searched


def _read_probabilities(
    run: experiment_dir.Run, target: EvaluationTarget, classifier: Classifier, rows: EvaluationImages
) -> np.ndarray:
    """As training left them where these are the model's own test images; else predicted now."""
    is_own_dataset = target.record.inputs.get("dataset") == DatasetRecord.read(run.dataset).hash
    if target.data is None and is_own_dataset and target.model.has_file("predictions.parquet"):
        table = target.model.read_table("predictions.parquet")
        _, probabilities = metrics.read_split(table, TEST_SPLIT)
        if len(probabilities) == len(rows):
            return probabilities
    return classifier.predict_probabilities(rows.images)


def _build_predictions_table(rows: EvaluationImages, probabilities: np.ndarray, classes: list[str]) -> pa.Table:
    return pa.table(
        {
            "id": rows.ids,
            "path": rows.paths,
            "label": [classes[label] for label in rows.labels],
            "predicted": [classes[label] for label in probabilities.argmax(1)],
            "probability": probabilities.max(1),
        }
    )


def _build_pictures_table(pictures: list[Picture]) -> pa.Table:
    contents = []
    for picture in pictures:
        sink = io.BytesIO()
        picture.image.save(sink, "PNG", optimize=True)
        contents.append(sink.getvalue())
    return pa.table(
        {
            "section": [picture.section for picture in pictures],
            "caption": [picture.caption for picture in pictures],
            "png": pa.array(contents, pa.binary()),
        }
    )


def _draw_figures(
    out: Folder,
    model_figures: dict[str, Any],
    classes: list[str],
    pictures: list[Picture],
    points: pa.Table | None,
    log: list[experiment_dir.Record],
) -> None:
    counts = np.array(model_figures["confusion"]["counts"])
    drawn = {
        "confusion": plots.plot_confusion(counts, classes),
        "confusion_shares": plots.plot_confusion(counts, classes, in_percent=True),
        "reliability": model_plots.plot_reliability(model_figures["reliability"]),
    }
    if model_figures["curves"]:
        drawn["roc"] = model_plots.plot_roc(model_figures["curves"])
        drawn["precision_recall"] = model_plots.plot_precision_recall(model_figures["curves"])
    if points is not None:
        drawn["embedding"] = model_plots.plot_embedding_table(points, classes)
    for key in ("loss", "accuracy"):
        curves = {"train": plots.extract_curve(log, key), "validation": plots.extract_curve(log, f"val_{key}")}
        groups = []
        for (name, curve), colour in zip(curves.items(), plots.COLOURS, strict=False):
            if curve:
                groups.append(plots.CurveGroup(name, [curve], colour))
        if groups:
            drawn[f"learning_{key}"] = plots.plot_curves(groups, key, legend=True)
    for name, figure in drawn.items():
        out.write_bytes(f"{name}.png", plots.encode_png(figure))
    for section in dict.fromkeys(picture.section for picture in pictures):
        tiles = [(picture.caption, picture.image) for picture in pictures if picture.section == section]
        draw = functools.partial(card_figures.draw_class_means, tiles, columns=min(8, len(tiles)), longest=28)
        out.write_bytes(f"{section.replace(' ', '_')}.png", card_figures.encode_figure(draw))
