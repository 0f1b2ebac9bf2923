"""The adversarial losses that the discriminator and the generator minimise; formulas only.

A loss is given the discriminator and images, not only logits: so it may compare real with fake images in pairs, or
penalise the discriminator's gradients at the images. To add one: a subclass here, its name in LOSSES, and the same
name in ``config.gan_presets.LossName``.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ganaug_ray.gan.networks import Discriminator


class AutocastDiscriminator:
    """The discriminator as a loss calls it: its layers run in the training's precision, the loss in full precision.

    Args:
        discriminator: takes images float [B, C, H, W] and labels int64 [B] to logits float32 [B], high for real.
        autocast: the precision of its layers.
    """

    def __init__(self, discriminator: Discriminator, autocast: torch.autocast) -> None:
        self._discriminator = discriminator
        self._autocast = autocast

    def __call__(self, x_BCHW: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        """Calculate the logits of one batch.

        Args:
            x_BCHW: images, float [B, C, H, W], around [-1, 1].
            y_B: their labels, int64 [B].

        Returns:
            Logits, float32 [B].
        """
        with self._autocast:
            return self._discriminator(x_BCHW, y_B)

    def compute_pair_logits(
        self, real_BCHW: torch.Tensor, fake_BCHW: torch.Tensor, y_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Calculate the logits of real and of fake images with the same labels.

        Args:
            real_BCHW: real images, float [B, C, H, W], around [-1, 1].
            fake_BCHW: generated images, likewise.
            y_B: the labels of both, int64 [B].

        Returns:
            Logits of the real and of the fake images, float32 [B] each.
        """
        with self._autocast:
            if self._discriminator.has_batch_norm:  # apart, or each would be normalised by the other's statistics
                real_B = self._discriminator(real_BCHW, y_B)
                fake_B = self._discriminator(fake_BCHW, y_B)
            else:
                logits = self._discriminator(torch.cat([real_BCHW, fake_BCHW]), y_B.repeat(2))
                real_B, fake_B = logits.chunk(2)
        return real_B, fake_B


class DiscriminatorLoss(NamedTuple):
    """The discriminator's loss, and the logits behind it.

    Attributes:
        loss: scalar.
        real_B: logits of the real images, float32 [B].
        fake_B: logits of the fake images, float32 [B].
    """

    loss: torch.Tensor
    real_B: torch.Tensor
    fake_B: torch.Tensor


class GanLoss(ABC):
    """Base class of adversarial losses: one for the discriminator and one for the generator.

    Both methods get the same labels for real and fake images, which are already augmented.

    Gradients with respect to images are at hand, as R1 and R2 need them (Mescheder et al. 2018, arXiv 1801.04406), on
    a copy: ``real_BCHW.detach().requires_grad_()``. They need ``create_graph=True``, which torch's compiler does not
    support: such a loss trains without ``gan.compile``.
    """

    @abstractmethod
    def compute_discriminator_loss(
        self, discriminator: AutocastDiscriminator, real_BCHW: torch.Tensor, fake_BCHW: torch.Tensor, y_B: torch.Tensor
    ) -> DiscriminatorLoss:
        """Calculate the discriminator's loss.

        Args:
            discriminator: may be called more than once.
            real_BCHW: real images, float [B, C, H, W], around [-1, 1].
            fake_BCHW: generated images, likewise; no gradient leads to the generator.
            y_B: the labels of both, int64 [B].

        Returns:
            The loss, a mean over the batch, and the logits of both.
        """

    @abstractmethod
    def compute_generator_loss(
        self, discriminator: AutocastDiscriminator, real_BCHW: torch.Tensor, fake_BCHW: torch.Tensor, y_B: torch.Tensor
    ) -> torch.Tensor:
        """Calculate the generator's loss.

        Args:
            discriminator: its weights are frozen; gradients flow through it to the images.
            real_BCHW: real images, float [B, C, H, W], around [-1, 1]: those of the discriminator's step.
            fake_BCHW: newly generated images, likewise.
            y_B: the labels of both, int64 [B].

        Returns:
            The loss, a mean over the batch: scalar.
        """


class NonSaturatingLoss(GanLoss):
    """The logistic loss of Goodfellow et al. 2014 (arXiv 1406.2661); D is the logits' sigmoid."""

    def compute_discriminator_loss(
        self, discriminator: AutocastDiscriminator, real_BCHW: torch.Tensor, fake_BCHW: torch.Tensor, y_B: torch.Tensor
    ) -> DiscriminatorLoss:
        """Calculate the mean of -log D(real) plus the mean of -log(1 - D(fake))."""
        real_B, fake_B = discriminator.compute_pair_logits(real_BCHW, fake_BCHW, y_B)
        loss = F.softplus(-real_B).mean() + F.softplus(fake_B).mean()
        return DiscriminatorLoss(loss, real_B, fake_B)

    def compute_generator_loss(
        self, discriminator: AutocastDiscriminator, real_BCHW: torch.Tensor, fake_BCHW: torch.Tensor, y_B: torch.Tensor
    ) -> torch.Tensor:
        """Calculate the mean of -log D(fake), whose gradient does not vanish where the discriminator is sure."""
        return F.softplus(-discriminator(fake_BCHW, y_B)).mean()


class HingeLoss(GanLoss):
    """The hinge loss of Lim & Ye 2017 (arXiv 1705.02894), also in Miyato et al. 2018 (arXiv 1802.05957)."""

    def compute_discriminator_loss(
        self, discriminator: AutocastDiscriminator, real_BCHW: torch.Tensor, fake_BCHW: torch.Tensor, y_B: torch.Tensor
    ) -> DiscriminatorLoss:
        """Calculate the mean of max(0, 1 - real) plus the mean of max(0, 1 + fake), of logits."""
        real_B, fake_B = discriminator.compute_pair_logits(real_BCHW, fake_BCHW, y_B)
        loss = F.relu(1 - real_B).mean() + F.relu(1 + fake_B).mean()
        return DiscriminatorLoss(loss, real_B, fake_B)

    def compute_generator_loss(
        self, discriminator: AutocastDiscriminator, real_BCHW: torch.Tensor, fake_BCHW: torch.Tensor, y_B: torch.Tensor
    ) -> torch.Tensor:
        """Calculate minus the mean of the fake images' logits."""
        return -discriminator(fake_BCHW, y_B).mean()


LOSSES: dict[str, GanLoss] = {
    "non_saturating": NonSaturatingLoss(),
    "hinge": HingeLoss(),
}
"""All losses by name; a preset names its own."""


class DiscriminatorStep(nn.Module):
    """A module whose forward pass is the discriminator's whole loss, so that DDP averages its gradients once.

    Args:
        discriminator: whose gradients DDP averages.
        run_discriminator: calls it in the training's precision.
        loss: what it minimises.
    """

    def __init__(self, discriminator: Discriminator, run_discriminator: AutocastDiscriminator, loss: GanLoss) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._run_discriminator = run_discriminator
        self._loss = loss

    def forward(self, real_BCHW: torch.Tensor, fake_BCHW: torch.Tensor, y_B: torch.Tensor) -> DiscriminatorLoss:
        """Calculate the loss and the logits of real and fake images float [B, C, H, W] with labels int64 [B]."""
        return self._loss.compute_discriminator_loss(self._run_discriminator, real_BCHW, fake_BCHW, y_B)


def compute_realness(logits_B: torch.Tensor) -> torch.Tensor:
    """Calculate how real the discriminator takes images to be: the mean sigmoid of the logits, for any loss.

    Args:
        logits_B: float [B], high for real.

    Returns:
        A scalar in [0, 1].

    >>> compute_realness(torch.tensor([0.0, 100.0])).item()
    0.75
    """
    return logits_B.sigmoid().mean()
