"""One rank of a GAN's training: opens the folders, runs the loop, and on rank 0 writes what it gives."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as tensors_to_bytes
from torch.optim.swa_utils import AveragedModel

from ganaug_ray import checkpoints, randomness, runs
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import GanConfig
from ganaug_ray.data import tensors
from ganaug_ray.data.batches import Resident, real_batches
from ganaug_ray.gan import ema, loop, quality
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder

GRID_ROWS = 10  # classes
GRID_COLUMNS = 8
SAMPLE = 4096  # real images that pictures and quality are taken from, at most
QUALITY_ROWS = 1000  # real images, and as many generated ones, at most


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
        config = self.config.model_dump(exclude={"workers"})
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
    batches = real_batches(training.dataset, config.batch_size, training.resident_gb, training.seed, place)
    start = checkpoints.latest(out / "checkpoints", training.fingerprint(), notice=print)
    first = start.step if start else 0
    recorder = _Recorder(training, shape, first, place) if place.is_first else _Silent()
    average = loop.train(batches, config, shape, steps, training.seed, place, start, recorder.hooks())
    if isinstance(recorder, _Recorder):
        recorder.finish(average, facts, steps, started)


class _Silent:
    """The hooks of the ranks that write nothing."""

    def hooks(self) -> loop.Hooks:
        return loop.Hooks(lambda row: None, lambda checkpoint: None, lambda step, average: None)


class _Recorder:
    """The hooks of rank 0: figures, checkpoints, pictures, and at the end the generator itself."""

    def __init__(self, training: Training, shape: loop.Shape, steps_done: int, place: Place) -> None:
        self._training = training
        self._shape = shape
        self._rows = Resident.load(Folder.at(training.dataset) / "train", place.device, most=SAMPLE)
        self._out = Folder.at(training.out).make()
        self._log = runs.MetricsLog(self._out, steps_done)
        self._teacher = Classifier.load(Folder.at(training.teacher), place.device).network
        attempts = runs.done(self._out, "attempts.json") or {"from_step": []}
        self._out.write_json("attempts.json", {"from_step": [*attempts["from_step"], steps_done]})

    def hooks(self) -> loop.Hooks:
        return loop.Hooks(self._log.add, self._save, self._snapshot)

    def _save(self, checkpoint: checkpoints.Checkpoint) -> None:
        self._log.flush()  # before the checkpoint: a resume drops later lines, it cannot bring back lost ones
        checkpoints.save(self._out / "checkpoints", checkpoint, self._training.fingerprint())

    def _settled(self, average: AveragedModel) -> "loop.Generator":
        config = self._training.config
        return ema.settle(average, self._shape.classes, config.latent, self._training.seed)

    @torch.no_grad()
    def _snapshot(self, step: int, average: AveragedModel) -> None:
        generator = self._settled(average)
        self._out.write(f"samples/step-{step:08d}.png", quality.png(self._picture(generator)))
        n = min(len(self._rows), QUALITY_ROWS)
        if n >= quality.FEWEST:
            self._log.add({"step": step, **self._kid(generator, n)})

    def _picture(self, generator: "loop.Generator") -> np.ndarray:
        """A grid of generated images, one row a class, the same latents at every step; real ones beside it."""
        labels = self._rows.labels_N
        draw = randomness.generator(self._training.seed, "grid")
        fake_rows, real_rows = [], []
        for label in range(min(self._shape.classes, GRID_ROWS)):
            z_BZ = torch.randn(GRID_COLUMNS, self._training.config.latent, generator=draw).to(labels.device)
            y_B = torch.full((GRID_COLUMNS,), label, device=labels.device)
            own = (labels == label).nonzero().flatten().cpu().numpy()
            if not len(own):  # of a large data set's rarest classes the sample may have none
                continue
            fake_rows.append(tensors.from_network(generator(z_BZ, y_B)).cpu().numpy())
            x_BCHW, _ = self._rows.take(np.resize(own, GRID_COLUMNS))  # repeats where there are fewer
            real_rows.append(tensors.from_network(tensors.scaled(x_BCHW, self._shape.size)).cpu().numpy())
        return quality.beside(quality.grid(fake_rows), quality.grid(real_rows))

    def _kid(self, generator: "loop.Generator", n: int) -> dict[str, float]:
        """Of the averaged generator against real training images of the same classes, in the teacher's features."""
        real_BCHW, y_B = self._rows.take(slice(0, n))
        draw = randomness.generator(self._training.seed, "kid latents")
        z_BZ = torch.randn(n, self._training.config.latent, generator=draw).to(y_B.device)
        fakes = [generator(z, y) for z, y in zip(z_BZ.split(256), y_B.split(256), strict=True)]
        fake_BCHW = tensors.scaled(torch.cat(fakes), real_BCHW.shape[-1])
        return quality.kid(self._teacher, "teacher", real_BCHW, fake_BCHW, self._training.seed)

    def _last_quality(self) -> dict[str, float]:
        """From the log, not from memory: the last picture may be an earlier attempt's."""
        rows = [row for row in runs.read_metrics(self._out) if any(name.startswith("kid_") for name in row)]
        return {name: value for name, value in rows[-1].items() if name != "step"} if rows else {}

    def finish(self, average: AveragedModel, facts: dict[str, Any], steps: int, started: float) -> None:
        """Write the averaged generator and, last, the marker."""
        self._log.flush()
        weights = tensors_to_bytes(checkpoints.pack({"generator": self._settled(average)}))
        self._out.write("gan.safetensors", weights)
        training = self._training
        record = {
            "hash": runs.content_hash(weights),
            "inputs": training.inputs,
            "classes": facts["classes"],
            "channels": self._shape.channels,
            "size": self._shape.size,
            "latent": training.config.latent,
            "filters": training.config.filters,
            "steps": steps,
            "images_seen": steps * training.config.batch_size,
            "quality": self._last_quality(),
            "seed": training.seed,
            "config": training.config.model_dump(),
        }
        runs.commit(self._out, "gan.json", "train-gan", started, record)
