"""One rank of a GAN's training: opens the folders, runs the training loop, and on rank 0 writes the results."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

from safetensors.torch import load as tensors_from_bytes

from ganaug_ray.config import GanConfig
from ganaug_ray.core import checkpoint, compilation
from ganaug_ray.core.determinism import use_deterministic_algorithms
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.heap_memory import reuse_freed_memory
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.core.weight_average import WeightAverage
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.data.loading.resident_loader import open_real_feed
from ganaug_ray.data.loading.sampler import Sampling
from ganaug_ray.gan import training_loop
from ganaug_ray.gan.networks import Discriminator, Generator
from ganaug_ray.gan.snapshot_meter import SnapshotMeter
from ganaug_ray.gan.snapshot_queue import OpenExecutor, SnapshotExecutor
from ganaug_ray.gan.train_callbacks import TrainingRecorder
from ganaug_ray.gan.training_spec import START_FILE, GanTraining

logger = logging.getLogger(__name__)

SnapshotCallback = Callable[[int, dict[str, float]], None]
"""Called on every rank at each look: the steps done and, on rank 0, the figures."""


def train_and_finish(training: GanTraining, place: Place, open_executor: OpenExecutor | None = None) -> None:
    """Train one rank to the end, from the newest checkpoint if there is one, and on rank 0 write gan.json.

    Args:
        training: what is trained.
        place: this rank.
        open_executor: has rank 0 measure snapshots in another process while it trains; None: it measures them itself
            while all ranks wait. Log, checkpoints and generator are the same on the same kind of device.

    Raises:
        DivergenceError: a gradient was not finite.
    """
    started = time.monotonic()
    recorder = train_rank(training, place, open_executor=open_executor)
    if recorder:
        recorder.measure_and_write_generator(DatasetRecord.read(Folder.from_uri(training.dataset)), started)


def train_rank(
    training: GanTraining,
    place: Place,
    on_snapshot: SnapshotCallback | None = None,
    open_executor: OpenExecutor | None = None,
) -> TrainingRecorder | None:
    """Train one rank to the last step, from the newest checkpoint if there is one.

    Args:
        training: what is trained.
        place: this rank.
        on_snapshot: gets each snapshot's figures at once, so not together with ``open_executor``.
        open_executor: see ``train_and_finish``.

    Returns:
        On rank 0 what has seen all of it, and can finish the folder.

    Raises:
        DivergenceError: a gradient was not finite.
    """
    config = training.config
    out = Folder.from_uri(training.out)
    facts = DatasetRecord.read(Folder.from_uri(training.dataset))
    rows = facts.count_train_images()
    steps = training.until or config.count_steps(rows)
    shape = training_loop.ImageShape(len(facts.classes), facts.channels, training.size)
    sampling = Sampling(config.sampling == "balanced")
    batches = open_real_feed(
        training.dataset, config.batch_size, training.resident_gb, training.seed, place, sampling=sampling
    )
    start = checkpoint.load_newest(out / "checkpoints", training.fingerprint(), warn=logger.warning)
    first = start.step if start else 0
    if start and place.is_first:
        logger.info("resuming at step %d", first)
    initial = _read_initial_weights(training) if start is None else None
    is_deterministic = use_deterministic_algorithms(config.deterministic)  # before anything multiplies on a GPU
    with is_deterministic, _open_executor(training, place, open_executor) as executor:
        recorder = TrainingRecorder(training, first, place, executor) if place.is_first else None
        hooks = recorder.build_hooks() if recorder else _SILENT_HOOKS
        if on_snapshot is not None:
            hooks = _wrap_snapshot(hooks, on_snapshot)
        try:
            with reuse_freed_memory(place.device):
                compiled = choose_compile(batches, config, shape, range(first, steps), place)
                training_loop.train_gan(
                    batches,
                    config.model_copy(update={"compile": compiled}),
                    shape,
                    steps,
                    training.seed,
                    place,
                    start,
                    hooks,
                    training.snapshot_steps,
                    config.compute_lr_factors(rows),
                    initial,
                )
        except DivergenceError:
            # By the figures of a snapshot before, the training may have ended there: then this step is none of it.
            if recorder is None or not recorder.wait_for_figures():
                raise
        if recorder is not None:
            recorder.wait_for_figures()
    return recorder


def choose_compile(
    batches: Callable[[int], Batch], config: GanConfig, shape: training_loop.ImageShape, steps: range, place: Place
) -> bool:
    """Decide whether a GAN's networks are compiled, alike on every rank; see ``compilation.choose_compile``.

    Args:
        batches: step -> this rank's part of the global batch of real images.
        config: the training's.
        shape: classes, channels and size of the images to draw.
        steps: those that are left.
        place: this rank.
    """
    never = dict.fromkeys(("log_every", "checkpoint_every", "snapshot_every"), compilation.NEVER)

    def train_briefly(compiled: bool, timed: Callable[[int], Batch], alone: Place) -> None:
        brief = config.model_copy(update={**never, "compile": compiled})
        training_loop.train_gan(timed, brief, shape, compilation.NEVER, 0, alone, None, _SILENT_HOOKS)

    make_batch = partial(batches, steps.start)
    return compilation.choose_compile(config, len(steps), place, make_batch, train_briefly)


def _open_executor(
    training: GanTraining, place: Place, open_executor: OpenExecutor | None
) -> AbstractContextManager[SnapshotExecutor | None]:
    if open_executor is None or not place.is_first:
        return nullcontext()
    return open_executor(partial(SnapshotMeter, training))


def _read_initial_weights(training: GanTraining) -> checkpoint.Tensors | None:
    if training.start is None:
        return None
    return tensors_from_bytes(Folder.from_uri(training.start).read_bytes(START_FILE))


def _wrap_snapshot(hooks: training_loop.Hooks, on_snapshot: SnapshotCallback) -> training_loop.Hooks:
    def snapshot(step: int, average: WeightAverage[Generator], discriminator: Discriminator) -> dict[str, float]:
        figures = hooks.snapshot(step, average, discriminator)
        on_snapshot(step, figures)
        return figures

    return replace(hooks, snapshot=snapshot)


_SILENT_HOOKS = training_loop.Hooks(lambda row: None, lambda checkpoint: None, lambda step, average, discriminator: {})
