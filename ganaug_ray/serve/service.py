"""The service behind the routes: answers of one version, batched with those of other requests."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from ganaug_ray.classify import explain
from ganaug_ray.data import images
from ganaug_ray.serve.image_input import RequestImage, RequestPixels
from ganaug_ray.serve.inference_queue import Answer, BatchCallback, InferenceQueue, RequestImages
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel, ModelVersion
from ganaug_ray.serve.problem_details import ProblemError
from ganaug_ray.serve.traffic import RolloutTrial

MIN_HEAT_MAP_SIDE_PX = 256  # pixels of a heat map at least


class Service:
    """Answers requests by the current champion or, in a rollout, a share of them by a candidate.

    Args:
        champion: whose current model is taken once a batch.
        limits: of what is asked.
        on_batch: told of every batch of the champion's when it is answered.
        threads: batches at a time; each decodes its images and runs the network.
        trial: what else becomes of answers: a candidate, a ledger, stored feedback.
    """

    def __init__(
        self,
        champion: LiveModel,
        limits: RequestLimits,
        on_batch: Sequence[BatchCallback] = (),
        threads: int = 1,
        trial: RolloutTrial | None = None,
    ) -> None:
        self.champion = champion
        self.limits = limits
        self.trial = trial
        self._lane = InferenceQueue(champion, on_batch, threads)
        self._decoders = ThreadPoolExecutor(2, "decode")
        self._explainer = ThreadPoolExecutor(1, "explain")

    async def classify_images(self, pictures: Sequence[RequestImage]) -> Answer:
        """Classify the images of one request. Raises ProblemError where one of them cannot be used."""
        large = [picture for picture in pictures if not picture.is_small]
        if large:
            await self._decode_images(large)
        return await self._answer_request(pictures)

    async def classify_pixels(self, pixels: RequestPixels, by_champion: bool = False) -> Answer:
        """Classify images that came as pixels. Raises ProblemError where they are not as the model takes them.

        Args:
            pixels: the images.
            by_champion: and by no candidate.
        """
        if by_champion:
            return await self._lane(pixels)
        return await self._answer_request(pixels)

    async def _answer_request(self, images: RequestImages) -> Answer:
        id_ = secrets.token_hex(16)
        if self.trial is None:
            answer = await self._lane(images)
        else:
            answer = await self.trial.answer_request(id_, images, self._lane)
        return replace(answer, id=id_)

    async def explain_image(self, picture: RequestImage, label: str | None) -> tuple[ModelVersion, str, bytes]:
        """Return (model, class, PNG): the heat map of what speaks for that class, over the image.

        Args:
            picture: the image.
            label: the class that is asked about; absent: the likeliest one.

        Raises:
            ProblemError: the image cannot be used, or there is no such class.
        """
        return await asyncio.get_running_loop().run_in_executor(self._explainer, self._explain_image, picture, label)

    def shut_down(self) -> None:
        """Stop all threads."""
        self._lane.shut_down()
        if self.trial is not None:
            self.trial.shut_down()
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._explainer.shutdown(wait=False, cancel_futures=True)

    async def _decode_images(self, pictures: Sequence[RequestImage]) -> None:
        loop = asyncio.get_running_loop()
        model = self.champion.current
        decodings = [loop.run_in_executor(self._decoders, picture.decode_pixels, model) for picture in pictures]
        await asyncio.gather(*decodings)

    def _explain_image(self, picture: RequestImage, label: str | None) -> tuple[ModelVersion, str, bytes]:
        model = self.champion.current
        classes = model.classifier.classes
        if label is not None and label not in classes:
            raise ProblemError(400, f"class: there is no class {label[:100]!r}; GET /v1/model lists them")
        image_NHWC = picture.decode_pixels(model)[None]
        if label is None:
            label = classes[model.predict_probabilities(image_NHWC)[0].argmax()]
        asked_classes = np.array([classes.index(label)])
        (heat_HW,) = explain.compute_heat_maps(model.classifier.network, image_NHWC, asked_classes)
        side = max(MIN_HEAT_MAP_SIDE_PX, model.shape[0])
        overlaid = images.from_array(explain.overlay_heat_map(image_NHWC[0], heat_HW))
        return model, label, images.to_png(np.asarray(overlaid.resize((side, side))))
