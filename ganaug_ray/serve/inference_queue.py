"""One model's way from requests to answers: batched, and each batch by one version."""

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
from ganaug_ray.serve.image_input import Picture, Pixels
from ganaug_ray.serve.live_model import Champion, Model
from ganaug_ray.serve.problem_details import Problem

log = logging.getLogger(__name__)

MOST = 64  # images of a batch
Images = Sequence[Picture] | Pixels


@dataclass(frozen=True)
class Answer:
    """What one model says of one request's images.

    Attributes:
        model: the one that answered.
        probabilities_NK: float32 [N, K].
        milliseconds: that the network took for an image of the batch, in its own thread.
        id: of the request.
    """

    model: Model
    probabilities_NK: np.ndarray
    milliseconds: float
    id: str = ""

    @property
    def labels(self) -> list[str]:
        """The likeliest class of each image."""
        return [self.model.classifier.classes[k] for k in self.probabilities_NK.argmax(1)]


OnBatch = Callable[[Model, np.ndarray, np.ndarray], None]
"""Told of every batch, in its thread: the model, its images uint8 [N, H, W, C], its probabilities float32 [N, K]."""


class Lane:
    """Answers from the current model of a champion or candidate.

    Args:
        champion: whose current model is taken once a batch.
        on_batch: told of every batch when it is answered.
        threads: batches at a time; each decodes its images and runs the network.
        stands_back: whether its threads let others of this machine go first, where the system can do that.
    """

    def __init__(
        self, champion: Champion, on_batch: Sequence[OnBatch] = (), threads: int = 1, stands_back: bool = False
    ) -> None:
        self.champion = champion
        self._on_batch = on_batch
        self._stands_back = stands_back and sys.platform.startswith("linux")
        self._batcher: Batcher[Images, Answer] = Batcher(self._work, MOST, threads)

    def __call__(self, images: Images) -> Awaitable[Answer]:
        """Return the answer to one request's images; on the event loop. Problem is raised where one is of no use."""
        return self._batcher(images, count(images))

    def close(self) -> None:
        """Let the threads end."""
        self.champion.close()
        self._batcher.close()

    def _work(self, batch: Sequence[Images]) -> list[Answer | Exception]:
        if self._stands_back:  # of this thread alone: Linux counts niceness by thread
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        model = self.champion.current
        rows: list[np.ndarray] = []
        results: list[int | Exception] = []  # of each request: how many rows are its own, or why it has none
        for job in batch:
            try:
                own = job.pixels(model) if isinstance(job, Pixels) else np.stack([one.pixels(model) for one in job])
            except Problem as problem:
                results.append(problem)
            else:
                rows.append(own)
                results.append(len(own))
        images_NHWC = np.concatenate(rows) if rows else np.zeros((0, *model.shape), np.uint8)
        clock = time.thread_time if model.classifier.device.type == "cpu" else time.perf_counter
        started = clock()
        probabilities_NK = model.probabilities(images_NHWC)
        each = 1000 * (clock() - started) / max(len(images_NHWC), 1)
        for told in self._on_batch:
            try:
                told(model, images_NHWC, probabilities_NK)
            except Exception:  # who only watches must not cost the callers their answers
                log.exception("a batch could not be told of")
        upto, answers = 0, list[Answer | Exception]()
        for result in results:
            if isinstance(result, Exception):
                answers.append(result)
            else:
                answers.append(Answer(model, probabilities_NK[upto : upto + result], each))
                upto += result
        return answers


def count(images: Images) -> int:
    """How many images there are."""
    return len(images.images_NHWC) if isinstance(images, Pixels) else len(images)


def size(images: Images) -> int:
    """How many bytes they take."""
    return images.images_NHWC.nbytes if isinstance(images, Pixels) else sum(len(one.content) for one in images)
