"""What the process of a training needs of Ray, whether it is a Ray task or a rank under Ray Train.

Ray Train is not imported here: that is two seconds of processor time, which a task has no use for.
"""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import ray
from ray._private.state import state  # private: what else knows of draining nodes needs a dashboard, or is for ranks

from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import DivergenceError

logger = logging.getLogger(__name__)

# Of all ranks, after one was lost; each goes on from our own newest checkpoint. They are counted from the last one that
# was written: a training on machines that come and go is restarted as often as it takes, one that always dies is not.
MAX_RESTARTS = 3

DRAIN_CHECK_INTERVAL_S = 5.0  # seconds, whether a node will be taken away; clouds say so 30 to 120 seconds before


class DrainWatch:
    """Tells whether the node of this process is about to be taken away, because Ray was told to drain it."""

    def __init__(self) -> None:
        self._node = ray.get_runtime_context().get_node_id()
        self._asked_at = -math.inf
        self._leaving = False

    def __call__(self) -> bool:
        """Return whether that is so; the cluster is asked every five seconds at most, and the log gets a line."""
        if not self._leaving and time.monotonic() - self._asked_at >= DRAIN_CHECK_INTERVAL_S:
            self._asked_at = time.monotonic()
            self._leaving = self._node in state.get_draining_nodes()
            if self._leaving:
                logger.info("this node will be removed soon: writing a checkpoint")
        return self._leaving


def catch_divergence(function: Callable[[Any, Place], None], task: Any, where: Place) -> int | None:
    """Call the function, and return the step at which it diverged, or None. As an error, Ray would try it again."""
    try:
        function(task, where)
    except DivergenceError as error:
        return error.step
    return None


def raise_divergence(step: int | None) -> None:
    """Raise the DivergenceError that ``catch_divergence`` returned as a step; None raises nothing."""
    if step is not None:
        raise DivergenceError(step)
