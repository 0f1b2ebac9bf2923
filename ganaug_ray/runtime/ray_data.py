"""Calls functions on many items with Ray Data: ``map_batches`` on a pool of actors, on all nodes of the cluster.

Items are called one by one, and their results come in the order of the items: they are what a single process gives, to
the byte, whatever the number of actors.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import ray
from ray import cloudpickle  # as Ray does it with all that a task is given; nothing of it is kept
from ray.util.annotations import RayDeprecationWarning

from ganaug_ray.core import worker_log
from ganaug_ray.core.wording import get_last_line
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime import cluster
from ganaug_ray.runtime.resources import StageResources

BLOCKS_PER_ACTOR = 16  # enough that all actors end at about the same time
MAX_RESTARTS = 3  # of an actor that was lost, with the block that it was at

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class RayDataExecutor:
    """An ``Executor`` over Ray Data.

    Attributes:
        reserved: what each actor takes, and how many there are at most.
    """

    reserved: StageResources

    def __call__(self, function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield the results, in the order of the items; errors pass as they are.

        Raises:
            StageFailed: actors were lost more often than restarts help.
        """
        return _map_on_actors(functools.partial(_ignore_device, function), items, self.reserved)


@dataclass(frozen=True)
class RayDataDeviceExecutor:
    """A ``DeviceExecutor`` over Ray Data.

    Attributes:
        reserved: what each actor takes, and how many there are at most.
    """

    reserved: StageResources

    def __call__(self, build: Callable[[str], Callable[[T], R]], items: Sequence[T]) -> Iterator[R]:
        """Yield the results, in the order of the items; errors pass as they are.

        Raises:
            StageFailed: actors were lost more often than restarts help.
        """
        return _map_on_actors(build, items, self.reserved)


def _ignore_device(function: Callable[[T], R], device: str) -> Callable[[T], R]:
    return function


def _map_on_actors(
    build: Callable[[str], Callable[[T], R]], items: Sequence[T], reserved: StageResources
) -> Iterator[R]:
    if not items:
        return
    actors = min(len(items), max(1, reserved.at_once))
    rows = ray.data.from_items(
        [{"item": cloudpickle.dumps(item)} for item in items],
        override_num_blocks=min(len(items), BLOCKS_PER_ACTOR * actors),
    )
    rows.context.execution_options.preserve_order = True
    rows.context.enable_progress_bars = False
    with warnings.catch_warnings():
        # There is no other way yet to bound the restarts: an item that kills its process would be tried for ever.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        outcomes = rows.map_batches(
            _Caller,
            fn_constructor_args=(build,),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
            max_restarts=MAX_RESTARTS,
            max_task_retries=MAX_RESTARTS,
            **reserved.ray_options,
        )
    try:
        for table in outcomes.iter_batches(batch_size=None, batch_format="pyarrow"):
            for outcome in table["outcome"]:
                result, error = cloudpickle.loads(outcome.as_py())
                if error is not None:
                    raise error
                yield result
    except ray.exceptions.RayError as error:
        raise StageFailed(f"a worker failed: {get_last_line(error)}") from error


class _Caller:
    """The actor. An error goes back as a result: Ray Data would wrap it, and log it with a trace."""

    def __init__(self, build: Callable[[str], Callable[[Any], Any]]) -> None:
        self._build = build
        self._function: Callable[[Any], Any] | None = None

    def __call__(self, items: pa.Table) -> pa.Table:
        outcomes = [cloudpickle.dumps(self._call(cloudpickle.loads(item.as_py()))) for item in items["item"]]
        return pa.table({"outcome": pa.array(outcomes, pa.large_binary())})

    def _call(self, item: Any) -> tuple[Any, Exception | None]:
        try:
            if self._function is None:
                worker_log.install_print_handler()
                self._function = self._build(cluster.get_reserved_device())
            return self._function(item), None
        except Exception as error:
            return None, error
