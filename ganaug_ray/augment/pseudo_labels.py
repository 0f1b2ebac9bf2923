"""Pseudo-labels: unlabelled images with the labels that the teacher is sure of (Lee 2013, "Pseudo-Label").

They make a store of their own, for an arm that trains beside them, and a whole data set together with the labelled
training images, for a GAN that is trained on both.
"""

import functools
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import DatasetRecord, ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime.executors import DeviceExecutor, map_on_cpu

PSEUDO_ONLY_FOLDER = "alone"  # the folder of the pseudo-labelled images without the others


@dataclass(frozen=True)
class _UnlabelledShard:
    """A shard to label: its file, its number, and the one that its images get behind the labelled training images."""

    name: str
    number: int
    train_number: int


@dataclass(frozen=True)
class _LabelledShard:
    """What became of a shard: class -> images that got its label, and the highest probability of any image."""

    counts: Counter[str]
    highest: float


def write_pseudo_labels(
    dataset: Folder, teacher: Folder, out: Folder, confidence: float, executor: DeviceExecutor = map_on_cpu
) -> DatasetRecord:
    """Write two stores: the pseudo-labelled images alone, and a data set of them and the labelled ones.

    Args:
        dataset: with a store ``unlabelled``.
        teacher: a finished model.
        out: gets train, val, alone and dataset.json, which is returned.
        confidence: least probability of the likeliest class.
        executor: labels the shards, each by itself, so the stores do not depend on it.

    Raises:
        StageFailed: the teacher is sure of no image.
    """
    started = time.monotonic()
    facts = DatasetRecord.read(dataset)
    model = ModelRecord.read(teacher)
    labelled_shards = _copy_shards(dataset / "train", (out / "train").create())
    _copy_shards(dataset / "val", (out / "val").create())
    (out / PSEUDO_ONLY_FOLDER).create()
    unlabelled = image_store.list_shards(dataset / "unlabelled")
    shards = [_UnlabelledShard(name, number, labelled_shards + number) for number, name in enumerate(unlabelled.names)]
    build = functools.partial(_build_labeller, str(dataset), str(teacher), str(out), confidence)
    labelled_counts: Counter[str] = Counter()
    highest = 0.0
    for labelled in executor(build, shards):
        labelled_counts += labelled.counts
        highest = max(highest, labelled.highest)
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


def _build_labeller(
    dataset_at: str, teacher_at: str, out_at: str, confidence: float, device: str
) -> Callable[[_UnlabelledShard], _LabelledShard]:
    """Load the teacher, and return what labels a shard by it and writes the images that it is sure of."""
    dataset, teacher, out = map(Folder.from_uri, (dataset_at, teacher_at, out_at))
    classes = DatasetRecord.read(dataset).classes
    origin = ModelRecord.read(teacher).hash
    classifier = Classifier.load(teacher, device)

    def label(shard: _UnlabelledShard) -> _LabelledShard:
        rows = image_store.from_table((dataset / "unlabelled").read_table(shard.name))
        probabilities_NK = classifier.predict_probabilities(rows.images)
        confident_rows = (probabilities_NK.max(1) >= confidence).nonzero()[0]
        labels = probabilities_NK[confident_rows].argmax(1).astype(np.int64)
        if len(labels):
            labelled = image_store.LabelledImages(
                rows.images[confident_rows],
                labels,
                [rows.ids[row] for row in confident_rows],
                [rows.paths[row] for row in confident_rows],
                [f"{rows.provenance[row]} labelled by {origin}" for row in confident_rows],
            )
            image_store.write_shard(out / PSEUDO_ONLY_FOLDER, shard.number, labelled, "real")
            image_store.write_shard(out / "train", shard.train_number, labelled, "real")
        counts = Counter(classes[label] for label in labels.tolist())
        return _LabelledShard(counts, float(probabilities_NK.max()))

    return label


def _copy_shards(source: Folder, target: Folder) -> int:
    """Copy a store's shards; return how many there are."""
    names = image_store.list_shards(source).names
    for name in names:
        target.write_bytes(name, source.read_bytes(name))
    return len(names)
