"""How long the trainings of a job take on this machine, by a few real steps of each kind on random images.

What is timed is the steps, and a classifier's evaluations on validation images. Reading the data, measuring a GAN's
quality, generating, screening and predicting are not in it, nor is the start of Ray, nor what else the machine does.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import torch

from ganaug_ray.augment import arms
from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.classify import networks
from ganaug_ray.classify import training_loop as classifier_loop
from ganaug_ray.config import Job
from ganaug_ray.config.base import TrainingConfig
from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.wording import format_count, format_time
from ganaug_ray.data.ingest.scan import Survey
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.gan import training_loop as gan_loop
from ganaug_ray.runtime.resources import Hardware, choose_worker_count, plan_stage

WARM_UP_STEPS = 1
MIN_TIMED_STEPS = 4
MIN_TIMED_S = 1.0
NEVER = 10**9  # steps


@dataclass(frozen=True)
class TrainingTime:
    """The seconds that trainings take on this machine, one process each.

    Attributes:
        classifier_s: of a classifier, with as many rows in a batch as the arms have on average; also of a teacher.
        gan_s: of a GAN; 0 where none is trained.
        gpus: of this machine, on which they are trained; 0: on its cores.
    """

    classifier_s: float
    gan_s: float
    gpus: int = 0

    def sum_seconds(self, job: Job) -> float:
        """Return the seconds that all trainings of a plan take, as many at a time as this machine runs."""
        return sum(math.ceil(group.count / group.at_a_time) * group.seconds for group in self._list_groups(job))

    def describe(self, job: Job) -> str:
        """Say for the dry run how long a plan's trainings take, and what comes on top of them."""
        rest = ["data", "predictions"]
        if arms.has_gan(job):
            rest += ["the GAN's figures of quality", "generation", "screening"]
        elif job.needs_synthetic_sources:
            rest += ["synthetic images from elsewhere", "screening"]
        if job.compare.sizes:
            rest.append("compare.sizes")
        if job.models:
            rest.append("compared models")
        groups = ", ".join(group.describe() for group in self._list_groups(job))
        return (
            f"about {format_time(self.sum_seconds(job))} of training on this machine: {groups}; "
            f"{', '.join(rest[:-1])} and {rest[-1]} come on top"
        )

    def _list_groups(self, job: Job) -> list[_TrainingGroup]:
        """List the trainings of all splits, without kinds of which there are none."""
        splits = job.compare.splits
        classifiers_at_a_time = _count_side_by_side(job.classifier, self.gpus)
        teachers = splits if arms.needs_teacher(job) else 0
        groups = [
            _TrainingGroup("classifier", splits * len(arms.list_pairs(job)), self.classifier_s, classifiers_at_a_time),
            _TrainingGroup("teacher", teachers, self.classifier_s, classifiers_at_a_time),
            _TrainingGroup("GAN", splits * arms.count_gans(job), self.gan_s, _count_side_by_side(job.gan, self.gpus)),
        ]
        return [group for group in groups if group.count]


@dataclass(frozen=True)
class _TrainingGroup:
    """Trainings of one kind: how many, the seconds of each, and how many run at a time."""

    noun: str
    count: int
    seconds: float
    at_a_time: int

    def describe(self) -> str:
        """Return the number, the time of each, and the order."""
        text = f"{format_count(self.count, self.noun)} of {format_time(self.seconds)}"
        if self.count == 1:
            return text
        at_a_time = min(self.count, self.at_a_time)
        return f"{text}, {at_a_time} at a time" if at_a_time > 1 else f"{text}, one after another"


def _count_side_by_side(config: TrainingConfig, gpus: int) -> int:
    """Return how many trainings run at a time here: with workers of one core or GPU each, as many as there is room for.

    Of a cluster that RAY_ADDRESS names this machine knows nothing: it is taken for a single process. Trainings that
    share a GPU are counted as one, since each then takes longer.
    """
    if "RAY_ADDRESS" in os.environ:
        return 1
    hardware = Hardware.of_one_machine(len(os.sched_getaffinity(0)), gpus)
    workers = 1 if config.workers == "auto" else choose_worker_count(config, 1, hardware)
    return max(1, plan_stage("train", hardware, workers).at_once)


def measure_training_time(job: Job, survey: Survey, device_name: str = "cpu") -> TrainingTime:
    """Time a few steps of the job's classifier and, if it trains one, of its GAN.

    Args:
        job: any number of splits and seeds.
        survey: of its images.
        device_name: cpu, or cuda in a process that has reserved a GPU.
    """
    device = torch.device(device_name)
    with _isolate_torch(device):
        gan_s = _time_gan(job, survey, Place(device=device)) if arms.has_gan(job) else 0.0
        return TrainingTime(_time_classifier(job, survey, Place(device=device)), gan_s)


@contextmanager
def _isolate_torch(device: torch.device) -> Iterator[None]:
    """Give torch one thread, as Ray gives a training, and leave its random generators as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng([torch.cuda.current_device()] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(threads)


def _read_clock(device: torch.device) -> float:
    """Return the seconds that this process has worked: a plan must not depend on what else runs at the moment.

    A GPU counts none of its own: there it is the time that has gone by, once all that was queued is done.
    """
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class _EnoughSteps(Exception):
    """Ends a training whose steps have been timed."""


class _TimedBatches(BatchFeed):
    """Gives the same random batch at every step, notes when each step begins, and ends the training after some."""

    def __init__(self, rows: int, job: Job, survey: Survey, device: torch.device) -> None:
        draw = rng.make_generator("training time")
        size = job.data.image_size
        x_BCHW = 2 * torch.rand(rows, survey.channels, size, size, generator=draw) - 1
        y_B = torch.randint(len(survey.classes), (rows,), generator=draw)
        self._batch = Batch(x_BCHW.to(device), y_B.to(device), np.arange(rows), rows)
        self._begins_s: list[float] = []

    def count_rows(self, step: int) -> int:
        """Return the number of rows of every batch."""
        return self._batch.total

    def __call__(self, step: int) -> Batch:
        """Return the batch; raise _EnoughSteps where enough steps are timed."""
        self._begins_s.append(_read_clock(self._batch.x_BCHW.device))
        timed_steps = len(self._begins_s) - 1 - WARM_UP_STEPS
        if timed_steps >= MIN_TIMED_STEPS and self._begins_s[-1] - self._begins_s[WARM_UP_STEPS] >= MIN_TIMED_S:
            raise _EnoughSteps
        return self._batch

    def compute_step_seconds(self) -> float:
        """Return the mean seconds of the steps after the warm-up."""
        return float(np.diff(self._begins_s[WARM_UP_STEPS:]).mean())


def _time_classifier(job: Job, survey: Survey, place: Place) -> float:
    config = job.classifier
    counts = survey.count_images()
    steps = config.count_steps(sum(counts["train"].values()))
    network_input = networks.choose_input(config.arch, job.data.image_size, config.input_size, config.is_pretrained)
    network = networks.build_network(config.arch, survey.channels, len(survey.classes), config.dropout, network_input)
    network.to(place.device).to(memory_format=torch.channels_last)
    batches = _TimedBatches(_average_batch(job, counts["train"], steps), job, survey, place.device)
    val = _make_blank_images(min(network.batch_size, sum(counts["val"].values())), job, survey, place.device)
    steps_alone = config.model_copy(
        update={"log_every": NEVER, "evaluate_every": NEVER, "freeze_steps": 0, "patience": None}
    )
    with suppress(_EnoughSteps):
        classifier_loop.train_classifier(network, batches, val, steps_alone, NEVER, 0, place, lambda row: None)
    evaluations = math.ceil(steps / config.evaluate_every)
    row_s = _time_evaluation(network, val, place)
    return steps * batches.compute_step_seconds() + evaluations * sum(counts["val"].values()) * row_s


def _average_batch(job: Job, train_counts: dict[str, int], steps: int) -> int:
    """Return the rows of a batch, averaged over steps and arms: a step's time grows with them in a straight line."""
    size = job.classifier.batch_size
    rows = [size * steps]
    rows += [KINDS[arm.kind].count_rows(arm, train_counts, size, steps) for arm in job.compared_arms.values()]
    return round(sum(rows) / len(rows) / steps)


def _make_blank_images(rows: int, job: Job, survey: Survey, device: torch.device) -> ResidentImages:
    """Return black images of the job's size, to time an evaluation with."""
    size = job.data.image_size
    texts = [""] * rows
    pixels_NHWC = np.zeros((rows, size, size, survey.channels), np.uint8)
    return ResidentImages(LabelledImages(pixels_NHWC, np.zeros(rows, np.int64), texts, texts, texts), device)


def _time_evaluation(network: networks.Network, val: ResidentImages, place: Place) -> float:
    """Return the seconds that an evaluation takes for each image."""
    classifier_loop.evaluate_network(network, val, place)  # the warm-up
    started = _read_clock(place.device)
    classifier_loop.evaluate_network(network, val, place)
    return (_read_clock(place.device) - started) / len(val)


def _time_gan(job: Job, survey: Survey, place: Place) -> float:
    # Compiling would take longer than all of this: the steps are timed without, and so are rather too slow.
    never = dict.fromkeys(("log_every", "checkpoint_every", "snapshot_every"), NEVER)
    config = job.gan.model_copy(update={**never, "compile": False})
    shape = gan_loop.ImageShape(len(survey.classes), survey.channels, job.gan_image_size)
    batches = _TimedBatches(config.batch_size, job, survey, place.device)
    hooks = gan_loop.Hooks(lambda row: None, lambda state: None, lambda step, average, discriminator: {})
    with suppress(_EnoughSteps):
        gan_loop.train_gan(batches, config, shape, NEVER, 0, place, None, hooks)
    return job.gan.count_steps(sum(survey.count_images()["train"].values())) * batches.compute_step_seconds()
