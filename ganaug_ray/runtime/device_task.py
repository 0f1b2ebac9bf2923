"""Makes Ray tasks that compute on the device which they have reserved, and on no other."""

from collections.abc import Callable
from typing import Any

import ray

from ganaug_ray.runtime.resources import StageResources


def make_device_task(function: Callable[..., Any], reserved: StageResources, max_retries: int = 3) -> Any:
    """Make a Ray task of a function; ``.remote(...)`` starts it.

    On GPUs each call has a process of its own. Ray would use a process again for the next task, and one that has
    computed on a GPU keeps memory of it, and computes on that same GPU whichever is reserved next. It ends processes by
    itself only where the decorator names GPUs.

    Args:
        function: picklable by its name.
        reserved: what each call takes.
        max_retries: how often Ray starts a lost one again.
    """
    calls: dict[str, Any] = {"max_calls": 1} if reserved.gpus else {}
    task: Any = ray.remote(max_retries=max_retries, **calls)(function)
    return task.options(**reserved.ray_options)
