"""What the routes ask for: answers of one version, batched with those of other requests."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from ganaug_ray.classify import explain
from ganaug_ray.data import images
from ganaug_ray.serve.image_input import Picture, Pixels
from ganaug_ray.serve.inference_queue import Answer, Images, Lane, OnBatch
from ganaug_ray.serve.limits import Limits
from ganaug_ray.serve.live_model import Champion, Model
from ganaug_ray.serve.problem_details import Problem
from ganaug_ray.serve.traffic import Trial

log = logging.getLogger(__name__)

HEAT_SIDE = 256  # pixels of a heat map at least


class Service:
    """Answers from the current champion; in a trial, for a share of the requests from a candidate.

    Args:
        champion: whose current model is taken once a batch.
        limits: of what is asked.
        on_batch: told of every batch of the champion's when it is answered.
        threads: batches at a time; each decodes its images and runs the network.
        trial: what else becomes of answers: a candidate, a ledger, stored feedback.
    """

    def __init__(
        self,
        champion: Champion,
        limits: Limits,
        on_batch: Sequence[OnBatch] = (),
        threads: int = 1,
        trial: Trial | None = None,
    ) -> None:
        self.champion = champion
        self.limits = limits
        self.trial = trial
        self._lane = Lane(champion, on_batch, threads)
        self._decoders = ThreadPoolExecutor(2, "decode")
        self._explainer = ThreadPoolExecutor(1, "explain")

    async def classify(self, pictures: Sequence[Picture]) -> Answer:
        """Classify the images of one request. Raises Problem where one of them cannot be used."""
        large = [picture for picture in pictures if not picture.is_small]
        if large:
            await self._decode(large)
        return await self._answer(pictures)

    async def classify_pixels(self, pixels: Pixels, by_champion: bool = False) -> Answer:
        """Classify images that came as pixels. Raises Problem where they are not as the model takes them.

        Args:
            pixels: the images.
            by_champion: and by no candidate.
        """
        return await (self._lane(pixels) if by_champion else self._answer(pixels))

    async def _answer(self, images: Images) -> Answer:
        id_ = secrets.token_hex(16)
        if self.trial is None:
            answer = await self._lane(images)
        else:
            answer = await self.trial.answer(id_, images, self._lane)
        return replace(answer, id=id_)

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
        self._lane.close()
        if self.trial is not None:
            self.trial.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._explainer.shutdown(wait=False, cancel_futures=True)

    async def _decode(self, pictures: Sequence[Picture]) -> None:
        loop, model = asyncio.get_running_loop(), self.champion.current
        await asyncio.gather(*(loop.run_in_executor(self._decoders, picture.pixels, model) for picture in pictures))

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
