"""What the routes ask for: answers of one version, batched with those of other requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ganaug_ray.classify import explain
from ganaug_ray.data import images
from ganaug_ray.serve.batching import Batcher
from ganaug_ray.serve.champion import Champion, Model
from ganaug_ray.serve.limits import Limits
from ganaug_ray.serve.pictures import Picture, Pixels
from ganaug_ray.serve.problems import Problem

log = logging.getLogger(__name__)

MOST = 64  # images of a batch
HEAT_SIDE = 256  # pixels of a heat map at least


@dataclass(frozen=True)
class Answer:
    """The probabilities of one request's images, float32 [N, K], and the one model that gave them."""

    model: Model
    probabilities_NK: np.ndarray

    @property
    def labels(self) -> list[str]:
        """The likeliest class of each image."""
        return [self.model.classifier.classes[k] for k in self.probabilities_NK.argmax(1)]


OnBatch = Callable[[Model, np.ndarray, np.ndarray], None]
"""Told of every batch, in its thread: the model, its images uint8 [N, H, W, C], its probabilities float32 [N, K]."""


class Service:
    """Answers from the current champion.

    Args:
        champion: whose current model is taken once a batch.
        limits: of what is asked.
        on_batch: told of every batch when it is answered.
        threads: batches at a time; each decodes its images and runs the network.
    """

    def __init__(self, champion: Champion, limits: Limits, on_batch: Sequence[OnBatch] = (), threads: int = 1) -> None:
        self.champion = champion
        self.limits = limits
        self._on_batch = on_batch
        self._batcher: Batcher[Sequence[Picture] | Pixels, Answer] = Batcher(self._work, MOST, threads)
        self._decoders = ThreadPoolExecutor(2, "decode")
        self._explainer = ThreadPoolExecutor(1, "explain")

    async def classify(self, pictures: Sequence[Picture]) -> Answer:
        """Classify the images of one request. Raises Problem where one of them cannot be used."""
        large = [picture for picture in pictures if not picture.is_small]
        if large:
            await self._decode(large)
        return await self._batcher(pictures, len(pictures))

    async def classify_pixels(self, pixels: Pixels) -> Answer:
        """Classify images that came as pixels. Raises Problem where they are not as the model takes them."""
        return await self._batcher(pixels, len(pixels.images_NHWC))

    async def explain(self, picture: Picture, label: str | None) -> tuple[Model, str, bytes]:
        """Return the model, the class that is explained, and a PNG: what speaks for that class, over the image.

        Args:
            picture: the image.
            label: the class that is asked about; absent: the likeliest one.

        Raises:
            Problem: the image cannot be used, or there is no such class.
        """
        return await asyncio.get_running_loop().run_in_executor(self._explainer, self._explain, picture, label)

    def close(self) -> None:
        """Let the threads end."""
        self.champion.close()
        self._batcher.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._explainer.shutdown(wait=False, cancel_futures=True)

    async def _decode(self, pictures: Sequence[Picture]) -> None:
        loop, model = asyncio.get_running_loop(), self.champion.current
        await asyncio.gather(*(loop.run_in_executor(self._decoders, picture.pixels, model) for picture in pictures))

    def _work(self, batch: Sequence[Sequence[Picture] | Pixels]) -> list[Answer | Exception]:
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
        probabilities_NK = model.probabilities(images_NHWC)
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
                answers.append(Answer(model, probabilities_NK[upto : upto + result]))
                upto += result
        return answers

    def _explain(self, picture: Picture, label: str | None) -> tuple[Model, str, bytes]:
        model = self.champion.current
        classes = model.classifier.classes
        if label is not None and label not in classes:
            raise Problem(400, f"class: there is no class {label[:100]!r}; GET /v1/model lists them")
        image_NHWC = picture.pixels(model)[None]
        k = int(model.probabilities(image_NHWC)[0].argmax()) if label is None else classes.index(label)
        (heat_HW,) = explain.heat_maps(model.classifier.network, image_NHWC, np.array([k]))
        side = max(HEAT_SIDE, model.shape[0])
        laid = images.from_array(explain.overlay(image_NHWC[0], heat_HW))
        return model, classes[k], images.to_png(np.asarray(laid.resize((side, side))))
