"""Dynamic batching: what waits while the model works is its next batch.

``serve.batch`` fixes a batch when its time is up, before the one ahead of it is done; with work in a thread and no time
to wait, that gives batches of one under load. Here a batch is fixed when a thread is free to take it: the busier it
gets the larger batches are, and a lone caller waits for nobody.

Callers who were answered together ask again together, a moment later. Without that moment the first of them goes alone
and the others wait for it. So after a batch of several the next one is held back for a small share of its time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

HELD_BACK = 1 / 16  # of the time that the last batch took
LEAST_HELD = 0.001  # seconds; asyncio's timers are no finer

Job = TypeVar("Job")
Result = TypeVar("Result")


class Batcher(Generic[Job, Result]):
    """Jobs of many requests, done together off the event loop.

    Args:
        work: what is done with a batch, in a thread; returns each job's result or exception, in order.
        most: of a batch, in the units of ``size``; a single job may be larger.
        threads: batches that are worked on at a time.
    """

    def __init__(
        self, work: Callable[[Sequence[Job]], Sequence[Result | Exception]], most: int, threads: int = 1
    ) -> None:
        self._work = work
        self._most = most
        self._free = threads
        self._threads = ThreadPoolExecutor(threads, "batch")
        self._waiting: deque[tuple[Job, int, asyncio.Future[Result]]] = deque()
        self._sizes = 0  # of all that wait
        self._planned: asyncio.Handle | None = None
        self._soon = False  # it is planned for the next turn of the loop
        self._held = 0.0  # seconds, the next batch

    def __call__(self, job: Job, size: int = 1) -> Awaitable[Result]:
        """Return what becomes of a job; on the event loop. An exception that ``work`` returned for it is raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((job, size, future))
        self._sizes += size
        self._plan(loop)
        return future

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that what waits is started: next turn of the loop, or when it was held back long enough."""
        if not self._free or not self._waiting:
            return
        soon = self._held < LEAST_HELD or self._sizes >= self._most
        if self._planned is not None:
            if self._soon or not soon:
                return
            self._planned.cancel()
        # Never at once: requests that this turn of the loop has still to read are taken along.
        self._soon = soon
        start = partial(self._start, loop)
        self._planned = loop.call_soon(start) if soon else loop.call_later(self._held, start)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._planned = None
        while self._free and (batch := self._take()):
            self._free -= 1
            done = self._threads.submit(self._work, [job for job, _ in batch])
            finish = partial(self._finish, loop, [future for _, future in batch], time.monotonic())
            done.add_done_callback(partial(loop.call_soon_threadsafe, finish))

    def _take(self) -> list[tuple[Job, asyncio.Future[Result]]]:
        batch: list[tuple[Job, asyncio.Future[Result]]] = []
        total = 0
        while self._waiting and (not batch or total + self._waiting[0][1] <= self._most):
            job, size, future = self._waiting.popleft()
            self._sizes -= size
            if not future.done():  # its caller may have gone
                batch.append((job, future))
                total += size
        return batch

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        futures: Sequence[asyncio.Future[Result]],
        started: float,
        done: Future[Sequence[Result | Exception]],
    ) -> None:
        self._free += 1
        self._held = HELD_BACK * (time.monotonic() - started) if len(futures) > 1 else 0.0
        error = done.exception()
        results = [error] * len(futures) if error is not None else done.result()
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._plan(loop)

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
