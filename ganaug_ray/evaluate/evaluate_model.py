"""The evaluate stage: a model and labelled images -> evaluation/<model>/<images>/ with every figure and picture.

evaluation.json       all figures; the marker, written last
predictions.parquet   a row an image: id, path, label, predicted, probability
suspects.parquet      every image looked at, the one whose label is least believed first
embedding.parquet     where each image lies in two dimensions
pictures.parquet      small pictures with captions, which the report lays out
figures/*.png
"""

import functools
import io
import time
from typing import Any

import numpy as np
import pyarrow as pa

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import DataConfig
from ganaug_ray.core import experiment_dir, metrics_log
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.card import figures as card_figures
from ganaug_ray.evaluate import insights, metrics, mistakes, model_plots, plots, test_images
from ganaug_ray.evaluate.insights import Picture
from ganaug_ray.evaluate.targets import MARKER, TEST, Target, inputs
from ganaug_ray.evaluate.test_images import Rows
from ganaug_ray.runtime.executors import Each

MOST_PAIRS = 8


def evaluate(config: DataConfig, target: Target, seed: int, each: Each) -> experiment_dir.Record:
    """Evaluate a model; returns the marker.

    Args:
        config: the job's data section: how another data set is read.
        target: what is evaluated; what it was trained on is left out of another data set.
        seed: of resamples, folds and draws.
        each: who reads another data set.

    Raises:
        UserError: the images are of classes that the model does not know, or none is left.
    """
    started, run = time.monotonic(), target.home
    classifier = Classifier.load(target.model)
    out = target.out.make()
    out.delete(MARKER)  # what was here is about to be written over
    with test_images.opened(run, config, target, classifier, each) as (seen, facts):
        probabilities = _probabilities(run, target, classifier, seen)
        pictures, points, searched = _looked_at(run, target, classifier, seen, probabilities, seed)
    found = metrics.figures(seen.labels, probabilities, classifier.classes, seed)
    pairs = mistakes.confused_pairs(np.array(found["confusion"]["counts"]), classifier.classes, MOST_PAIRS)
    out.write_table("predictions.parquet", _predictions(seen, probabilities, classifier.classes))
    log = metrics_log.read_metrics(target.model)
    _draw(out / "figures", found, classifier.classes, pictures, points, log)
    made_from = inputs(target) | ({"images": experiment_dir.fingerprint(seen.ids)} if target.data else {})
    record = {
        "hash": experiment_dir.fingerprint(made_from),
        "inputs": made_from,
        "model": str(target.model),
        "arm": target.record["arm"],
        "seed": target.record["seed"],
        "classes": classifier.classes,
        **facts,
        **found,
        "mistakes": int((probabilities.argmax(1) != seen.labels).sum()),
        "confused_pairs": pairs,
        "searched_for_wrong_labels": searched,
    }
    return experiment_dir.commit(out, MARKER, "evaluate", started, record)


def _looked_at(
    run: experiment_dir.Run, target: Target, classifier: Classifier, seen: Rows, probabilities: np.ndarray, seed: int
) -> tuple[list[Picture], pa.Table | None, int]:
    """Write what is to be seen in the images; return pictures, the embedding, and how many labels were searched."""
    pictures = insights.gallery(classifier, seen, probabilities)
    pictures += insights.understood(classifier, seen, probabilities)
    pictures += insights.layers(classifier, seen.images[:1][0])
    splits, synthetic = {"data": seen}, None
    if target.data is None:
        learned_from = {name: test_images.split(run, name, classifier, insights.LOOKED_AT) for name in ("train", "val")}
        splits, synthetic = {**learned_from, TEST: seen}, test_images.synthetic(run, classifier)
    suspected = insights.suspects(classifier, splits, seed)
    if suspected is not None:
        target.out.write_table("suspects.parquet", suspected[0])
        pictures += suspected[1]
    points = insights.embedding(classifier, seen, probabilities, synthetic, seed)
    if points is not None:
        target.out.write_table("embedding.parquet", points)
    target.out.write_table("pictures.parquet", _table(pictures))
    return pictures, points, len(suspected[0]) if suspected else 0


def _probabilities(run: experiment_dir.Run, target: Target, classifier: Classifier, seen: Rows) -> np.ndarray:
    """As training left them where these are the model's own test images; else predicted now."""
    own = target.record["inputs"].get("dataset") == run.dataset.read_json("dataset.json")["hash"]
    if target.data is None and own and target.model.has("predictions.parquet"):
        table = target.model.read_table("predictions.parquet")
        _, probabilities = metrics.split_of(table, TEST)
        if len(probabilities) == len(seen):
            return probabilities
    return classifier.probabilities(seen.images)


def _predictions(seen: Rows, probabilities: np.ndarray, classes: list[str]) -> pa.Table:
    return pa.table(
        {
            "id": seen.ids,
            "path": seen.paths,
            "label": [classes[label] for label in seen.labels],
            "predicted": [classes[label] for label in probabilities.argmax(1)],
            "probability": probabilities.max(1),
        }
    )


def _table(pictures: list[Picture]) -> pa.Table:
    contents = []
    for picture in pictures:
        sink = io.BytesIO()
        picture.image.save(sink, "PNG", optimize=True)
        contents.append(sink.getvalue())
    columns = {"section": [p.section for p in pictures], "caption": [p.caption for p in pictures]}
    return pa.table({**columns, "png": pa.array(contents, pa.binary())})


def _draw(
    out: Folder,
    found: dict[str, Any],
    classes: list[str],
    pictures: list[Picture],
    points: pa.Table | None,
    log: list[experiment_dir.Record],
) -> None:
    counts = np.array(found["confusion"]["counts"])
    drawn = {
        "confusion": plots.confusion(counts, classes),
        "confusion_shares": plots.confusion(counts, classes, in_percent=True),
        "reliability": model_plots.reliability(found["reliability"]),
    }
    if found["curves"]:
        drawn["roc"] = model_plots.roc(found["curves"])
        drawn["precision_recall"] = model_plots.precision_recall(found["curves"])
    if points is not None:
        drawn["embedding"] = model_plots.scatter(points, classes)
    for key in ("loss", "accuracy"):
        groups = [
            plots.Group(name, [curve], colour)
            for (prefix, name), colour in zip({"": "train", "val_": "validation"}.items(), plots.COLOURS, strict=False)
            if (curve := [(row["step"], row[prefix + key]) for row in log if row.get(prefix + key) is not None])
        ]
        if groups:
            drawn[f"learning_{key}"] = plots.curves(groups, key, legend=True)
    for name, figure in drawn.items():
        out.write(f"{name}.png", plots.png(figure))
    for section in dict.fromkeys(picture.section for picture in pictures):
        tiles = [(picture.caption, picture.image) for picture in pictures if picture.section == section]
        out.write(
            f"{section.replace(' ', '_')}.png",
            card_figures.png(functools.partial(card_figures.means, tiles, columns=min(8, len(tiles)), longest=28)),
        )
