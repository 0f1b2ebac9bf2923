"""Shows a pipeline's trainings while they run, where the job asks for it."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ganaug_ray.tracking.follow import follow_trainings
from ganaug_ray.tracking.live_page import LivePage
from ganaug_ray.tracking.tensorboard import FOLDER, TensorBoardTracker

if TYPE_CHECKING:
    from ganaug_ray.pipeline.pipeline import Pipeline


def follow_pipeline(pipeline: Pipeline) -> AbstractContextManager[None]:
    """Return the context in which a pipeline's trainings are shown: in TensorBoard's files and on a page."""
    root = pipeline.run.root
    say = functools.partial(pipeline.terminal.print_stage_line, "curves", "note")
    return follow_trainings(pipeline.run, [TensorBoardTracker(root / FOLDER), LivePage(root)], say)
