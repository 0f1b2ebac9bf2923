"""Sends notes on answers to the ledger in the background, several together, one delivery at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ganaug_ray.serve.feedback_ledger import FeedbackLedger, ModelNote

logger = logging.getLogger(__name__)

MAX_WAITING_NOTES = 10_000  # notes that wait

LedgerCall = Callable[..., Awaitable[Any]]
"""Calls the ledger, wherever it is: the name of its method, and the arguments."""


def call_locally(ledger: FeedbackLedger) -> LedgerCall:
    """Return a function that calls a ledger in this process."""

    async def call(method: str, *arguments: Any) -> Any:
        return getattr(ledger, method)(*arguments)

    return call


class LedgerClient:
    """Sends notes to a ledger in the background, on the event loop.

    Args:
        call: the ledger.
    """

    def __init__(self, call: LedgerCall) -> None:
        self._call = call
        self._notes: list[ModelNote] = []
        self._dropped = 0
        self._delivery: asyncio.Task[None] | None = None

    def send_notes(self, notes: Sequence[ModelNote], dropped: int = 0) -> None:
        """Queue notes and a number of dropped images; notes beyond 10,000 waiting ones are dropped, too."""
        room = MAX_WAITING_NOTES - len(self._notes)
        self._notes += notes[: max(room, 0)]
        self._dropped += dropped + max(len(notes) - room, 0)
        if self._delivery is None:
            self._delivery = asyncio.get_running_loop().create_task(self._deliver_notes())

    async def call_ledger(self, method: str, *arguments: Any) -> Any:
        """Call a method of the ledger, after all notes so far are delivered."""
        if self._delivery is not None:
            await asyncio.shield(self._delivery)
        return await self._call(method, *arguments)

    async def _deliver_notes(self) -> None:
        try:
            while self._notes or self._dropped:
                notes = self._notes
                dropped = self._dropped
                self._notes = []
                self._dropped = 0
                await self._call("note", notes, dropped)
        except Exception:  # the ledger may be gone for a while; answers do not depend on it
            logger.exception("records of answers could not be delivered")
        finally:
            self._delivery = None
