"""What rank 0 writes while a GAN trains: figures, checkpoints, pictures; and at the end the generator that did best."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch.optim.swa_utils import AveragedModel

from ganaug_ray import checkpoints, randomness, runs
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.data import tensors
from ganaug_ray.data.batches import Resident
from ganaug_ray.gan import ema, features, loop, memorization, pictures, quality
from ganaug_ray.gan.networks import Generator
from ganaug_ray.parallel import Place
from ganaug_ray.storage import Folder

if TYPE_CHECKING:
    from ganaug_ray.gan.worker import Training

GRID_ROWS = 10  # classes
GRID_COLUMNS = 8
SAMPLE = 4096  # real images that pictures and quality are taken from, at most
QUALITY_ROWS = 1000  # real images, and as many generated ones, at most
FRAMES = 60  # of the film, at most


class Recorder:
    """The hooks of rank 0."""

    def __init__(self, training: Training, shape: loop.Shape, steps_done: int, place: Place) -> None:
        self._training = training
        self._shape = shape
        dataset = Folder.at(training.dataset)
        self._train = Resident.load(dataset / "train", place.device, most=SAMPLE)
        self._val = Resident.load(dataset / "val", place.device, most=SAMPLE)
        self._out = Folder.at(training.out).make()
        self._log = runs.MetricsLog(self._out, steps_done)
        teacher = Classifier.load(Folder.at(training.teacher), place.device).network
        self._extractor = features.teacher(teacher, self._train.take(slice(0, QUALITY_ROWS))[0])
        attempts = runs.done(self._out, "attempts.json") or {"from_step": []}
        self._out.write_json("attempts.json", {"from_step": [*attempts["from_step"], steps_done]})

    def hooks(self) -> loop.Hooks:
        """Return what the loop calls."""
        return loop.Hooks(self._log.add, self._save, self._snapshot)

    def _save(self, checkpoint: checkpoints.Checkpoint) -> None:
        self._log.flush()  # before the checkpoint: a resume drops later lines, it cannot bring back lost ones
        checkpoints.save(self._out / "checkpoints", checkpoint, self._training.fingerprint())

    @torch.no_grad()
    def _snapshot(self, step: int, average: AveragedModel) -> None:
        generator = self._settled(average)
        self._out.write(f"samples/step-{step:08d}.png", pictures.png(self._picture(generator)))
        figures = self._measure(generator)
        if figures:
            self._log.add({"step": step, **figures})
        self._keep_if_best(step, generator, figures)

    def _settled(self, average: AveragedModel) -> Generator:
        return ema.settle(average, self._shape.classes, self._training.config.latent, self._training.seed)

    def _measure(self, generator: Generator) -> dict[str, float]:
        """Of the averaged generator against real images, in the teacher's features: of train, and of validation."""
        real_BCHW, y_B = self._train.take(slice(0, QUALITY_ROWS))
        fake_BCHW = self._draw(generator, y_B, "quality")
        found: dict[str, float] = {}
        fake_BF = self._extractor(fake_BCHW)
        for split, real, labels in (("train", real_BCHW, y_B), ("val", *self._val.take(slice(0, QUALITY_ROWS)))):
            measured = quality.measure(
                self._extractor(real), fake_BF, labels, y_B, "teacher", self._training.seed, split
            )
            # A figure a class is for the end: among many classes they would fill the log.
            found |= {name: value for name, value in measured.figures.items() if "_class_" not in name}
        return found

    def _draw(self, generator: Generator, y_B: torch.Tensor, purpose: str) -> torch.Tensor:
        """Generate images of these classes, at the real images' size: float [-1, 1], the same latents at every step."""
        draw = randomness.generator(self._training.seed, purpose)
        z_BZ = torch.randn(len(y_B), self._training.config.latent, generator=draw).to(y_B.device)
        fakes = [generator(z, y) for z, y in zip(z_BZ.split(256), y_B.split(256), strict=True)]
        return tensors.scaled(torch.cat(fakes), self._train.images_NHWC.shape[1])

    def _keep_if_best(self, step: int, generator: Generator, figures: dict[str, float]) -> None:
        """Keep the generator with the lowest KID: against validation images, or train where those are too few."""
        best = runs.done(self._out, "best.json")
        kids = [name for name in figures if "kid_teacher_n" in name and not name.endswith("_std")]
        chosen_by = next((name for name in kids if name.startswith("val_")), kids[0] if kids else None)
        value = figures[chosen_by] if chosen_by else None
        # Without a figure the last one is as good as any. A step met again after a resume gives what it gave before.
        if best is None or value is None or best["value"] is None or value <= best["value"]:
            self._out.write("best.safetensors", tensors_to_bytes(checkpoints.pack({"generator": generator})))
            self._out.write_json(
                "best.json", {"step": step, "chosen_by": chosen_by, "value": value, "figures": figures}
            )

    def _picture(self, generator: Generator) -> np.ndarray:
        """A grid of generated images, one row a class, the same latents at every step; real ones beside it."""
        labels = self._train.labels_N
        draw = randomness.generator(self._training.seed, "grid")
        fake_rows, real_rows = [], []
        for label in range(min(self._shape.classes, GRID_ROWS)):
            z_BZ = torch.randn(GRID_COLUMNS, self._training.config.latent, generator=draw).to(labels.device)
            y_B = torch.full((GRID_COLUMNS,), label, device=labels.device)
            own = (labels == label).nonzero().flatten().cpu().numpy()
            if not len(own):  # of a large data set's rarest classes the sample may have none
                continue
            fake_rows.append(tensors.from_network(generator(z_BZ, y_B)).cpu().numpy())
            x_BCHW, _ = self._train.take(np.resize(own, GRID_COLUMNS))  # repeats where there are fewer
            real_rows.append(tensors.from_network(tensors.scaled(x_BCHW, self._shape.size)).cpu().numpy())
        return pictures.beside(pictures.grid(fake_rows), pictures.grid(real_rows))

    def finish(self, average: AveragedModel, facts: dict[str, Any], steps: int, started: float) -> None:
        """Write the generator that did best, what there is to say of it and, last, the marker."""
        self._log.flush()
        if runs.done(self._out, "best.json") is None:  # killed between the last checkpoint and the first look
            self._keep_if_best(steps, self._settled(average), {})
        best = self._out.read_json("best.json")
        weights = self._out.read("best.safetensors")
        generator = self._generator(weights)
        self._out.write("gan.safetensors", weights)
        self._film()
        training = self._training
        record = {
            "hash": runs.content_hash(weights),
            "inputs": training.inputs,
            "classes": facts["classes"],
            "channels": self._shape.channels,
            "size": self._shape.size,
            "latent": training.config.latent,
            "filters": training.config.filters,
            "conditional": training.config.conditional,
            "recipe": asdict(training.config.recipe),
            "steps": steps,
            "images_seen": steps * training.config.batch_size,
            "chosen": {name: best[name] for name in ("step", "chosen_by", "value")},
            "quality": best["figures"],
            "memorization": self._memorization(generator),
            "seed": training.seed,
            "config": training.config.model_dump(),
        }
        runs.commit(self._out, "gan.json", "train-gan", started, record)

    def _generator(self, weights: bytes) -> Generator:
        generator, _ = loop.networks(self._training.config, self._shape, self._training.seed, Place())
        checkpoints.unpack(tensors_from_bytes(weights), {"generator": generator})
        return generator.to(self._train.labels_N.device).eval()

    @torch.no_grad()
    def _memorization(self, generator: Generator) -> dict[str, Any]:
        """Test whether the generator copies; write its images that are nearest to training images, above those."""
        real_NCHW, y_N = self._train.take(slice(0, QUALITY_ROWS))
        held_NCHW, _ = self._val.take(slice(0, QUALITY_ROWS))
        fake_NCHW = self._draw(generator, y_N, "memorization")
        spaces = [self._extractor, memorization.PIXELS]
        found = memorization.examine(real_NCHW, y_N, held_NCHW, fake_NCHW, spaces)
        if found.looks:
            pairs = max(found.looks, key=lambda look: look.excess).closest
            sides = fake_NCHW[[pair.generated for pair in pairs]], real_NCHW[[pair.train for pair in pairs]]
            rows = [tensors.from_network(side).cpu().numpy() for side in sides]
            self._out.write("closest_pairs.png", pictures.png(pictures.grid(rows)))
        return asdict(found)

    def _film(self) -> None:
        """Join the sample grids to a film of the training: the same latents, step after step."""
        samples = self._out / "samples"
        names = samples.files(".png")
        every = max(1, -(-len(names) // FRAMES))
        chosen = sorted({*names[::every], *names[-1:]})
        if chosen:
            self._out.write("film.gif", pictures.film([samples.read(name) for name in chosen]))
