"""Reads the images that a model is evaluated on, with labels in the model's numbering of classes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import DataConfig
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import external
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.tensors import PixelRows
from ganaug_ray.errors import UserError
from ganaug_ray.evaluate.targets import TEST_SPLIT, EvaluationTarget
from ganaug_ray.runtime.executors import Executor


@dataclass(frozen=True)
class EvaluationImages:
    """Labelled images in the size and with the channels that a model takes.

    Attributes:
        images: uint8 [N, size, size, C], in memory or read when indexed.
        labels: int64 [N] in [0, K), in the model's numbering of classes.
        ids: hash of the pixels of each.
        paths: where each was found; empty for synthetic images.
    """

    images: PixelRows
    labels: np.ndarray
    ids: list[str]
    paths: list[str]

    def __len__(self) -> int:
        return len(self.labels)


@contextmanager
def read_other_images(
    config: DataConfig, target: EvaluationTarget, executor: Executor
) -> Iterator[external.ExternalImages | None]:
    """Read the images of another data set for as long as the context lasts, without those that were trained on.

    They are staged in the evaluation's folder, from which they are deleted at the end, and read from there when
    indexed, in any process.

    Args:
        config: data section of the job; it says how the images of another data set are read.
        target: which images; those that ``target.home`` was trained on are left out.
        executor: reads the images in parallel.

    Yields:
        The images; None: the target is the experiment's own test images.

    Raises:
        UserError: no such source, or no usable image in it.
    """
    if target.data is None:
        yield None
        return
    splits = target.home.dataset.read_table("split.parquet", ["id", "split"]).to_pylist()
    train = {row["id"] for row in splits if row["split"] == "train"}
    staged = target.out / ".staged"
    try:
        yield external.read_images(config, target.data, target.record, staged.create(), executor, train)
    finally:
        staged.fs.delete_dir(staged.path)


def select_evaluation_images(
    target: EvaluationTarget, classifier: Classifier, other_images: external.ExternalImages | None
) -> tuple[EvaluationImages, experiment_dir.Record]:
    """Select the images of an evaluation: the experiment's test images, read into memory, or those of another data set.

    Args:
        target: which images.
        classifier: the model that will be evaluated.
        other_images: as ``read_other_images`` yields them.

    Returns:
        (the images, facts for the marker): ``data``, what they are; ``excluded_train_rows``, the number of images left
        out as trained on; ``rejected``, the number of unusable ones by reason.

    Raises:
        UserError: the images are of classes that the model does not know, or all were trained on.
    """
    if other_images is None:
        images = read_split(target.home, TEST_SPLIT, classifier)
        return images, {"data": TEST_SPLIT, "excluded_train_rows": 0, "rejected": {}}
    labels = _number_labels(other_images.labels, other_images.classes, classifier, f"--data {target.data}")
    if not len(labels):
        raise UserError(
            f"--data {target.data}: all {other_images.excluded} images were used to train the model; give others"
        )
    facts = {"data": target.data, "excluded_train_rows": other_images.excluded, "rejected": other_images.rejected}
    return EvaluationImages(other_images.images, labels, other_images.ids, other_images.paths), facts


def read_split(
    run: experiment_dir.Run, name: str, classifier: Classifier, max_rows: int | None = None
) -> EvaluationImages:
    """Read the images of a split of the experiment's data set into memory.

    Args:
        run: the split of the experiment (one of ``compare.splits``).
        name: ``train``, ``val`` or ``test``.
        classifier: the model whose size, channels and numbering of classes they get.
        max_rows: number of images that are read, from the first on; None: all.

    Raises:
        UserError: there are classes that the model does not know.
        FileNotFoundError: there are no such images.
    """
    return _read_images_for_model(run, run.dataset / name, classifier, max_rows)


def read_synthetic(run: experiment_dir.Run, classifier: Classifier) -> EvaluationImages | None:
    """Read an experiment's stored synthetic images into memory; None if there are none.

    Args:
        run: the split of the experiment (one of ``compare.splits``).
        classifier: the model whose size, channels and numbering of classes they get.

    Raises:
        UserError: there are classes that the model does not know.
    """
    if not experiment_dir.read_marker(run.choose_synthetic_folder(), "synthetic.json"):
        return None
    try:
        return _read_images_for_model(run, run.choose_synthetic_folder(), classifier)
    except FileNotFoundError:  # screening left none
        return None


def _read_images_for_model(
    run: experiment_dir.Run, folder: Folder, classifier: Classifier, max_rows: int | None = None
) -> EvaluationImages:
    """Read a store's images in the size and channels of a model, with labels in its numbering."""
    rows = image_store.read_images(folder, max_rows)
    classes = DatasetRecord.read(run.dataset).classes
    labels = _number_labels(rows.labels, classes, classifier, str(run.dataset))
    return EvaluationImages(_fit_to_model(rows.images, classifier), labels, rows.ids, rows.paths)


def _fit_to_model(images_NHWC: np.ndarray, classifier: Classifier) -> np.ndarray:
    """Images of another size or kind than the model's are brought to it by the model's own preprocessing."""
    size = classifier.spec.image_size
    if not len(images_NHWC) or images_NHWC.shape[1:] == (size, size, classifier.spec.channels):
        return images_NHWC
    return np.stack([classifier.preprocess(image) for image in images_NHWC])


def _number_labels(labels: np.ndarray, classes: Sequence[str], classifier: Classifier, where: str) -> np.ndarray:
    unknown = [classes[label] for label in np.unique(labels) if classes[label] not in classifier.classes]
    if unknown:
        raise UserError(
            f"{where}: found the classes {_join_first(unknown, 5)}, which the model does not know; it knows "
            f"{_join_first(classifier.classes, 10)}"
        )
    lookup = {name: number for number, name in enumerate(classifier.classes)}
    return np.array([lookup.get(name, -1) for name in classes], np.int64)[labels]


def _join_first(names: Sequence[str], max_names: int) -> str:
    text = ", ".join(names[:max_names])
    if len(names) > max_names:
        text += ", ..."
    return text
