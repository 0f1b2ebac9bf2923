"""Decides whether a GAN's networks are compiled: by a few steps of each way, of networks that are thrown away."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import torch

from ganaug_ray.config import GanConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.gan import training_loop

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 10  # in which compiled networks are compiled, and CUDA graphs recorded
TIMED_STEPS = 30
MIN_TRAINING_S = 600.0  # seconds: compiling takes a minute or more, which a shorter training does not win back
MAX_STEP_SHARE = 0.9  # of a step's time that a compiled one may take to be worth it
NEVER = 1_000_000_000  # steps

SILENT_HOOKS = training_loop.Hooks(lambda row: None, lambda state: None, lambda step, average, discriminator: {})


class _EnoughSteps(Exception):
    """Ends a trial."""


@dataclass
class _TimedBatches:
    """Gives the same batch at every step, and notes when the timed steps begin and end."""

    batch: Batch
    times_s: list[float] = field(default_factory=list)

    def __call__(self, step: int) -> Batch:
        if step in (WARM_UP_STEPS, WARM_UP_STEPS + TIMED_STEPS):
            if self.batch.x_BCHW.device.type == "cuda":
                torch.cuda.synchronize(self.batch.x_BCHW.device)
            self.times_s.append(time.perf_counter())
        if step == WARM_UP_STEPS + TIMED_STEPS:
            raise _EnoughSteps
        return self.batch


def choose_compile(
    batches: Callable[[int], Batch],
    config: GanConfig,
    shape: training_loop.ImageShape,
    steps: range,
    place: Place,
) -> bool:
    """Decide whether the networks are compiled, alike on every rank.

    ``auto`` says yes on a GPU, for a training of ten minutes or more, where steps are a tenth shorter. On the CPU, and
    where the weights are to be the same to the bit every time, it says no.

    Args:
        batches: step -> this rank's part of the global batch of real images.
        config: the training's.
        shape: classes, channels and size of the images to draw.
        steps: those that are left.
        place: this rank.
    """
    if config.compile != "auto":
        return config.compile
    if place.device.type != "cuda" or config.deterministic or not steps:
        return False
    pays = _find_whether_it_pays(batches(steps.start), config, shape, len(steps), Place(device=place.device))
    return not place.any_over_ranks(not pays)


def _find_whether_it_pays(
    batch: Batch, config: GanConfig, shape: training_loop.ImageShape, steps: int, place: Place
) -> bool:
    plain_s = measure_step_seconds(batch, config.model_copy(update={"compile": False}), shape, place)
    if plain_s * steps < MIN_TRAINING_S:
        return False
    try:
        compiled_s = measure_step_seconds(batch, config.model_copy(update={"compile": True}), shape, place)
    except Exception as error:  # of the compiler, a driver or a missing C compiler: the training does without
        logger.warning("compile: auto: the networks could not be compiled: %s", error)
        return False
    finally:
        torch.compiler.reset()
    pays = compiled_s <= MAX_STEP_SHARE * plain_s
    ways = "compiled" if pays else "not compiled"
    logger.info("a step takes %.2f ms, compiled %.2f ms: %s", 1e3 * plain_s, 1e3 * compiled_s, ways)
    return pays


def measure_step_seconds(batch: Batch, config: GanConfig, shape: training_loop.ImageShape, place: Place) -> float:
    """Return the mean seconds of a step of fresh networks on one rank, after a warm-up.

    Args:
        batch: real images, the same ones at every step.
        config: its ``compile`` is True or False.
        shape: of the images to draw.
        place: a single rank.
    """
    never = dict.fromkeys(("log_every", "checkpoint_every", "snapshot_every"), NEVER)
    timed = _TimedBatches(batch)
    with suppress(_EnoughSteps):
        training_loop.train_gan(timed, config.model_copy(update=never), shape, NEVER, 0, place, None, SILENT_HOOKS)
    begun_s, ended_s = timed.times_s
    return (ended_s - begun_s) / TIMED_STEPS
