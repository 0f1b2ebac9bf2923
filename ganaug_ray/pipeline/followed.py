"""Shows a pipeline's trainings while they run, and sends the run to where its job is tracked."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ganaug_ray.augment.arm_titles import name_arms
from ganaug_ray.tracking.follow import TENSORBOARD_FOLDER, Tracker, follow_trainings
from ganaug_ray.tracking.live_page import LivePage
from ganaug_ray.tracking.remote import RemoteTracker
from ganaug_ray.tracking.servers import open_servers
from ganaug_ray.tracking.tensorboard import TensorBoardTracker

if TYPE_CHECKING:
    from ganaug_ray.pipeline.pipeline import Pipeline


def follow_pipeline(pipeline: Pipeline) -> AbstractContextManager[None]:
    """Return the context in which a pipeline's trainings are shown, by this process alone.

    Raises:
        UserError: the package of a tracking server that the job names is not installed.
    """
    run = pipeline.run
    say = functools.partial(pipeline.terminal.print_stage_line, "curves", "note")
    page = LivePage(run.root, name_arms(pipeline.job))
    trackers: list[Tracker] = [TensorBoardTracker(run.root / TENSORBOARD_FOLDER), page]
    warn = functools.partial(pipeline.terminal.print_stage_line, "tracking", "note")
    trackers += [RemoteTracker(server, run, pipeline.job, warn) for server in open_servers(pipeline.job, run)]
    return follow_trainings(run, trackers, say)
