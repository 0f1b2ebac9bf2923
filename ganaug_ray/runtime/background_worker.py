"""Calls a function in a process of its own while the caller goes on: a Ray actor, which has its own CPU or GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import ray

from ganaug_ray.core import worker_log
from ganaug_ray.core.wording import get_last_line
from ganaug_ray.runtime import cluster
from ganaug_ray.runtime.resources import StageResources

T = TypeVar("T")
R = TypeVar("R")


class PendingCall(Generic[R]):
    """A call under way."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref

    def done(self) -> bool:
        """Return whether it has ended."""
        return is_done(self._ref)

    def result(self) -> R:
        """Wait for the result; the function's errors pass as they are.

        Raises:
            BrokenExecutor: the process was lost.
        """
        try:
            result: R = ray.get(self._ref)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise BrokenExecutor(get_last_line(error)) from error
        return result


class BackgroundWorker(Generic[T, R]):
    """A process that calls one function, on one item after another.

    Args:
        build: called there once, with the device that it has reserved; returns the function.
        reserved: what the process takes.
    """

    def __init__(self, build: Callable[[str], Callable[[T], R]], reserved: StageResources) -> None:
        actor_class: Any = ray.remote(_Worker)
        self._actor = actor_class.options(**reserved.ray_options).remote(build)
        self._started = self._actor.start.remote()

    def submit(self, item: T, /) -> PendingCall[R] | None:
        """Begin to call the function; None: the process has not started yet, and maybe there is no room for it."""
        if not is_done(self._started):
            return None
        return PendingCall(self._actor.call.remote(item))

    def close(self) -> None:
        """End the process, also where it has not started or is computing."""
        ray.kill(self._actor)


@contextmanager
def open_background_worker(
    reserved: StageResources, build: Callable[[str], Callable[[T], R]]
) -> Iterator[BackgroundWorker[T, R]]:
    """Start a ``BackgroundWorker``, which ends with the context."""
    worker = BackgroundWorker(build, reserved)
    try:
        yield worker
    finally:
        worker.close()


def is_done(ref: Any) -> bool:
    """Return whether a Ray task has ended, in whichever way."""
    ended, _ = ray.wait([ref], timeout=0)
    return bool(ended)


class _Worker:
    """The actor. What fails when it is built fails again, and is raised, in each call."""

    def __init__(self, build: Callable[[str], Callable[[Any], Any]]) -> None:
        self._build = build
        self._function: Callable[[Any], Any] | None = None

    def start(self) -> None:
        self._get_function()

    def call(self, item: Any) -> Any:
        return self._get_function()(item)

    def _get_function(self) -> Callable[[Any], Any]:
        if self._function is None:
            worker_log.install_print_handler()
            self._function = self._build(cluster.get_reserved_device())
        return self._function
