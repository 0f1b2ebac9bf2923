"""A class-conditional DCGAN for 32 and 64 pixels.

Generator and discriminator after Radford et al. 2016 (arXiv 1511.06434); the label enters the generator as an
embedding beside the latent vector, and the discriminator as a projection (Miyato & Koyama 2018, arXiv 1802.05637).
"""

import math
from itertools import pairwise

import torch
from torch import nn


class Generator(nn.Module):
    """Latents and labels to images.

    With F filters and 64 pixels, [channels, height, width] after each layer:
    [2Z, 1, 1] -> [8F, 4, 4] -> [4F, 8, 8] -> [2F, 16, 16] -> [F, 32, 32] -> [C, 64, 64].

    Args:
        latent: Z, length of the latent vector.
        classes: K.
        channels: C of the images, 1 or 3.
        size: side of the images in pixels, a power of two from 16.
        filters: F.
    """

    def __init__(self, latent: int, classes: int, channels: int, size: int, filters: int) -> None:
        super().__init__()
        widths = _widths(size, filters)[::-1]
        self.embed = nn.Embedding(classes, latent)
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(2 * latent, widths[0], 4, 1, 0, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        for inner, outer in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=False),
                nn.BatchNorm2d(outer),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_init)

    def forward(self, z_BZ: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        """Latents float [B, Z] and labels int64 [B] -> images float [-1, 1] [B, C, H, W]."""
        code = torch.cat([z_BZ, self.embed(y_B)], dim=1)
        return self.layers(code[:, :, None, None])


class Discriminator(nn.Module):
    """Images and labels to logits, high for real.

    The mirror of the generator: [C, 64, 64] -> [F, 32, 32] -> [2F, 16, 16] -> [4F, 8, 8] -> [8F, 4, 4] -> 1.
    """

    def __init__(self, classes: int, channels: int, size: int, filters: int) -> None:
        super().__init__()
        widths = _widths(size, filters)
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for outer, inner in pairwise(widths):
            layers += [
                nn.Conv2d(outer, inner, 4, 2, 1, bias=False),
                nn.BatchNorm2d(inner),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.layers = nn.Sequential(*layers)
        self.score = nn.Conv2d(widths[-1], 1, 4, 1, 0)
        self.embed = nn.Embedding(classes, widths[-1])
        self.apply(_init)

    def forward(self, x_BCHW: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        """Images float [-1, 1] [B, C, H, W] and labels int64 [B] -> logits float [B]."""
        phi = self.layers(x_BCHW)
        return self.score(phi).flatten() + (phi.mean((2, 3)) * self.embed(y_B)).sum(1)


class RealAndFake(nn.Module):
    """The discriminator on a real and on a fake batch, apart, as batch norm needs it, in one forward for DDP."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(
        self, real_BCHW: torch.Tensor, fake_BCHW: torch.Tensor, y_B: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Two batches of images with the same labels -> logits of both, float [B] each."""
        return self.discriminator(real_BCHW, y_B), self.discriminator(fake_BCHW, y_B)


def _widths(size: int, filters: int) -> list[int]:
    """Filters a layer, from the one next to the image inwards to 4 × 4 pixels."""
    return [filters * 2**level for level in range(int(math.log2(size)) - 2)]


def _init(module: nn.Module) -> None:
    """The initial weights of the DCGAN paper: N(0, 0.02) for convolutions, N(1, 0.02) for batch-norm scales."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
