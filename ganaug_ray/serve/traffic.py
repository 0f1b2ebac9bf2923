"""What happens to answers besides sending them: a candidate's answers, notes for the ledger, feedback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ganaug_ray.serve.feedback_client import LedgerCall, LedgerClient
from ganaug_ray.serve.feedback_ledger import ModelNote, Role
from ganaug_ray.serve.feedback_store import FeedbackStore
from ganaug_ray.serve.image_input import RequestPixels
from ganaug_ray.serve.inference_queue import (
    Answer,
    BatchCallback,
    InferenceQueue,
    RequestImages,
    count_bytes,
    count_images,
)
from ganaug_ray.serve.live_model import LiveModel, ModelVersion
from ganaug_ray.serve.problem_details import ProblemError
from ganaug_ray.serve.rollout_config import Rollout, is_comparable

logger = logging.getLogger(__name__)

MAX_WAITING_REQUESTS = 256  # requests that the model behind has still to answer
MAX_WAITING_BYTES = 50_000_000  # of their images


@dataclass(frozen=True)
class Candidate:
    """The candidate of a rollout and its settings; ``model`` is loaded beside the champion and watched alike."""

    rollout: Rollout
    model: LiveModel


class RolloutTrial:
    """Lets a candidate answer beside the champion, and notes the answers of both.

    Args:
        ledger: where that is taken down.
        candidate: absent: answers are only remembered until feedback comes.
        champion: the candidate's.
        shelf: where images with feedback are stored; absent: nowhere.
        on_batch: told of every batch of a canary's, as ``Service`` tells of the champion's; of those that nobody hears,
            nobody is told.

    Raises:
        UserError: candidate and champion have other classes.
    """

    def __init__(
        self,
        ledger: LedgerCall,
        candidate: Candidate | None = None,
        champion: LiveModel | None = None,
        shelf: FeedbackStore | None = None,
        on_batch: Sequence[BatchCallback] = (),
    ) -> None:
        self.shelf = shelf
        self.candidate = candidate
        self.courier = LedgerClient(ledger)
        self._behind: set[asyncio.Task[None]] = set()
        self._bytes = 0
        if candidate is None:
            return
        assert champion is not None, "the candidate's champion"
        # Who is heard answers in time; of a canary's share, the champion too answers behind, apart from its other work.
        is_canary = candidate.rollout.mode == "canary"
        self._first_lane = InferenceQueue(candidate.model, on_batch)
        second_model = champion if is_canary else candidate.model
        self._second_lane = InferenceQueue(second_model, is_low_priority=True)
        champion_classes = champion.current.classifier.classes
        candidate_classes = candidate.model.current.classifier.classes
        candidate.rollout.refuse_other_classes(champion_classes, candidate_classes)

    async def answer_request(self, id_: str, images: RequestImages, champion: InferenceQueue) -> Answer:
        """Answer one request by the champion, or as a canary by the candidate; the other model answers later."""
        candidate = self.candidate
        if (
            candidate is None
            or not candidate.rollout.is_sampled(id_)
            or not self._is_suitable(images, champion.champion.current)
        ):
            answer = await champion(images)
            self.courier.send_notes(_make_notes(id_, answer, "champion", None))
            return answer
        if candidate.rollout.mode == "shadow":
            answer = await champion(images)
            self._start_second_answer(id_, images, answer, "champion")
            return answer
        try:
            answer = await self._first_lane(images)
        except ProblemError:
            raise
        except Exception:  # whatever ails the candidate, there is the champion
            logger.exception("the candidate failed to answer")
            answer = await champion(images)
            self.courier.send_notes(_make_notes(id_, answer, "champion", None))
            return answer
        self._start_second_answer(id_, images, answer, "candidate")
        return answer

    def _is_suitable(self, images: RequestImages, champion: ModelVersion) -> bool:
        assert self.candidate is not None
        candidate = self.candidate.model.current
        takes_pixels = not isinstance(images, RequestPixels) or candidate.shape == champion.shape
        return takes_pixels and is_comparable(champion, candidate)

    def _start_second_answer(self, id_: str, images: RequestImages, answer: Answer, role: Role) -> None:
        """Let the other model answer too, when the caller has its answer; unless too much waits for that."""
        notes = _make_notes(id_, answer, role, None)
        if len(self._behind) >= MAX_WAITING_REQUESTS or self._bytes + count_bytes(images) > MAX_WAITING_BYTES:
            self.courier.send_notes(notes, dropped=count_images(images))
            return
        self.courier.send_notes(notes)
        self._bytes += count_bytes(images)
        task = asyncio.get_running_loop().create_task(self._answer_second(id_, images, answer, role))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _answer_second(self, id_: str, images: RequestImages, first: Answer, role: Role) -> None:
        """Have the other model answer too and send its notes; ``role`` is that of ``first``."""
        try:
            second = await self._second_lane(images)
        except Exception as error:
            if not isinstance(error, ProblemError):  # which only says that the images do not suit that model
                logger.exception("the model behind failed to answer")
            self.courier.send_notes([], dropped=count_images(images))
            return
        finally:
            self._bytes -= count_bytes(images)
        other_role: Role = "candidate"
        pair = (first.model.version, second.model.version)
        if role == "candidate":
            other_role = "champion"
            pair = (second.model.version, first.model.version)
        self.courier.send_notes(_make_notes(id_, second, other_role, pair))

    async def call_ledger(self, method: str, *arguments: Any) -> Any:
        """Call a method of the ledger."""
        return await self.courier.call_ledger(method, *arguments)

    def shut_down(self) -> None:
        """Stop the threads of both queues."""
        if self.candidate is not None:
            self._first_lane.shut_down()
            self._second_lane.shut_down()


def _make_notes(id_: str, answer: Answer, role: Role, pair: tuple[str, str] | None) -> list[ModelNote]:
    notes = []
    for number, label in enumerate(answer.labels):
        notes.append(ModelNote(f"{id_}-{number}", role, answer.model.version, label, answer.milliseconds, pair))
    return notes
