"""The adversarial losses: maths only (Goodfellow et al. 2014, the non-saturating form)."""

import torch
from torch.nn import functional as F


def discriminator_loss(real_B: torch.Tensor, fake_B: torch.Tensor) -> torch.Tensor:
    """Logits of real and fake images -> mean of -log D(real) plus mean of -log(1 - D(fake)), a scalar."""
    return F.softplus(-real_B).mean() + F.softplus(fake_B).mean()


def generator_loss(fake_B: torch.Tensor) -> torch.Tensor:
    """Logits of fake images -> mean of -log D(fake), a scalar."""
    return F.softplus(-fake_B).mean()


def score(logits_B: torch.Tensor) -> torch.Tensor:
    """Mean of the logits' sigmoid, in [0, 1]: how real the discriminator takes the images to be."""
    return logits_B.sigmoid().mean()
