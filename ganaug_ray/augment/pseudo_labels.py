"""Pseudo-labels: unlabelled images with the labels that the teacher is sure of (Lee 2013, "Pseudo-Label").

They make a store of their own, for an arm that trains beside them, and a whole data set together with the labelled
training images, for a GAN that is trained on both.
"""

import math
import time
from collections import Counter

import numpy as np

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import DatasetRecord, ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime import executors
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.resources import plan_stage

PSEUDO_ONLY_FOLDER = "alone"  # the folder of the pseudo-labelled images without the others


def write_pseudo_labels(
    dataset: Folder, teacher: Folder, out: Folder, confidence: float, hardware: Hardware
) -> DatasetRecord:
    """Write two stores: the pseudo-labelled images alone, and a data set of them and the labelled ones.

    Args:
        dataset: with a store ``unlabelled``.
        teacher: a finished model.
        out: gets train, val, alone and dataset.json, which is returned.
        confidence: least probability of the likeliest class.
        hardware: of the cluster, as far as it is to be used.

    Raises:
        StageFailed: the teacher is sure of no image.
    """
    reserved = plan_stage("label", hardware)
    return executors.call_on_device(_label_images, (str(dataset), str(teacher), str(out), confidence), reserved)


def _label_images(
    dataset_at: str, teacher_at: str, out_at: str, confidence: float, device: str = "cpu"
) -> DatasetRecord:
    started = time.monotonic()
    dataset = Folder.from_uri(dataset_at)
    teacher = Folder.from_uri(teacher_at)
    out = Folder.from_uri(out_at)
    facts = DatasetRecord.read(dataset)
    model = ModelRecord.read(teacher)
    classifier = Classifier.load(teacher, device)
    number = _copy_shards(dataset / "train", (out / "train").create())
    _copy_shards(dataset / "val", (out / "val").create())
    (out / PSEUDO_ONLY_FOLDER).create()
    labelled_counts: Counter[str] = Counter()
    highest = 0.0
    unlabelled = image_store.list_shards(dataset / "unlabelled")
    for part, name in enumerate(unlabelled.names):
        table = unlabelled.folder.read_table(name)
        rows = image_store.from_table(table)
        probabilities_NK = classifier.predict_probabilities(rows.images)
        highest = max(highest, float(probabilities_NK.max()))
        confident_rows = (probabilities_NK.max(1) >= confidence).nonzero()[0]
        if not len(confident_rows):
            continue
        labels = probabilities_NK[confident_rows].argmax(1).astype(np.int64)
        labelled_counts.update(facts.classes[label] for label in labels.tolist())
        labelled = image_store.LabelledImages(
            rows.images[confident_rows],
            labels,
            [rows.ids[row] for row in confident_rows],
            [rows.paths[row] for row in confident_rows],
            [f"{rows.provenance[row]} labelled by {model.hash}" for row in confident_rows],
        )
        image_store.write_shard(out / PSEUDO_ONLY_FOLDER, part, labelled, "real")
        image_store.write_shard(out / "train", number + part, labelled, "real")
    if not labelled_counts:
        raise StageFailed(
            f"the teacher gives none of {len(unlabelled)} unlabelled images a class with a probability of "
            f"{confidence:g}; lower augment.pseudo_confidence to {math.floor(highest * 1000) / 1000:g} or less"
        )
    train_counts = facts.counts["train"]
    counts = facts.counts | {"train": {name: n + labelled_counts[name] for name, n in train_counts.items()}}
    record = facts.to_json() | {
        "hash": experiment_dir.compute_fingerprint(facts.hash, model.hash, confidence),
        "inputs": {"dataset": facts.hash, "teacher": model.hash},
        "counts": counts,
        "pseudo": {"unlabelled": len(unlabelled), "labelled": dict(sorted(labelled_counts.items()))},
    }
    return DatasetRecord.write(out, "pseudo-label", started, record)


def _copy_shards(source: Folder, target: Folder) -> int:
    """Copy a store's shards; return how many there are."""
    names = image_store.list_shards(source).names
    for name in names:
        target.write_bytes(name, source.read_bytes(name))
    return len(names)
