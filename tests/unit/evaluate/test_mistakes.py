"""What is shown as wrong is wrong, and planted label errors are found."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from ganaug_ray.classify import train_worker
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import ClassifierConfig, Job
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.resident_loader import open_real_feed
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.evaluate import insights, mistakes
from ganaug_ray.evaluate.test_images import EvaluationImages

STEPS = 150  # enough to learn many a wrong label by heart


@pytest.fixture(scope="module")
def flipped(tiny_job: Job, tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, set[str]]:
    """A data set of 600 training digits in which 2 % of all labels are wrong, and the ids of these."""
    base = tmp_path_factory.mktemp("flipped")
    config = tiny_job.data.model_copy(update={"train_per_class": 60, "val_per_class": 10})
    whole, out, wrong = Folder.from_uri(base / "whole"), Folder.from_uri(base / "dataset"), set()
    prepare_dataset(config, whole)
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        rows = image_store.read_images(whole / split)
        labels = rows.labels.copy()
        planted = rng.permutation(len(labels))[: round(0.02 * len(labels))]
        labels[planted] = (labels[planted] + rng.integers(1, 10, len(planted))) % 10
        wrong |= {rows.ids[row] for row in planted}
        image_store.write_images((out / split).create(), replace(rows, labels=labels), "real")
    out.write_json("dataset.json", whole.read_json("dataset.json"))
    return out, wrong


def test_planted_label_errors_are_first_suspects(flipped: tuple[Folder, set[str]], tmp_path) -> None:
    """The flips are in the labels that the network is trained on, too."""
    dataset, wrong = flipped
    out = Folder.from_uri(tmp_path).create()
    config = ClassifierConfig(steps=STEPS, batch_size=32, flip=False, evaluate_every=50)
    batches = functools.partial(open_real_feed, str(dataset), 32, 1.0, 0)
    train_worker.train_and_finish(
        train_worker.ClassifierTraining("real+classic", 0, config, str(dataset), str(out), batches, {}), Place()
    )
    splits = {split: image_store.read_images(dataset / split) for split in ("train", "val", "test")}
    found = insights.find_suspects(
        Classifier.load(out),
        {name: EvaluationImages(own.images, own.labels, own.ids, own.paths) for name, own in splits.items()},
        seed=0,
    )
    table, pictures = found
    assert len(table) == sum(len(own) for own in splits.values())
    first = set(table["id"].to_pylist()[: round(0.04 * len(table))])
    assert len(wrong & first) >= 0.6 * len(wrong)
    train = [row["id"] for row in table.to_pylist() if row["split"] == "train"]
    planted = wrong & set(train)
    assert len(planted & set(train[: round(0.04 * len(train))])) >= 0.6 * len(planted), "also of those trained on"
    assert len(pictures) == insights.MAX_SUSPECTS
    right = {id_: label for own in splits.values() for id_, label in zip(own.ids, own.labels, strict=True)}
    assert all(str(right[row["id"]]) == row["label"] != row["suggested"] for row in table.slice(0, 5).to_pylist())


def test_too_few_rows_give_no_suspects() -> None:
    """Too few rows for cross-validation give no suspects and no error."""
    features = np.random.default_rng(0).normal(size=(4, 3))
    assert mistakes.predict_out_of_sample(features, np.array([0, 0, 1, 2]), 3, 0) is None
    assert mistakes.predict_out_of_sample(features, np.zeros(4, int), 3, 0) is None
    found = mistakes.predict_out_of_sample(np.repeat(features, 2, 0), np.repeat([0, 0, 2, 2], 2), 3, 0)
    assert found is not None
    assert found.shape == (8, 3)
    assert found.sum(1) == pytest.approx(1.0)
    assert (found[:, 1] == 0).all(), "a class without rows is no answer"
