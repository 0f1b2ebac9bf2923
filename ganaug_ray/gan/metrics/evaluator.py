"""Measures a generator against the experiment's real images, while it trains and when it is finished.

Features are computed in the process that measures, not by Ray Data's actors: of a split at most 1,000 images are
compared. Their teacher features took one core 0.5 s at 32 pixels, 3.4 s at 64 and 15 s at 128; two actors of Ray Data
took 16 s to start on two cores, beside other work.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config import ClassifierConfig, GanConfig
from ganaug_ray.core import rng
from ganaug_ray.core.records import ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import tensors
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.gan.metrics import (
    classification_accuracy_score,
    conditional_kid,
    features,
    kid_fid_prdc,
    overfitting,
)
from ganaug_ray.gan.metrics.held_out_comparison import ComparedImages, compare_with_held_out
from ganaug_ray.gan.networks import Discriminator, Generator

MAX_IMAGES_PER_SPLIT = 1000  # real images of a split, and as many generated ones, at most


@dataclass(frozen=True)
class _RealSplit:
    """Real images of one split, with their features."""

    x_NCHW: torch.Tensor
    y_N: torch.Tensor
    features_NF: torch.Tensor


class GanEvaluator:
    """Measures generators against the same real images, with the same latents at every evaluation.

    Args:
        train: real training images. Only the first 1,000 are used (``MAX_IMAGES_PER_SPLIT``).
        val: real validation images; likewise.
        teacher: folder of a classifier that was trained on real images. The accuracy score takes its settings, and its
            features are compared unless ``config.inception`` names a weights file of InceptionV3.
        config: of the GAN.
        seed: of the latents, of KID's subsets, and of the classifier that the accuracy score trains.

    Raises:
        UserError: there is no finished teacher, or the weights of InceptionV3 cannot be read.
    """

    def __init__(
        self, train: ResidentImages, val: ResidentImages, teacher: Folder, config: GanConfig, seed: int
    ) -> None:
        device = train.labels_N.device
        train_x, train_y = train.take_rows(slice(0, MAX_IMAGES_PER_SPLIT))
        val_x, val_y = val.take_rows(slice(0, MAX_IMAGES_PER_SPLIT))
        self._teacher = Classifier.load(teacher, device).network
        if config.inception:
            self.extractor = features.load_inception_v3(Path(config.inception), device)
        else:
            self.extractor = features.build_teacher_extractor(self._teacher, train_x)
        self._real = {
            "train": _RealSplit(train_x, train_y, self.extractor(train_x)),
            "val": _RealSplit(val_x, val_y, self.extractor(val_x)),
        }
        record = ModelRecord.read(teacher)
        self._classes = record.classes
        self._classifier = ClassifierConfig(**record.config)
        self._config = config
        self._seed = seed

    @property
    def train_rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The training images, float32 [N, C, H, W] in [-1, 1], and their labels, int64 [N]."""
        return self._real["train"].x_NCHW, self._real["train"].y_N

    @property
    def val_images(self) -> torch.Tensor:
        """The validation images, float32 [M, C, H, W] in [-1, 1]."""
        return self._real["val"].x_NCHW

    def generate_samples(self, generator: Generator, purpose: str, split: str = "train") -> torch.Tensor:
        """Generate as many images as there are training images here, scaled to their size.

        Args:
            generator: in evaluation mode.
            purpose: key of the latents: an equal seed and purpose give equal latents.
            split: ``train`` or ``val``: the classes asked for are the labels of this split, repeated as often as
                needed.

        Returns:
            float [N, C, H, W], in [-1, 1] as far as the generator's are.
        """
        x_NCHW, _ = self.train_rows
        fake_NCHW = self._generate_unscaled(generator, purpose, self._repeat_labels(split))
        return tensors.scale_images(fake_NCHW, x_NCHW.shape[-1])

    def _generate_unscaled(self, generator: Generator, purpose: str, y_N: torch.Tensor) -> torch.Tensor:
        draw = rng.make_generator(self._seed, purpose)
        z_NZ = torch.randn(len(y_N), self._config.latent, generator=draw).to(y_N.device)
        return torch.cat([generator(z, y) for z, y in zip(z_NZ.split(256), y_N.split(256), strict=True)])

    def _repeat_labels(self, split: str) -> torch.Tensor:
        """Labels for as many images as there are training images, in the shares of a split, int64 [N]."""
        labels = self._real[split].y_N
        n = len(self._real["train"].y_N)
        return labels.repeat(-(-n // len(labels)))[:n]

    def measure_quality(self, generator: Generator, by_class: bool = False) -> dict[str, float]:
        """Measure generated images against training and against validation images, by KID, FID and PRDC.

        For a conditional generator there are also ``conditional_kid_<features>_n<N>``, with its standard error
        ``..._std``, and ``agreement_teacher_n<N>``: the share of generated images, in [0, 1], that the teacher assigns
        to the class that was asked for.

        Args:
            generator: in evaluation mode.
            by_class: whether to add the KID of every class that has enough images, for a conditional generator. With
                many classes these would fill the log.

        Returns:
            Name -> value. Names that begin with ``val_`` compare with validation images, those without with training
            images. A metric for which there are too few images is left out.
        """
        names = self._classes if by_class and self._config.conditional else None
        quality_figures: dict[str, float] = {}
        for split, real in self._real.items():
            # Where training images are a long tail and validation images are not, samples of the former's classes
            # would be far from the latter however good they are.
            fake_NCHW = self.generate_samples(generator, "quality", split)
            y_N = self._repeat_labels(split)
            fake_NF = self.extractor(fake_NCHW)
            measured = kid_fid_prdc.measure_quality(
                real.features_NF, fake_NF, real.y_N, y_N, self.extractor.name, self._seed, split, names
            )
            quality_figures |= measured.figures
            if self._config.conditional:
                quality_figures |= conditional_kid.measure_conditional_kid(
                    real.features_NF, fake_NF, real.y_N, y_N, self.extractor.name, split
                )
        if self._config.conditional:  # of the validation images' classes, the last drawn
            predicted_N = self._predict(fake_NCHW)
            quality_figures[f"agreement_teacher_n{len(y_N)}"] = (predicted_N == y_N).float().mean().item()
        return quality_figures

    def _predict(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """The teacher's classes, int64 [N]."""
        return torch.cat([self._teacher(x_BCHW).argmax(1) for x_BCHW in x_NCHW.split(256)])

    def compare_with_held_out(self, generator: Generator, labels: Sequence[int] | None = None) -> dict[str, Any]:
        """Measure generated images beside the validation images, which it has not seen; see ``compare_with_held_out``.

        Args:
            generator: in evaluation mode.
            labels: numbers of the classes that it knows; absent: all, if it knows any.

        Returns:
            The fields of ``core.records.gan.HeldOutComparison``.
        """
        train, val = self._real["train"], self._real["val"]
        draws = itertools.count()

        def draw(y_N: torch.Tensor) -> ComparedImages:
            fake_NCHW = self._generate_unscaled(generator, f"held-out comparison {next(draws)}", y_N)
            fake_NCHW = tensors.scale_images(fake_NCHW, train.x_NCHW.shape[-1])
            return ComparedImages(self.extractor(fake_NCHW), y_N, self._predict(fake_NCHW))

        held_out = ComparedImages(val.features_NF, val.y_N, self._predict(val.x_NCHW))
        if labels is None and self._config.conditional:
            labels = range(len(self._classes))
        return compare_with_held_out(train.features_NF, train.y_N, held_out, draw, self._classes, self._seed, labels)

    def measure_overfitting(self, generator: Generator, discriminator: Discriminator) -> dict[str, float]:
        """Measure how far the discriminator knows the training images by heart; see ``compute_validation_gap``.

        Args:
            generator: in evaluation mode.
            discriminator: the one that it is trained against; it stays as it is.

        Returns:
            ``val_gap``; empty where training images score no higher than generated ones.
        """
        train, val = self._real["train"], self._real["val"]
        fake_NCHW = self._generate_unscaled(generator, "quality", train.y_N)
        logits = [
            overfitting.judge_images(discriminator, tensors.scale_images(x_NCHW, fake_NCHW.shape[-1]), y_N)
            for x_NCHW, y_N in ((train.x_NCHW, train.y_N), (val.x_NCHW, val.y_N), (fake_NCHW, train.y_N))
        ]
        gap = overfitting.compute_validation_gap(*logits)
        return {} if gap is None else {"val_gap": gap}

    def measure_cas(self, generator: Generator) -> dict[str, float]:
        """Measure what a classifier learns from generated images alone, with ``compute_cas``.

        Args:
            generator: in evaluation mode.

        Returns:
            The accuracy score by its name; empty for an unconditional generator, whose images have no classes.

        Raises:
            DivergenceError: a gradient of that classifier was not finite.
        """
        if not self._config.conditional:
            return {}
        pixels = tensors.from_network(self.generate_samples(generator, "quality", "val")).cpu().numpy()
        val_pixels = tensors.from_network(self.val_images).cpu().numpy()
        fake_y = self._repeat_labels("val").cpu().numpy()
        val_y = self._real["val"].y_N.cpu().numpy()
        return classification_accuracy_score.compute_cas(
            pixels,
            fake_y,
            val_pixels,
            val_y,
            len(self._classes),
            self._classifier,
            self._seed,
            self._config.cas_steps,
            self._real["train"].y_N.device,
        )
