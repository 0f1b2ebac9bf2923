"""Runs trainings, as many at a time as there is room for: of one process as Ray tasks, of several under Ray Train."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import ray

from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.full_disk import find_disk_full
from ganaug_ray.core.wording import get_last_line
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime.training_process import raise_divergence

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class TrainingTask:
    """A training of one process.

    Attributes:
        start: starts it as a Ray task, which returns what ``catch_divergence`` does.
        read_step: returns how far its newest checkpoint is.
        describe_failure: says in a sentence why it failed.
    """

    start: Callable[[], "ray.ObjectRef[int | None]"]
    read_step: Callable[[], int]
    describe_failure: Callable[[DivergenceError | StageFailed], str]


def run_tasks(
    tasks: Sequence[TrainingTask], others: Sequence[TrainingTask] = (), slots: int = 0
) -> Iterator[tuple[TrainingTask, DivergenceError | StageFailed | None]]:
    """Run trainings in parallel, those first that stand first, and yield each when it ends, with its error or None.

    One that was lost is started again, as often as it takes, if there is a new checkpoint since the last time. Where
    this is left early, by an interrupt, those that still run are ended: a Ray that stays would go on with them.

    Args:
        tasks: what to run.
        others: what to run beside them, once fewer of them are left than there are slots: none of them waits for these.
        slots: of the cluster.

    Raises:
        DiskFull: as a task did; the others are ended.
    """
    waiting = {task.start(): (task, task.read_step()) for task in tasks}
    held_back = list(others)
    try:
        while waiting or held_back:
            if held_back and len(waiting) < max(1, slots):  # none of the others is among them yet
                waiting |= {task.start(): (task, task.read_step()) for task in held_back}
                held_back.clear()
            (ref, *_), _ = ray.wait(list(waiting), num_returns=1)
            task, before = waiting.pop(ref)
            failure: DivergenceError | StageFailed | None = None
            try:
                raise_divergence(ray.get(ref))
            except DivergenceError as error:
                failure = error
            except ray.exceptions.RayError as error:
                if full := find_disk_full(error):
                    raise full from error
                if task.read_step() > before:
                    logger.info("a training restarts: %s", get_last_line(error))
                    waiting[task.start()] = task, task.read_step()
                    continue
                failure = StageFailed(f"a worker failed: {get_last_line(error)}")
            yield task, failure
    finally:
        if ray.is_initialized():  # else they have ended with it
            for ref in waiting:
                ray.cancel(ref, force=True)


def run_groups(
    run: Callable[[T], None], tasks: Sequence[T], at_once: int
) -> Iterator[tuple[T, DivergenceError | StageFailed | None]]:
    """Run trainings of several workers each, some at a time, and yield each when it ends, with its error or None.

    Args:
        run: runs one to its end, with ``run_on_ranks``; called in threads where several run at a time.
        tasks: what to run, in this order.
        at_once: as many at a time.

    Raises:
        Exception: as ``run`` did, other than the two; the others are not waited for.
    """
    ended: queue.SimpleQueue[tuple[T, BaseException | None]] = queue.SimpleQueue()

    def call(task: T) -> None:
        error: BaseException | None = None
        try:
            run(task)
        except BaseException as caught:  # whatever it is, somebody waits for the end
            error = caught
        ended.put((task, error))

    waiting = deque(tasks)
    running = 0
    while waiting or running:
        while waiting and running < max(1, at_once):
            task = waiting.popleft()
            running += 1
            if at_once > 1:
                # A thread that waits for Ray must not keep an interrupted process from ending.
                threading.Thread(target=call, args=(task,), daemon=True).start()
            else:
                call(task)
        task, error = ended.get()
        running -= 1
        if error is not None and not isinstance(error, DivergenceError | StageFailed):
            raise error
        yield task, error
