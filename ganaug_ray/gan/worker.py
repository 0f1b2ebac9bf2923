"""One rank of a GAN's training: opens the folders, runs the loop, and on rank 0 writes what it gives."""

import time
from dataclasses import asdict, dataclass

from ganaug_ray import checkpoints, runs
from ganaug_ray.config import GanConfig
from ganaug_ray.config.base import SPREADING
from ganaug_ray.data.batches import real_batches
from ganaug_ray.data.sampling import Sampling
from ganaug_ray.gan import loop
from ganaug_ray.gan.recorder import Recorder
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder


@dataclass(frozen=True)
class Training:
    """One GAN to train: plain data, so that it travels to any process."""

    config: GanConfig
    size: int
    seed: int
    dataset: str
    teacher: str
    out: str
    resident_gb: float
    """GB of training images that a worker keeps in memory; more are streamed."""
    inputs: dict[str, str]
    """Hashes of the data set and the teacher."""

    def fingerprint(self) -> str:
        """Of all that decides the weights: a checkpoint serves only the training that made it."""
        config = self.config.model_dump(exclude=SPREADING) | asdict(self.config.recipe)
        return runs.fingerprint(config, self.size, self.seed, self.inputs)


def work(training: Training, place: Place) -> None:
    """Train one rank, from the newest checkpoint if there is one; returns when gan.json is written.

    Raises:
        Diverged: a loss was not finite.
    """
    started = time.monotonic()
    config, out = training.config, Folder.at(training.out)
    facts = Folder.at(training.dataset).read_json("dataset.json")
    steps = config.total_steps(sum(facts["counts"]["train"].values()))
    shape = loop.Shape(len(facts["classes"]), facts["channels"], training.size)
    sampling = Sampling(config.sampling == "balanced")
    batches = real_batches(
        training.dataset, config.batch_size, training.resident_gb, training.seed, place, sampling=sampling
    )
    start = checkpoints.latest(out / "checkpoints", training.fingerprint(), notice=print)
    first = start.step if start else 0
    recorder = Recorder(training, shape, first, place) if place.is_first else None
    hooks = recorder.hooks() if recorder else _SILENT
    loop.train(batches, config, shape, steps, training.seed, place, start, hooks)
    if recorder:
        recorder.finish(facts, started)


_SILENT = loop.Hooks(lambda row: None, lambda checkpoint: None, lambda step, average, discriminator: None)
