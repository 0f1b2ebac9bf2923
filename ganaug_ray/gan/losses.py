"""The adversarial losses: maths only. Each is two functions of logits, high for real, to a scalar."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class Loss:
    """What both networks lower.

    Attributes:
        discriminator: logits of real and of fake images, float [B] each -> scalar.
        generator: logits of fake images, float [B] -> scalar.
    """

    discriminator: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    generator: Callable[[torch.Tensor], torch.Tensor]


def _logistic_discriminator(real_B: torch.Tensor, fake_B: torch.Tensor) -> torch.Tensor:
    """Mean of -log D(real) plus mean of -log(1 - D(fake)), where D is the logits' sigmoid."""
    return F.softplus(-real_B).mean() + F.softplus(fake_B).mean()


def _logistic_generator(fake_B: torch.Tensor) -> torch.Tensor:
    """Mean of -log D(fake): unlike log(1 - D(fake)) it does not go flat where the discriminator is sure."""
    return F.softplus(-fake_B).mean()


def _hinge_discriminator(real_B: torch.Tensor, fake_B: torch.Tensor) -> torch.Tensor:
    """Mean of max(0, 1 - real) plus mean of max(0, 1 + fake): logits that are right by the margin count no more."""
    return F.relu(1 - real_B).mean() + F.relu(1 + fake_B).mean()


def _hinge_generator(fake_B: torch.Tensor) -> torch.Tensor:
    """Minus the mean logit."""
    return -fake_B.mean()


LOSSES = {
    "non_saturating": Loss(_logistic_discriminator, _logistic_generator),  # Goodfellow et al. 2014, arXiv 1406.2661
    "hinge": Loss(_hinge_discriminator, _hinge_generator),  # Lim & Ye 2017, arXiv 1705.02894; Miyato et al. 2018
}


def score(logits_B: torch.Tensor) -> torch.Tensor:
    """Mean of the logits' sigmoid, in [0, 1]: how real the discriminator takes the images to be, under any loss."""
    return logits_B.sigmoid().mean()
