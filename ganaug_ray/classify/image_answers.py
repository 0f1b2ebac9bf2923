"""Classifies batches of image files: a row for each, even if it cannot be read; in this process or in any other."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from ganaug_ray.classify.image_files import IMAGE, OTHER_FILE, build_batch, describe_error, read_batches
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.arrow_arrays import build_float_array, build_struct_array, build_text_array
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images
from ganaug_ray.data.sources.raw import REMARK, SourcePart


@dataclass(frozen=True)
class PredictedImages:
    """The answers for all images of some sources.

    Attributes:
        table: a row an image: path, label, probability, probabilities (class -> probability), error, which is null
            where there is an answer and says why where there is none, and note, which is null where nothing of the
            file was left out or changed and otherwise says what, such as frames and scales.
        passed_over: files that are no images.
        remarks: what is to be known of the sources, a sentence each.
    """

    table: pa.Table
    passed_over: int = 0
    remarks: tuple[str, ...] = ()

    def count_notes(self) -> dict[str, int]:
        """Count the notes on images: note -> number, the most frequent first."""
        notes = pc.split_pattern(self.table["note"].drop_null(), images.NOTE_SEPARATOR)
        return dict(Counter(pc.list_flatten(notes).to_pylist()).most_common())


def predict_in_process(
    model: Folder, parts: Sequence[SourcePart], progress: Callable[[float, str], None]
) -> PredictedImages:
    """Classify images on the CPUs of this process: sooner than another process has started, where they are few.

    Args:
        model: a model folder.
        parts: as ``list_parts`` returns them.
        progress: called with a share of the work and a few words.

    Returns:
        A row an image, in the order of the parts; to the bit what ``batch_inference.predict_images`` gives on CPUs.

    Raises:
        UserError: there is no such model.
    """
    predictor = BatchPredictor(model, "cpu", len(os.sched_getaffinity(0)))
    batches = [batch for part in parts for batch in read_batches(part)]
    total = sum(map(len, batches))
    answered = 0

    def count(files: int) -> None:
        nonlocal answered
        answered += files
        progress(answered / total, f"{answered} of {total} images")

    return divide_answers(predictor.classes, [predictor(batch, count) for batch in batches])


class _OpenedImage(NamedTuple):
    pixels: np.ndarray = np.empty(0)  # as the network takes them; empty where there is an error
    error: str | None = None
    note: str | None = None


class BatchPredictor:
    """A model that classifies batches of image files.

    On the CPU its threads compute side by side, and torch has one in each of them: so the answers are the same to the
    bit however many there are.

    Args:
        model: a model folder.
        device: where it computes.
        threads: that decode, and on the CPU also compute.
    """

    def __init__(self, model: Folder, device: str, threads: int) -> None:
        if device == "cpu":
            torch.set_num_threads(1)
        self._classifier = Classifier.load(model, device)
        self._threads = ThreadPoolExecutor(threads)
        self._map_pieces = self._threads.map if device == "cpu" else map

    @property
    def classes(self) -> list[str]:
        """The classes of the model."""
        return self._classifier.classes

    def __call__(self, batch: pa.Table, notify: Callable[[int], None] = lambda files: None) -> pa.Table:
        """Classify a batch of READ_SCHEMA: a row of ``build_answers`` a file.

        Args:
            batch: files of all kinds.
            notify: called with numbers of files that have been dealt with, of all those in the batch together.
        """
        opened = list(self._threads.map(self._preprocess, batch["content"].to_pylist(), batch["error"].to_pylist()))
        errors = [result.error for result in opened]
        readable_rows = [row for row, error in enumerate(errors) if error is None]
        notify(len(opened) - len(readable_rows))
        size = self._classifier.network.batch_size
        pieces = [readable_rows[start : start + size] for start in range(0, len(readable_rows), size)]
        pixels = [np.stack([opened[row].pixels for row in rows]) for rows in pieces]
        probabilities: list[np.ndarray | None] = [None] * len(opened)
        for rows, predicted in zip(
            pieces, self._map_pieces(self._classifier.predict_probabilities, pixels), strict=True
        ):
            for row, class_probabilities in zip(rows, predicted, strict=True):
                probabilities[row] = class_probabilities
            notify(len(rows))
        return build_answers(self.classes, batch, probabilities, errors, [result.note for result in opened])

    def _preprocess(self, content: bytes | None, error: str | None) -> _OpenedImage:
        if content is None:
            return _OpenedImage(error=error or "empty")
        try:
            decoded = self._classifier.decode(content)
            pixels = self._classifier.preprocess(decoded.image)
        except images.UnreadableError as unreadable:
            return _OpenedImage(error=describe_error(unreadable))
        return _OpenedImage(pixels, note=images.NOTE_SEPARATOR.join(decoded.notes) or None)


def build_answers(
    classes: list[str],
    batch: pa.Table,
    probabilities: list[np.ndarray | None],
    errors: list[str | None],
    notes: Sequence[str | None] = (),
) -> pa.Table:
    """Return the answers for a batch of READ_SCHEMA, with its kinds."""
    present_N = np.array([row is not None for row in probabilities], bool)
    probabilities_NK = np.zeros((len(probabilities), len(classes)), np.float32)
    for row, probabilities_K in enumerate(probabilities):
        if probabilities_K is not None:
            probabilities_NK[row] = probabilities_K
    labels = [
        classes[row.argmax()] if present else None for row, present in zip(probabilities_NK, present_N, strict=True)
    ]
    return pa.table(
        {
            "kind": batch["kind"],
            "path": batch["path"],
            "label": build_text_array(labels),
            "probability": build_float_array(probabilities_NK.max(1), present_N),
            "probabilities": build_struct_array(classes, probabilities_NK, present_N),
            "error": build_text_array(errors),
            "note": build_text_array(list(notes) or [None] * len(errors)),
        }
    )


def divide_answers(classes: list[str], tables: Sequence[pa.Table]) -> PredictedImages:
    """Divide the answers for all batches into those of images, remarks, and files that are no images."""
    answers = pa.concat_tables([build_answers(classes, build_batch([]), [], []), *tables])
    remarks = _select_kind(answers, REMARK)["error"].to_pylist()
    passed_over = len(_select_kind(answers, OTHER_FILE))
    table = _select_kind(answers, IMAGE).drop_columns(["kind"])
    return PredictedImages(table, passed_over, tuple(dict.fromkeys(remarks)))


def _select_kind(answers: pa.Table, kind: str) -> pa.Table:
    return answers.filter(pc.is_in(answers["kind"], value_set=build_text_array([kind])))
