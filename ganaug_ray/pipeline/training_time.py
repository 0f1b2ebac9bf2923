"""How long the trainings of a job take on this machine, by a few real steps of each kind on random images.

What is timed is the steps, a classifier's evaluations, and the figures of a GAN's quality; ``run_time`` adds what is
around them. Times are computing times of one process, and beside them how much longer it takes while other work runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ganaug_ray.augment import arms
from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.classify import networks
from ganaug_ray.classify import training_loop as classifier_loop
from ganaug_ray.config import DataConfig, Job
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.heap_memory import reuse_freed_memory
from ganaug_ray.data.loading.batch import Batch, BatchFeed, draw_random_batch
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.gan import training_loop as gan_loop
from ganaug_ray.gan.metrics.evaluator import MAX_IMAGES_PER_SPLIT
from ganaug_ray.runtime import hardware

WARM_UP_STEPS = 1
MIN_TIMED_STEPS = 2
MIN_TIMED_S = 0.5
NEVER = 10**9  # steps
# Most processes that are seen at work do not go on for the whole of a run: two runs beside four to fourteen of them
# took 2.1 and 2.7 times as long as alone, half of the excess that as many steady ones would cause.
OTHERS_WEIGHT = 0.5
LOOK_ANSWERS = 6  # answers to each image that measuring a GAN once takes as long as (measured at 32 and 64 pixels)


@dataclass(frozen=True)
class ImageFacts:
    """The facts of a data set that the time of a run depends on.

    Attributes:
        classes: how many.
        channels: of the stored images.
        counts: split -> class -> images.
        read_s: seconds that reading and judging all images takes.
        unlabelled: images without labels.
    """

    classes: int
    channels: int
    counts: dict[str, dict[str, int]]
    read_s: float
    unlabelled: int = 0

    def count(self, split: str) -> int:
        """Return the number of images of a split."""
        return sum(self.counts[split].values())

    def limit(self, own: DataConfig, other: DataConfig) -> ImageFacts:
        """Return the facts with the limits of another data section of the same images.

        Where there are as many as the own limits allow it is taken that there are as many as the other ones do.
        """
        limits = {
            "train": (own.train_per_class, other.train_per_class),
            "val": (own.max_val_per_class, other.max_val_per_class),
        }
        counts = dict(self.counts)
        for split, (limit, new_limit) in limits.items():
            if new_limit is not None:
                counts[split] = {
                    name: new_limit if n == limit else min(n, new_limit) for name, n in self.counts[split].items()
                }
        return replace(self, counts=counts)


@dataclass(frozen=True)
class TrainingTime:
    """The computing seconds that trainings take on this machine, one process each.

    Attributes:
        classifier_s: of a classifier, with as many rows in a batch as the arms have on average; also of a teacher.
        gan_s: of a GAN's steps; 0 where none is trained.
        look_s: of measuring a GAN's quality once.
        cas_s: of its classification accuracy score, once.
        image_s: of a classifier's answer to an image.
        other_processes: other processes that wanted a core while the steps were timed, on average.
        gpus: of this machine, on which they are trained; 0: on its cores.
    """

    classifier_s: float
    gan_s: float
    look_s: float = 0.0
    cas_s: float = 0.0
    image_s: float = 0.0
    other_processes: float = 0.0
    gpus: int = 0

    def compute_slowdown(self, processes: int) -> float:
        """Return how many times longer these processes take than they compute, if the others go on."""
        cores = hardware.count_usable_cores()
        return max(1.0, (OTHERS_WEIGHT * self.other_processes + processes) / max(cores, processes))


@dataclass(frozen=True)
class StepTime:
    """The computing seconds of one step of each training.

    Attributes:
        classifier_s: with as many rows in a batch as the arms have on average.
        image_s: of a classifier's answer to an image.
        gan_s: 0 where no GAN is trained.
        other_processes: as of ``TrainingTime``.
        gpus: likewise.
    """

    classifier_s: float
    image_s: float
    gan_s: float
    other_processes: float = 0.0
    gpus: int = 0


def measure_step_time(job: Job, images: ImageFacts, device_name: str = "cpu") -> StepTime:
    """Time a few steps of the job's classifier and, if it trains one, of its GAN.

    Args:
        job: any number of splits, seeds and steps.
        images: of the job.
        device_name: cpu, or cuda or mps in a process that has reserved a GPU.
    """
    place = Place(device=torch.device(device_name))
    waiting: list[int] = []
    with _isolate_torch(place.device):
        step_s, image_s = _time_classifier(job, images, place, waiting)
        gan_step_s = _time_gan(job, images, place, waiting) if arms.has_gan(job) else 0.0
    other_processes = float(np.mean(waiting)) if waiting and place.device.type == "cpu" else 0.0
    return StepTime(step_s, image_s, gan_step_s, other_processes)


def _count_other_processes() -> int | None:
    """Return how many processes besides this one have or want a core right now; None where the system does not say."""
    try:
        running = Path("/proc/loadavg").read_text().split()[3].partition("/")[0]
    except OSError:
        return None
    return max(0, int(running) - 1)


def scale_training_time(job: Job, images: ImageFacts, step: StepTime) -> TrainingTime:
    """Return the time of a job's trainings by that of their steps, also of a job that differs in their number.

    Args:
        job: with the networks and image size that were timed.
        images: of the job.
        step: as it was timed.
    """
    rows = images.count("train")
    steps = job.classifier.count_steps(rows)
    evaluations = math.ceil(steps / job.classifier.evaluate_every)
    classifier_s = steps * step.classifier_s + evaluations * images.count("val") * step.image_s
    if not arms.has_gan(job):
        return TrainingTime(
            classifier_s, 0.0, image_s=step.image_s, other_processes=step.other_processes, gpus=step.gpus
        )
    share = job.classifier.batch_size / _average_batch(job, images.counts["train"], steps)
    return TrainingTime(
        classifier_s,
        job.gan.count_steps(rows) * step.gan_s,
        look_s=LOOK_ANSWERS * min(rows, MAX_IMAGES_PER_SPLIT) * step.image_s,
        cas_s=job.gan.cas_steps * share * step.classifier_s,
        image_s=step.image_s,
        other_processes=step.other_processes,
        gpus=step.gpus,
    )


@contextmanager
def _isolate_torch(device: torch.device) -> Iterator[None]:
    """Give torch one thread and the memory it frees, as trainings have them, and leave its generators as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    drawn_on = [torch.cuda.current_device()] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(drawn_on), reuse_freed_memory(device):
            yield
    finally:
        torch.set_num_threads(threads)


def _read_clock(device: torch.device) -> float:
    """Return the seconds that this process has worked: a plan must not depend on what else runs at the moment.

    A GPU counts none of its own: there it is the time that has gone by, once all that was queued is done.
    """
    if device.type == "cpu":
        return time.process_time()
    torch.get_device_module(device).synchronize()
    return time.perf_counter()


class _EnoughSteps(Exception):
    """Ends a training whose steps have been timed."""


class _TimedBatches(BatchFeed):
    """Gives the same random batch at every step, notes when each step begins, and ends the training after some.

    It adds to ``waiting``, at each step, how many other processes want a core.
    """

    def __init__(self, rows: int, job: Job, images: ImageFacts, device: torch.device, waiting: list[int]) -> None:
        self._batch = draw_random_batch(rows, images.classes, images.channels, job.data.image_size, device)
        self._begins_s: list[float] = []
        self._waiting = waiting

    def count_rows(self, step: int) -> int:
        """Return the number of rows of every batch."""
        return self._batch.total

    def __call__(self, step: int) -> Batch:
        """Return the batch; raise _EnoughSteps where enough steps are timed."""
        self._begins_s.append(_read_clock(self._batch.x_BCHW.device))
        other_processes = _count_other_processes()
        if other_processes is not None:
            self._waiting.append(other_processes)
        timed_steps = len(self._begins_s) - 1 - WARM_UP_STEPS
        if timed_steps >= MIN_TIMED_STEPS and self._begins_s[-1] - self._begins_s[WARM_UP_STEPS] >= MIN_TIMED_S:
            raise _EnoughSteps
        return self._batch

    def compute_step_seconds(self) -> float:
        """Return the mean seconds of the steps after the warm-up."""
        return float(np.diff(self._begins_s[WARM_UP_STEPS:]).mean())


def _time_classifier(job: Job, images: ImageFacts, place: Place, waiting: list[int]) -> tuple[float, float]:
    """Return the seconds of a step and those of an answer to an image."""
    config = job.classifier
    steps = config.count_steps(images.count("train"))
    network_input = networks.choose_input(config.arch, job.data.image_size, config.input_size, config.is_pretrained)
    network = networks.build_network(config.arch, images.channels, images.classes, config.dropout, network_input)
    network.to(place.device).to(memory_format=torch.channels_last)
    batches = _TimedBatches(_average_batch(job, images.counts["train"], steps), job, images, place.device, waiting)
    val = _make_blank_images(min(network.batch_size, images.count("val")), job, images, place.device)
    # Compiling would take longer than all of this: the steps are timed without, and so are rather too slow.
    steps_alone = classifier_loop.keep_steps_alone(config, compiled=False)
    if config.augment == "auto":
        steps_alone = steps_alone.model_copy(update={"augment": "strong"})  # the longer of the two
    with suppress(_EnoughSteps):
        classifier_loop.train_classifier(network, batches, val, steps_alone, NEVER, 0, place, lambda row: None)
    return batches.compute_step_seconds(), _time_evaluation(network, val, place)


def _average_batch(job: Job, train_counts: dict[str, int], steps: int) -> int:
    """Return the rows of a batch, averaged over steps and arms: a step's time grows with them in a straight line."""
    size = job.classifier.batch_size
    rows = [size * steps]
    rows += [KINDS[arm.kind].count_rows(arm, train_counts, size, steps) for arm in job.compared_arms.values()]
    return round(sum(rows) / len(rows) / steps)


def _make_blank_images(rows: int, job: Job, images: ImageFacts, device: torch.device) -> ResidentImages:
    """Return black images of the job's size, to time an evaluation with."""
    size = job.data.image_size
    texts = [""] * rows
    pixels_NHWC = np.zeros((rows, size, size, images.channels), np.uint8)
    return ResidentImages(LabelledImages(pixels_NHWC, np.zeros(rows, np.int64), texts, texts, texts), device)


def _time_evaluation(network: networks.Network, val: ResidentImages, place: Place) -> float:
    """Return the seconds that an evaluation takes for each image."""
    classifier_loop.evaluate_network(network, val, place)  # the warm-up
    started = _read_clock(place.device)
    classifier_loop.evaluate_network(network, val, place)
    return (_read_clock(place.device) - started) / len(val)


def _time_gan(job: Job, images: ImageFacts, place: Place, waiting: list[int]) -> float:
    """Return the seconds of a step."""
    # Compiling would take longer than all of this: the steps are timed without, and so are rather too slow.
    never = dict.fromkeys(("log_every", "checkpoint_every", "snapshot_every"), NEVER)
    config = job.gan.model_copy(update={**never, "compile": False})
    shape = gan_loop.ImageShape(images.classes, images.channels, job.gan_image_size)
    batches = _TimedBatches(config.batch_size, job, images, place.device, waiting)
    hooks = gan_loop.Hooks(lambda row: None, lambda state: None, lambda step, average, discriminator: {})
    with suppress(_EnoughSteps):
        gan_loop.train_gan(batches, config, shape, NEVER, 0, place, None, hooks)
    return batches.compute_step_seconds()
