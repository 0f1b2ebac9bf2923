"""The moving average of the generator's weights, which is the generator that is sampled and saved."""

import numpy as np
import torch
from torch import nn

from ganaug_ray.core import rng
from ganaug_ray.core.weight_average import WeightAverage
from ganaug_ray.gan.networks import Generator

STANDING_BATCHES = 16
STANDING_BATCH_SIZE = 64


def build_average(generator: Generator, batch_size: int, half_life: int) -> WeightAverage[Generator]:
    """Return a moving average of the generator's weights whose memory halves every ``half_life`` images seen.

    A half-life of 0 forgets at once: the average is the generator.
    """
    return WeightAverage(generator, decay=0.5 ** (batch_size / half_life) if half_life else 0.0)


@torch.no_grad()
def refresh_batch_norm(generator: Generator, class_shares_K: np.ndarray, latent: int, seed: int) -> Generator:
    """Recompute the averaged generator's batch-norm statistics in place, and return it in evaluation mode.

    The running statistics from training belong to other weights (and, under DDP, to rank 0's rows alone).
    The new ones are plain means over a fixed set of latents: "standing statistics" (Brock et al. 2019).

    Args:
        generator: with averaged weights.
        class_shares_K: how often training drew each class, float64 [K]: of a mixture of other shares, batch norm
            would shift every class away from what it was trained with.
        latent: length of the latent vector.
        seed: of the latents and labels.
    """
    norms = [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    generator.train()
    device = next(generator.parameters()).device
    draw = rng.make_generator(seed, "standing statistics")
    shares_K = torch.from_numpy(class_shares_K)
    for _ in range(STANDING_BATCHES):
        z_BZ = torch.randn(STANDING_BATCH_SIZE, latent, generator=draw)
        y_B = torch.multinomial(shares_K, STANDING_BATCH_SIZE, replacement=True, generator=draw)
        generator(z_BZ.to(device), y_B.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return generator.eval()
