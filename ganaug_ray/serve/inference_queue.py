"""One model's queue of requests: they are batched, and each batch is answered by one version."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ganaug_ray.serve.batching import Batcher
from ganaug_ray.serve.image_input import RequestImage, RequestPixels
from ganaug_ray.serve.live_model import LiveModel, ModelVersion
from ganaug_ray.serve.problem_details import ProblemError

logger = logging.getLogger(__name__)

MAX_BATCH_IMAGES = 64  # images of a batch
RequestImages = Sequence[RequestImage] | RequestPixels


@dataclass(frozen=True)
class Answer:
    """One model's answer about the images of one request.

    Attributes:
        model: the one that answered.
        probabilities_NK: float32 [N, K].
        milliseconds: that the network took for an image of the batch, in its own thread.
        id: of the request.
    """

    model: ModelVersion
    probabilities_NK: np.ndarray
    milliseconds: float
    id: str = ""

    @property
    def labels(self) -> list[str]:
        """The likeliest class of each image."""
        return [self.model.classifier.classes[k] for k in self.probabilities_NK.argmax(1)]


BatchCallback = Callable[[ModelVersion, np.ndarray, np.ndarray], None]
"""Told of every batch, in its thread: the model, its images uint8 [N, H, W, C], its probabilities float32 [N, K]."""


class InferenceQueue:
    """Batches requests, and answers each batch by the current version of a model.

    Args:
        champion: whose current model is taken once a batch.
        on_batch: told of every batch when it is answered.
        threads: batches at a time; each decodes its images and runs the network.
        is_low_priority: whether its threads let others of this machine go first, where the system can do that.
    """

    def __init__(
        self,
        champion: LiveModel,
        on_batch: Sequence[BatchCallback] = (),
        threads: int = 1,
        is_low_priority: bool = False,
    ) -> None:
        self.champion = champion
        self._on_batch = on_batch
        self._lowers_priority = is_low_priority and sys.platform.startswith("linux")
        self._batcher: Batcher[RequestImages, Answer] = Batcher(self._answer_batch, MAX_BATCH_IMAGES, threads)

    def __call__(self, images: RequestImages) -> Awaitable[Answer]:
        """Return the answer to one request's images, on the event loop; raises ProblemError if one cannot be used."""
        return self._batcher(images, count_images(images))

    def shut_down(self) -> None:
        """Stop the threads, and stop watching for new versions."""
        self.champion.stop_watching()
        self._batcher.shut_down()

    def _answer_batch(self, batch: Sequence[RequestImages]) -> list[Answer | Exception]:
        if self._lowers_priority:  # of this thread alone: Linux counts niceness by thread
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        model = self.champion.current
        rows = [np.zeros((0, *model.shape), np.uint8)]
        results: list[int | Exception] = []  # of each request: how many rows are its own, or why it has none
        for images in batch:
            try:
                rows.append(_prepare_pixels(images, model))
                results.append(len(rows[-1]))
            except ProblemError as problem:
                results.append(problem)
        images_NHWC = np.concatenate(rows)
        clock = time.thread_time if model.classifier.device.type == "cpu" else time.perf_counter
        started = clock()
        probabilities_NK = model.predict_probabilities(images_NHWC)
        milliseconds = 1000 * (clock() - started) / max(len(images_NHWC), 1)
        for callback in self._on_batch:
            try:
                callback(model, images_NHWC, probabilities_NK)
            except Exception:  # who only watches must not cost the callers their answers
                logger.exception("a batch could not be recorded")
        row = 0
        answers: list[Answer | Exception] = []
        for result in results:
            if isinstance(result, Exception):
                answers.append(result)
            else:
                answers.append(Answer(model, probabilities_NK[row : row + result], milliseconds))
                row += result
        return answers


def _prepare_pixels(images: RequestImages, model: ModelVersion) -> np.ndarray:
    """One request's images as the model takes them, uint8 [N, H, W, C]. Raises ProblemError where one is of no use."""
    if isinstance(images, RequestPixels):
        return images.check_pixels(model)
    return np.stack([image.decode_pixels(model) for image in images])


def count_images(images: RequestImages) -> int:
    """Return the number of images of a request."""
    if isinstance(images, RequestPixels):
        return len(images.images_NHWC)
    return len(images)


def count_bytes(images: RequestImages) -> int:
    """Return the number of bytes of a request's images."""
    if isinstance(images, RequestPixels):
        return images.images_NHWC.nbytes
    return sum(len(image.content) for image in images)
