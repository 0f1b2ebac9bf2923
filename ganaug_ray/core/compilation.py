"""Compiles networks where it pays: which a few steps of each way show, of networks that are thrown away."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch

from ganaug_ray.config import ClassifierConfig, GanConfig
from ganaug_ray.core.distributed import Place

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 10  # in which compiled networks are compiled, and CUDA graphs recorded
TIMED_STEPS = 30
MIN_TRAINING_S = 600.0  # seconds: compiling takes a minute or more, which a shorter training does not win back
MAX_STEP_SHARE = 0.9  # of a step's time that a compiled one may take to be worth it
NEVER = 1_000_000_000  # steps

B = TypeVar("B")
TrainBriefly = Callable[[bool, Callable[[int], Any], Place], None]
"""Runs a training's own loop with networks that are thrown away: compiled or not, with these batches, on this rank
alone. The batches end it by an exception."""


class _EnoughSteps(Exception):
    """Ends a trial."""


@dataclass
class _TimedBatches(Generic[B]):
    """Gives the same batch at every step, and notes when the timed steps begin and end."""

    batch: B
    device: torch.device
    times_s: list[float] = field(default_factory=list)

    def __call__(self, step: int) -> B:
        if step in (WARM_UP_STEPS, WARM_UP_STEPS + TIMED_STEPS):
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.times_s.append(time.perf_counter())
        if step == WARM_UP_STEPS + TIMED_STEPS:
            raise _EnoughSteps
        return self.batch


def compile_networks(
    config: GanConfig | ClassifierConfig, place: Place, *networks: torch.nn.Module
) -> Callable[[], None]:
    """Compile networks if the config says so, on a GPU with CUDA graphs; return what is to be called at each step.

    In place: names of weights, DDP and the average do not notice. ``auto`` counts as False here, see
    ``choose_compile``.
    """
    if config.compile is not True:
        return lambda: None
    records_graphs = place.device.type == "cuda"
    for network in networks:
        network.compile(mode="reduce-overhead" if records_graphs else None)
    # With CUDA graphs: from there on what the networks gave in the step before may be overwritten.
    return torch.compiler.cudagraph_mark_step_begin if records_graphs else lambda: None


def choose_compile(
    config: GanConfig | ClassifierConfig,
    steps: int,
    place: Place,
    make_batch: Callable[[], Any],
    train_briefly: TrainBriefly,
) -> bool:
    """Decide whether a training's networks are compiled, alike on every rank.

    ``auto`` says yes on a GPU, for a training of ten minutes or more, where steps are a tenth shorter. On the CPU, and
    where the weights are to be the same to the bit every time, it says no.

    Args:
        config: the training's.
        steps: those that are left.
        place: this rank.
        make_batch: returns this rank's part of a global batch, called where steps are timed.
        train_briefly: see ``TrainBriefly``.
    """
    if config.compile != "auto":
        return config.compile
    if place.device.type != "cuda" or config.deterministic or steps < 1:
        return False
    return not place.any_over_ranks(not _find_whether_it_pays(train_briefly, make_batch(), place.device, steps))


def _find_whether_it_pays(train_briefly: TrainBriefly, batch: object, device: torch.device, steps: int) -> bool:
    try:
        plain_s = measure_step_seconds(train_briefly, False, batch, device)
        if plain_s * steps < MIN_TRAINING_S:
            return False
        compiled_s = measure_step_seconds(train_briefly, True, batch, device)
    except Exception as error:  # of the compiler, a missing C compiler, or a GPU too small for two: it does without
        logger.warning("compile: auto: not compiled, as a trial failed: %s", error)
        return False
    finally:
        torch.compiler.reset()
    pays = compiled_s <= MAX_STEP_SHARE * plain_s
    ways = "compiled" if pays else "not compiled"
    logger.info("a step takes %.2f ms, compiled %.2f ms: %s", 1e3 * plain_s, 1e3 * compiled_s, ways)
    return pays


def measure_step_seconds(train_briefly: TrainBriefly, compiled: bool, batch: object, device: torch.device) -> float:
    """Return the mean seconds of a training's step on one rank, after a warm-up.

    Args:
        train_briefly: see ``TrainBriefly``.
        compiled: whether its networks are.
        batch: the same one at every step.
        device: that it runs on.
    """
    batches = _TimedBatches(batch, device)
    with suppress(_EnoughSteps):
        train_briefly(compiled, batches, Place(device=device))
    begun_s, ended_s = batches.times_s
    return (ended_s - begun_s) / TIMED_STEPS
