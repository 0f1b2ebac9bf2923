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
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from ganaug_ray import runs
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import DataConfig
from ganaug_ray.data import figures as card_figures
from ganaug_ray.data import outside, store
from ganaug_ray.errors import UserError
from ganaug_ray.evaluate import insight, metrics, mistakes, model_plots, plots
from ganaug_ray.evaluate.insight import Picture
from ganaug_ray.evaluate.target import MARKER, TEST, Target, inputs
from ganaug_ray.spread import Each
from ganaug_ray.storage import Folder

MOST_PAIRS = 8


def evaluate(config: DataConfig, target: Target, seed: int, each: Each) -> runs.Record:
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
    rows, labels, facts = _rows(run, config, target, classifier, each)
    probabilities = _probabilities(run, target, classifier, rows)
    found = metrics.figures(labels, probabilities, classifier.classes, seed)
    pairs = mistakes.confused_pairs(np.array(found["confusion"]["counts"]), classifier.classes, MOST_PAIRS)
    searched = {"data" if target.data else TEST: (_some(rows), labels[: insight.LOOKED_AT])}
    if target.data is None:
        searched = {s: _split(run, s, classifier, insight.LOOKED_AT) for s in ("train", "val")} | searched
    pictures = insight.gallery(classifier, rows, labels, probabilities)
    pictures += insight.understood(classifier, rows, labels, probabilities)
    pictures += insight.layers(classifier, rows.images[0])
    suspected = insight.suspects(classifier, searched, seed)
    if suspected is not None:
        out.write_table("suspects.parquet", suspected[0])
        pictures += suspected[1]
    synthetic = _synthetic(run, classifier) if target.data is None else None
    points = insight.embedding(classifier, rows, labels, probabilities, synthetic, seed)
    if points is not None:
        out.write_table("embedding.parquet", points)
    out.write_table("predictions.parquet", _predictions(rows, labels, probabilities, classifier.classes))
    out.write_table("pictures.parquet", _table(pictures))
    log = runs.read_metrics(target.model)
    _draw(out / "figures", found, classifier.classes, pictures, points, log)
    made_from = inputs(target) | ({"images": runs.fingerprint(rows.ids)} if target.data else {})
    record = {
        "hash": runs.fingerprint(made_from),
        "inputs": made_from,
        "model": str(target.model),
        "arm": target.record["arm"],
        "seed": target.record["seed"],
        "classes": classifier.classes,
        **facts,
        **found,
        "mistakes": int((probabilities.argmax(1) != labels).sum()),
        "confused_pairs": pairs,
        "searched_for_wrong_labels": sum(len(own) for _, own in searched.values()) if suspected else 0,
    }
    return runs.commit(out, MARKER, "evaluate", started, record)


def _rows(
    run: runs.Run, config: DataConfig, target: Target, classifier: Classifier, each: Each
) -> tuple[store.Images, np.ndarray, runs.Record]:
    """Return the images, their labels as the model numbers classes, and what was left out."""
    if target.data is None:
        rows, labels = _split(run, TEST, classifier)
        return rows, labels, {"data": TEST, "excluded_train_rows": 0, "rejected": {}}
    staged = target.out / ".staged"
    try:
        found = outside.read(config, target.data, classifier.spec, staged.make(), each)
    finally:
        staged.fs.delete_dir(staged.path)
    labels = _numbered(found.rows.labels, found.classes, classifier, f"--data {target.data}")
    splits = run.dataset.read_table("split.parquet", ["id", "split"]).to_pylist()
    train = {row["id"] for row in splits if row["split"] == "train"}
    kept = np.flatnonzero([id_ not in train for id_ in found.rows.ids])
    excluded = len(labels) - len(kept)
    if not len(kept):
        raise UserError(f"--data {target.data}: all {excluded} images were trained on; give others")
    facts = {"data": target.data, "excluded_train_rows": excluded, "rejected": found.rejected}
    return _take(found.rows, kept), labels[kept], facts


def _take(rows: store.Images, which: np.ndarray) -> store.Images:
    texts = ([column[row] for row in which] for column in (rows.ids, rows.paths, rows.provenance))
    return store.Images(rows.images[which], rows.labels[which], *texts)


def _some(rows: store.Images) -> store.Images:
    return _take(rows, np.arange(min(len(rows), insight.LOOKED_AT)))


def _split(
    run: runs.Run, split: str, classifier: Classifier, most: int | None = None
) -> tuple[store.Images, np.ndarray]:
    rows = store.read(run.dataset / split, most)
    classes = run.dataset.read_json("dataset.json")["classes"]
    return _fitting(rows, classifier), _numbered(rows.labels, classes, classifier, str(run.dataset))


def _synthetic(run: runs.Run, classifier: Classifier) -> tuple[store.Images, np.ndarray] | None:
    synthetic = run.any_synthetic()
    if not runs.done(synthetic, "synthetic.json"):
        return None
    try:
        rows = store.read(synthetic)
    except FileNotFoundError:  # screening left none
        return None
    classes = run.dataset.read_json("dataset.json")["classes"]
    return _fitting(rows, classifier), _numbered(rows.labels, classes, classifier, str(synthetic))


def _fitting(rows: store.Images, classifier: Classifier) -> store.Images:
    """Images of another size or kind than the model's are brought to it by the model's own preprocessing."""
    size, channels = classifier.spec["image_size"], classifier.spec["channels"]
    if not len(rows) or rows.images.shape[1:] == (size, size, channels):
        return rows
    return replace(rows, images=np.stack([classifier.preprocess(image) for image in rows.images]))


def _numbered(labels: np.ndarray, classes: Sequence[str], classifier: Classifier, where: str) -> np.ndarray:
    unknown = [classes[label] for label in np.unique(labels) if classes[label] not in classifier.classes]
    if unknown:
        known = ", ".join(classifier.classes[:10]) + (", ..." if len(classifier.classes) > 10 else "")
        more = ", ..." if len(unknown) > 5 else ""
        found = f"found the classes {', '.join(unknown[:5])}{more}, which the model does not know"
        raise UserError(f"{where}: {found}; it knows {known}")
    lookup = {name: number for number, name in enumerate(classifier.classes)}
    return np.array([lookup.get(name, -1) for name in classes], np.int64)[labels]


def _probabilities(run: runs.Run, target: Target, classifier: Classifier, rows: store.Images) -> np.ndarray:
    """As training left them where these are the model's own test images; else predicted now."""
    own = target.record["inputs"].get("dataset") == run.dataset.read_json("dataset.json")["hash"]
    if target.data is None and own and target.model.has("predictions.parquet"):
        table = target.model.read_table("predictions.parquet")
        _, probabilities = metrics.split_of(table, TEST)
        if len(probabilities) == len(rows):
            return probabilities
    return classifier.probabilities(rows.images)


def _predictions(rows: store.Images, labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> pa.Table:
    return pa.table(
        {
            "id": rows.ids,
            "path": rows.paths,
            "label": [classes[label] for label in labels],
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
    log: list[runs.Record],
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
            card_figures.png(functools.partial(card_figures.means, tiles, columns=8, longest=28)),
        )
