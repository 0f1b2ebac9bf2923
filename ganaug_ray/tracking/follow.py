"""Follows the trainings of an experiment while a command works on it, from a thread of the driver.

What is shown is read from what the trainings log in their folders: no worker knows of it, it decides nothing, and
whatever goes wrong with it ends neither a training nor the command.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from ganaug_ray.core import interrupts
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.tracking import live_page
from ganaug_ray.tracking.training_log import ExperimentLogs, TrainingLog

logger = logging.getLogger(__name__)

TENSORBOARD_FOLDER = "tensorboard"
LOCAL_INTERVAL_S = 5.0  # seconds between looks
STORE_INTERVAL_S = 30.0  # of an object store, where each look lists the experiment


class Tracker(Protocol):
    """Where trainings are shown."""

    def update(self, logs: list[TrainingLog]) -> None:
        """Called with the logs of all trainings when any of them has changed."""

    def close(self, status: str) -> None:
        """Called once, after the last update, with how the command ended: done, failed or interrupted."""


@contextmanager
def follow_trainings(run: Run, trackers: Sequence[Tracker], say: Callable[[str], None]) -> Iterator[None]:
    """Show the trainings of an experiment until the context ends.

    Args:
        run: the experiment.
        trackers: where they are shown.
        say: prints a sentence; called from another thread too.
    """
    follower = _Follower(run.root, trackers, say)
    stop = threading.Event()
    interval_s = LOCAL_INTERVAL_S if run.root.local_path is not None else STORE_INTERVAL_S

    def work() -> None:
        follower.look()  # what is there already is no news
        while not stop.wait(interval_s):
            follower.look(is_news=True)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    status = "done"
    try:
        yield
    except BaseException as error:
        is_stopped = isinstance(error, KeyboardInterrupt) or interrupts.is_interrupted()
        status = "interrupted" if is_stopped else "failed"
        raise
    finally:
        stop.set()
        thread.join()
        follower.look()
        follower.close(status)


class _Follower:
    def __init__(self, root: Folder, trackers: Sequence[Tracker], say: Callable[[str], None]) -> None:
        self._logs = ExperimentLogs(root)
        self._root = root
        self._trackers = list(trackers)
        self._say = say
        self._shown: list[TrainingLog] = []
        self._is_told = False

    def look(self, is_news: bool = False) -> None:
        """Show what has changed."""
        try:
            logs = self._logs.read()
        except OSError:  # a file that is being replaced: look again later
            return
        if logs == self._shown:
            return
        self._shown = logs
        for tracker in tuple(self._trackers):
            self._attempt(tracker, functools.partial(tracker.update, logs))
        if is_news and not self._is_told:
            self._is_told = True
            self._say(describe_curves(self._root))

    def close(self, status: str) -> None:
        """End all."""
        for tracker in tuple(self._trackers):
            self._attempt(tracker, functools.partial(tracker.close, status))

    def _attempt(self, tracker: Tracker, action: Callable[[], None]) -> None:
        """Do something with a tracker; one that fails is left out from then on, and a sentence says so."""
        try:
            action()
        except Exception as error:  # of any kind: no curve is worth a training
            logger.warning("a tracker failed", exc_info=True)
            with suppress(ValueError):
                self._trackers.remove(tracker)
            reason = str(error).partition("\n")[0] or type(error).__name__
            name = type(tracker).__name__.removesuffix("Tracker")
            self._say(f"{name}: stopped ({reason}); the run goes on without it")


def describe_curves(root: Folder) -> str:
    """Say where the curves of an experiment's trainings are."""
    text = f"curves and samples while they grow: {root / live_page.FILE}"
    if importlib.util.find_spec("tensorboard") is not None:
        text += f", or `{format_command(root)}`"
    return text


def format_command(root: Folder) -> str:
    """Return the command that shows an experiment's trainings in TensorBoard."""
    return shlex.join(["tensorboard", "--logdir", str(root / TENSORBOARD_FOLDER)])
