"""Dynamic batching: the requests that arrive while the model works become its next batch.

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

HOLD_BACK_SHARE = 1 / 16  # of the time that the last batch took
MIN_HOLD_BACK_S = 0.001  # seconds; asyncio's timers are no finer

Job = TypeVar("Job")
Result = TypeVar("Result")


class Batcher(Generic[Job, Result]):
    """Collects jobs of many requests into batches, which are done in threads off the event loop.

    Args:
        work: what is done with a batch, in a thread; returns each job's result or exception, in order.
        max_size: of a batch, in the units of ``size``; a single job may be larger.
        threads: batches that are worked on at a time.
    """

    def __init__(
        self, work: Callable[[Sequence[Job]], Sequence[Result | Exception]], max_size: int, threads: int = 1
    ) -> None:
        self._work = work
        self._max_size = max_size
        self._free = threads
        self._threads = ThreadPoolExecutor(threads, "batch")
        self._waiting: deque[tuple[Job, int, asyncio.Future[Result]]] = deque()
        self._sizes = 0  # of all that wait
        self._planned: asyncio.Handle | None = None
        self._soon = False  # it is planned for the next turn of the loop
        self._held = 0.0  # seconds, the next batch

    def __call__(self, job: Job, size: int = 1) -> Awaitable[Result]:
        """Add a job and return its result to be awaited; an exception that ``work`` returned is raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((job, size, future))
        self._sizes += size
        self._plan_start(loop)
        return future

    def _plan_start(self, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that what waits is started: next turn of the loop, or when it was held back long enough."""
        if not self._free or not self._waiting:
            return
        soon = self._held < MIN_HOLD_BACK_S or self._sizes >= self._max_size
        if self._planned is not None:
            if self._soon or not soon:
                return
            self._planned.cancel()
        # Never at once: requests that this turn of the loop has still to read are taken along.
        self._soon = soon
        start = partial(self._start_batches, loop)
        self._planned = loop.call_soon(start) if soon else loop.call_later(self._held, start)

    def _start_batches(self, loop: asyncio.AbstractEventLoop) -> None:
        self._planned = None
        while self._free and (batch := self._take_batch()):
            self._free -= 1
            running = self._threads.submit(self._work, [job for job, _ in batch])
            finish = partial(self._finish_batch, loop, [future for _, future in batch], time.monotonic())
            running.add_done_callback(partial(loop.call_soon_threadsafe, finish))

    def _take_batch(self) -> list[tuple[Job, asyncio.Future[Result]]]:
        batch: list[tuple[Job, asyncio.Future[Result]]] = []
        total = 0
        while self._waiting and (not batch or total + self._waiting[0][1] <= self._max_size):
            job, size, future = self._waiting.popleft()
            self._sizes -= size
            if not future.done():  # its caller may have gone
                batch.append((job, future))
                total += size
        return batch

    def _finish_batch(
        self,
        loop: asyncio.AbstractEventLoop,
        futures: Sequence[asyncio.Future[Result]],
        started: float,
        finished: Future[Sequence[Result | Exception]],
    ) -> None:
        self._free += 1
        self._held = HOLD_BACK_SHARE * (time.monotonic() - started) if len(futures) > 1 else 0.0
        error = finished.exception()
        results = [error] * len(futures) if error is not None else finished.result()
        for future, result in zip(futures, results, strict=True):
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._plan_start(loop)

    def shut_down(self) -> None:
        """Stop the threads without waiting for jobs."""
        self._threads.shutdown(wait=False, cancel_futures=True)
