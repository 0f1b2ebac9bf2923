"""Calls a function on many items in parallel, in processes of this machine; ``ray_data`` does it on a cluster.

Both give the results in the order of the items, hold few of them at a time, and pass errors on as they are.
"""

import multiprocessing
import multiprocessing.context
import os
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, Protocol, TypeVar

from ganaug_ray.core.wording import get_last_line
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime import hardware
from ganaug_ray.runtime.resources import StageResources

MAX_SERIAL_ITEMS = 4  # so few are done sooner in this process than another one starts
QUEUED_ITEMS_PER_WORKER = 4  # that wait for a worker, so that it never waits for the next

T = TypeVar("T")
R = TypeVar("R")


class Executor(Protocol):
    """A function that calls another one on each item of a sequence; both, items and results must be picklable."""

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield the results, in the order of the items."""


class DeviceExecutor(Protocol):
    """Calls a function on each item of a sequence, in processes that build it once each, for the device they have."""

    def __call__(self, build: Callable[[str], Callable[[T], R]], items: Sequence[T]) -> Iterator[R]:
        """Yield the results, in the order of the items."""


def map_serially(function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Call a function on each item in this process, one after another."""
    return map(function, items)


def map_on_cpu(build: Callable[[str], Callable[[T], R]], items: Sequence[T]) -> Iterator[R]:
    """Build a function for the CPU, and call it on each item in this process, one after another."""
    return map(build("cpu"), items) if items else iter(())


@contextmanager
def open_process_pool() -> Iterator[Executor]:
    """Yield an executor with one process a core, started when first needed; up to four items run in this process.

    Raises:
        StageFailed: a process was killed, by the system for want of memory for instance.
    """
    pool = _LazyProcessPool(hardware.count_usable_cores())
    try:
        yield pool
    except BrokenProcessPool:
        raise StageFailed("a worker process was killed; was there too little memory?") from None
    except BaseException:
        pool.abandon_work()
        raise
    finally:
        pool.close()


class _LazyProcessPool:
    """An executor that starts its processes at the first call that is worth it."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._pool: ProcessPoolExecutor | None = None
        self._lifeline: connection.Connection | None = None

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        if not self._is_worth_processes(len(items)):
            return map_serially(function, items)
        pool = self._get_pool()
        return _yield_in_order(pool, function, items, self._cores * QUEUED_ITEMS_PER_WORKER)

    def _is_worth_processes(self, items: int) -> bool:
        if self._cores == 1 or not items:
            return False
        return self._pool is not None or items > MAX_SERIAL_ITEMS

    def _get_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = _SpawnContext()
            children_end, self._lifeline = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(self._cores, context, _end_with_parent, (children_end,))
        return self._pool

    def abandon_work(self) -> None:
        """End the processes in the middle of what they do: an interrupt must not wait for a part of a source."""
        if self._lifeline is not None:
            self._lifeline.close()

    def close(self) -> None:
        """End the processes, without what they have not begun."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


class _SpawnProcess(multiprocessing.context.SpawnProcess):
    """A process that does not import the script of its parent, which would run there again: nothing in it is called."""

    def start(self) -> None:
        script = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            super().start()
        finally:
            sys.modules["__main__"] = script


class _SpawnContext(multiprocessing.context.SpawnContext):
    """Starts processes afresh; a fork beside the threads of an object store's client may hang."""

    Process = _SpawnProcess


def _end_with_parent(lifeline: connection.Connection) -> None:
    """End with the process that started this one, however it ends, or when it closes its end of a pipe.

    It alone answers Ctrl-C.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a child"

    def watch() -> None:
        connection.wait([parent.sentinel, lifeline])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def call_on_device(function: Callable[..., R], arguments: tuple[Any, ...], reserved: StageResources) -> R:
    """Call ``function(*arguments, device)`` in a Ray task that has reserved what a stage takes; its errors pass.

    Args:
        function: its last argument is "cuda", or "mps" on a Mac, where a GPU was reserved, else "cpu".
        arguments: picklable, like the function and its result.
        reserved: of the stage.

    Raises:
        StageFailed: the task was lost more often than Ray starts one again.
    """
    import ray

    from ganaug_ray.runtime.device_task import make_device_task

    try:
        result: R = ray.get(make_device_task(_call_on_reserved_device, reserved).remote(function, arguments))
        return result
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise StageFailed(f"a worker failed: {get_last_line(error)}") from error


def _call_on_reserved_device(function: Callable[..., R], arguments: tuple[Any, ...]) -> R:
    from ganaug_ray.core import worker_log
    from ganaug_ray.runtime import cluster

    worker_log.install_print_handler()
    return function(*arguments, cluster.get_reserved_device())


def _yield_in_order(
    pool: ProcessPoolExecutor, function: Callable[[T], R], items: Sequence[T], window: int
) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
