"""What becomes of answers beside being given: a candidate's own, notes for the ledger, feedback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ganaug_ray.errors import UserError
from ganaug_ray.serve.feedback_client import Call, Courier
from ganaug_ray.serve.feedback_ledger import Note, Role
from ganaug_ray.serve.feedback_store import Shelf
from ganaug_ray.serve.image_input import Pixels
from ganaug_ray.serve.inference_queue import Answer, Images, Lane, OnBatch, count, size
from ganaug_ray.serve.live_model import Champion, Model
from ganaug_ray.serve.problem_details import Problem
from ganaug_ray.serve.rollout_config import Rollout, comparable

log = logging.getLogger(__name__)

MOST_WAITING = 256  # requests that the model behind has still to answer
MOST_BYTES = 50_000_000  # of their images


@dataclass(frozen=True)
class Candidate:
    """The candidate and how it is tried; ``model`` stands beside the champion, and is watched as that is."""

    rollout: Rollout
    model: Champion


class Trial:
    """Lets a candidate answer beside the champion, and takes down what both said.

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
        ledger: Call,
        candidate: Candidate | None = None,
        champion: Champion | None = None,
        shelf: Shelf | None = None,
        on_batch: Sequence[OnBatch] = (),
    ) -> None:
        self.shelf = shelf
        self.candidate = candidate
        self.courier = Courier(ledger)
        self._behind: set[asyncio.Task[None]] = set()
        self._bytes = 0
        if candidate is None:
            return
        assert champion is not None, "the candidate's champion"
        # Who is heard answers in time; of a canary's share, the champion too answers behind, apart from its other work.
        is_canary = candidate.rollout.mode == "canary"
        self._first_lane = Lane(candidate.model, on_batch)
        self._second_lane = Lane(champion if is_canary else candidate.model, stands_back=True)
        ours, theirs = champion.current.classifier.classes, candidate.model.current.classifier.classes
        if ours != theirs:
            odd = ", ".join(sorted(set(ours) ^ set(theirs))[:5])
            raise UserError(
                f"--{candidate.rollout.mode} {candidate.rollout.address}: has other classes than the champion ({odd})"
            )

    async def answer(self, id_: str, images: Images, champion: Lane) -> Answer:
        """Answer one request: by the champion, or as a canary by the candidate; the other one answers afterwards."""
        candidate = self.candidate
        if candidate is None or not candidate.rollout.takes(id_) or not self._suits(images, champion.champion.current):
            answer = await champion(images)
            self.courier.put(_notes(id_, answer, "champion", None))
            return answer
        if candidate.rollout.mode == "shadow":
            answer = await champion(images)
            self._follow(id_, images, answer, "champion")
            return answer
        try:
            answer = await self._first_lane(images)
        except Problem:
            raise
        except Exception:  # whatever ails the candidate, there is the champion
            log.exception("the candidate failed to answer")
            answer = await champion(images)
            self.courier.put(_notes(id_, answer, "champion", None))
            return answer
        self._follow(id_, images, answer, "candidate")
        return answer

    def _suits(self, images: Images, champion: Model) -> bool:
        assert self.candidate is not None
        candidate = self.candidate.model.current
        takes_pixels = not isinstance(images, Pixels) or candidate.shape == champion.shape
        return takes_pixels and comparable(champion, candidate)

    def _follow(self, id_: str, images: Images, answer: Answer, role: Role) -> None:
        """Let the other model answer too, when the caller has its answer; unless too much waits for that."""
        is_full = len(self._behind) >= MOST_WAITING or self._bytes + size(images) > MOST_BYTES
        self.courier.put(_notes(id_, answer, role, None), dropped=count(images) if is_full else 0)
        if is_full:
            return
        self._bytes += size(images)
        task = asyncio.get_running_loop().create_task(self._second(id_, images, answer, role))
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)

    async def _second(self, id_: str, images: Images, first: Answer, role: Role) -> None:
        try:
            second = await self._second_lane(images)
        except Exception as error:
            if not isinstance(error, Problem):  # which only says that the images do not suit that model
                log.exception("the model behind failed to answer")
            self.courier.put([], dropped=count(images))
            return
        finally:
            self._bytes -= size(images)
        versions = first.model.version, second.model.version
        pair = versions if role == "champion" else versions[::-1]
        other: Role = "candidate" if role == "champion" else "champion"
        self.courier.put(_notes(id_, second, other, pair))

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Ask the ledger."""
        return await self.courier.ask(method, *arguments)

    def close(self) -> None:
        """Let the threads end."""
        if self.candidate is not None:
            self._first_lane.close()
            self._second_lane.close()


def _notes(id_: str, answer: Answer, role: Role, pair: tuple[str, str] | None) -> list[Note]:
    version, took = answer.model.version, answer.milliseconds
    return [Note(f"{id_}-{i}", role, version, label, took, pair) for i, label in enumerate(answer.labels)]
