"""Measures a snapshot of a GAN in training: its averaged generator's figures, and a grid of samples.

It gets the networks' weights as they were, on the CPU, and gives the same in whichever process it runs on a kind of
device: so a training may go on meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ganaug_ray.core import checkpoint, rng
from ganaug_ray.core.determinism import use_deterministic_algorithms
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.heap_memory import reuse_freed_memory
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import tensors
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.data.loading.sampler import Sampling
from ganaug_ray.gan import ema, image_grid, training_loop
from ganaug_ray.gan.metrics.evaluator import GanEvaluator
from ganaug_ray.gan.networks import Generator
from ganaug_ray.gan.training_spec import GanTraining

GRID_ROWS = 10  # classes
GRID_COLUMNS = 8
MAX_SAMPLE_IMAGES = 4096  # real images that pictures and quality are taken from, at most


@dataclass(frozen=True)
class Snapshot:
    """What a GAN is after a number of steps, as far as it is measured.

    Attributes:
        step: steps done.
        networks: the averaged generator and the discriminator, as ``pack_states`` gives them, on the CPU.
    """

    step: int
    networks: checkpoint.Tensors


@dataclass(frozen=True)
class MeasuredSnapshot:
    """What a snapshot's measurement gave.

    Attributes:
        snapshot: its networks, the generator now with batch-norm statistics of its own.
        figures: name -> value.
        grid_png: samples beside real images.
    """

    snapshot: Snapshot
    figures: dict[str, float]
    grid_png: bytes


class SnapshotMeter:
    """Measures the snapshots of one training, all against the same real images and with the same latents.

    Args:
        training: whose snapshots these are.
        device: where they are measured.

    Attributes:
        evaluator: of the training's data set.
        shape: of the images.

    Raises:
        UserError: there is no finished teacher, or the weights of InceptionV3 cannot be read.
    """

    def __init__(self, training: GanTraining, device: torch.device | str) -> None:
        self._training = training
        self._device = torch.device(device)
        dataset = Folder.from_uri(training.dataset)
        facts = DatasetRecord.read(dataset)
        self.shape = training_loop.ImageShape(len(facts.classes), facts.channels, training.size)
        self._train = ResidentImages.load(dataset / "train", self._device, max_rows=MAX_SAMPLE_IMAGES)
        val = ResidentImages.load(dataset / "val", self._device, max_rows=MAX_SAMPLE_IMAGES)
        teacher = Folder.from_uri(training.teacher)
        self.evaluator = GanEvaluator(self._train, val, teacher, training.config, training.seed)
        sampling = Sampling(training.config.sampling == "balanced")
        self._class_shares_K = sampling.compute_class_shares(list(facts.counts["train"].values()))

    def __call__(self, snapshot: Snapshot) -> MeasuredSnapshot:
        """Measure a snapshot.

        Raises:
            DivergenceError: in the training of the classifier that an accuracy score comes from.
        """
        config = self._training.config
        place = Place(device=self._device)
        generator, discriminator = training_loop.build_networks(
            config, self.shape, self._training.seed, place, snapshot.networks
        )
        with use_deterministic_algorithms(config.deterministic), reuse_freed_memory(self._device):
            ema.refresh_batch_norm(generator, self._class_shares_K, config.latent, self._training.seed)
            with torch.no_grad():
                grid = image_grid.encode_png(self._draw_sample_grid(generator))
                figures = self.evaluator.measure_quality(generator)
                figures |= self.evaluator.measure_overfitting(generator, discriminator)
            if snapshot.step % config.cas_every == 0:
                figures |= self.evaluator.measure_cas(generator)
        measured = snapshot.networks | checkpoint.pack_states({"generator": generator})
        return MeasuredSnapshot(Snapshot(snapshot.step, measured), figures, grid)

    def restore_generator(self, networks: checkpoint.Tensors) -> Generator:
        """Build the generator of a measured snapshot, in evaluation mode, on this device."""
        generator, _ = training_loop.build_networks(
            self._training.config, self.shape, self._training.seed, Place(device=self._device), networks
        )
        return generator.eval()

    def _draw_sample_grid(self, generator: Generator) -> np.ndarray:
        """A grid of generated images, one row a class, the same latents at every step; real ones beside it."""
        labels = self._train.labels_N
        draw = rng.make_generator(self._training.seed, "grid")
        fake_rows = []
        real_rows = []
        for label in range(min(self.shape.classes, GRID_ROWS)):
            z_BZ = torch.randn(GRID_COLUMNS, self._training.config.latent, generator=draw).to(labels.device)
            y_B = torch.full((GRID_COLUMNS,), label, device=labels.device)
            label_rows = (labels == label).nonzero().flatten().cpu().numpy()
            if not len(label_rows):  # of a large data set's rarest classes the sample may have none
                continue
            fake_rows.append(tensors.from_network(generator(z_BZ, y_B)).cpu().numpy())
            x_BCHW, _ = self._train.take_rows(np.resize(label_rows, GRID_COLUMNS))  # repeats where there are fewer
            x_BCHW = tensors.scale_images(x_BCHW, self.shape.size)
            real_rows.append(tensors.from_network(x_BCHW).cpu().numpy())
        return image_grid.join_side_by_side(image_grid.arrange_grid(fake_rows), image_grid.arrange_grid(real_rows))
