"""Doing the same to many things side by side: in processes of this machine, or on all machines of a cluster.

Both ways give the results in the order of the things, hold few of them at a time, and pass errors on as they are.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, Protocol, TypeVar

from ganaug_ray.errors import StageFailed

FEW_THINGS = 4  # things are done sooner in this process than another process starts
THINGS_AHEAD = 4  # things a worker has before it, so that it never waits for the next

T = TypeVar("T")
R = TypeVar("R")


class Each(Protocol):
    """Calls a function on each thing; function, things and results must be picklable."""

    def __call__(self, function: Callable[[T], R], things: Sequence[T]) -> Iterator[R]:
        """Yield the results, in order."""


def one_by_one(function: Callable[[T], R], things: Sequence[T]) -> Iterator[R]:
    """In this process."""
    return map(function, things)


@contextmanager
def processes() -> Iterator[Each]:
    """In as many processes as this machine has cores, started when first needed; a few things in this one.

    Raises:
        StageFailed: a process was killed, by the system for want of memory for instance.
    """
    cores = len(os.sched_getaffinity(0))
    pool: list[ProcessPoolExecutor] = []

    def each(function: Callable[[T], R], things: Sequence[T]) -> Iterator[R]:
        if cores == 1 or len(things) <= (0 if pool else FEW_THINGS):
            return one_by_one(function, things)
        if not pool:
            # Spawned, not forked: a fork beside the threads of an object store's client may hang.
            pool.append(ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), initializer=_follow_parent))
        return _in_order(things, lambda thing: pool[0].submit(function, thing), Future.result, cores * THINGS_AHEAD)

    try:
        yield each
    except BrokenProcessPool:
        raise StageFailed("a worker process was killed; was there too little memory?") from None
    finally:
        for one in pool:
            one.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """End with the process that started this one, however it ends; it alone answers Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a child"

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def on_cluster(function: Callable[[T], R], things: Sequence[T]) -> Iterator[R]:
    """As Ray tasks of the cluster that this process is connected to."""
    import ray

    call: Any = ray.remote(_call)

    def result(ref: Any) -> R:
        try:
            return ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None

    window = THINGS_AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    once = ray.put(function)  # it may have much bound to it
    return _in_order(things, lambda thing: call.remote(once, thing), result, window)


def _call(function: Callable[[T], R], thing: T) -> R:
    return function(thing)


def _in_order(things: Sequence[T], submit: Callable[[T], Any], result: Callable[[Any], R], window: int) -> Iterator[R]:
    waiting: deque[Any] = deque()
    for thing in things:
        waiting.append(submit(thing))
        if len(waiting) >= window:
            yield result(waiting.popleft())
    while waiting:
        yield result(waiting.popleft())
