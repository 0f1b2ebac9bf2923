"""A DCGAN for 16, 32, 64 and 128 pixels, class-conditional or not.

Generator and discriminator after Radford et al. 2016 (arXiv 1511.06434); the label enters the generator through its
batch norms, and the discriminator as a projection (Miyato & Koyama 2018, arXiv 1802.05637). Networks for no classes
take labels too and ignore them, so that training and sampling need not ask.
"""

import math
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm  # private, for its buffers' names are those of saved weights
from torch.nn.utils.parametrize import register_parametrization


class Generator(nn.Module):
    """The generator network: turns latents and class labels into images.

    With F filters and 64 pixels, [channels, height, width] after each layer:
    [Z, 1, 1] -> [8F, 4, 4] -> [4F, 8, 8] -> [2F, 16, 16] -> [F, 32, 32] -> [C, 64, 64].

    Args:
        latent: Z, length of the latent vector.
        classes: K; 0: labels are ignored.
        channels: C of the images, 1 or 3.
        size: side of the images in pixels, a power of two from 16.
        filters: F.
    """

    def __init__(self, latent: int, classes: int, channels: int, size: int, filters: int) -> None:
        super().__init__()
        widths = _compute_widths(size, filters)[::-1]
        self.first = nn.ConvTranspose2d(latent, widths[0], 4, 1, 0, bias=False)
        self.larger = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(_build_norm(width, classes) for width in widths)
        self.last = nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1)
        self.apply(_init_weights)

    def forward(self, z_BZ: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        """Generate images float [B, C, H, W] in [-1, 1] from latents float [B, Z] and labels int64 [B]."""
        x_BCHW = z_BZ[:, :, None, None]
        for layer, norm in zip([self.first, *self.larger], self.norms, strict=True):
            x_BCHW = norm(layer(x_BCHW), y_B).relu()
        return self.last(x_BCHW).float().tanh()  # images in full precision also under autocast


def _build_norm(width: int, classes: int) -> nn.Module:
    return ConditionalBatchNorm(width, classes) if classes else BatchNorm(width)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that takes labels, as ``ConditionalBatchNorm`` does, and ignores them."""

    def forward(self, x_BCHW: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # takes labels too
        """Normalise features; the labels are ignored."""
        return super().forward(x_BCHW)


class ConditionalBatchNorm(nn.Module):
    """Batch norm with a scale and shift for each class (Dumoulin et al. 2017, arXiv 1610.07629).

    The label enters here alone, so that the latents have the network's input to themselves. Entered beside them as
    an embedding, it was measured on 200 digits to be ignored (embeddings of size 0.02) or to push the latents out:
    one image a class (size 1). The scales and shifts start apart, or 1,500 steps are too few to tell classes apart.
    """

    INIT_STD = 0.5

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.scale = nn.Embedding(classes, width)
        self.shift = nn.Embedding(classes, width)
        nn.init.normal_(self.scale.weight, 1.0, self.INIT_STD)
        nn.init.normal_(self.shift.weight, 0.0, self.INIT_STD)

    def forward(self, x_BCHW: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        """Normalise features, then scale and shift each row by the weights of its label, int64 [B].

        In the features' type: under autocast the weights, which are in full precision, would make them so too, at
        twice the memory traffic.
        """
        x_BCHW = self.norm(x_BCHW)
        scale = self.scale(y_B)[:, :, None, None].to(x_BCHW.dtype)
        shift = self.shift(y_B)[:, :, None, None].to(x_BCHW.dtype)
        return x_BCHW * scale + shift


class SpectralNorm(_SpectralNorm):
    """Spectral norm whose power iteration is in full precision also under autocast.

    CUDA's autocast would run it in bfloat16, and so know the largest singular value to some 0.4 % only.
    """

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Divide a weight by its largest singular value, both float32."""
        with torch.autocast(weight.device.type, enabled=False):
            return super().forward(weight)


class Discriminator(nn.Module):
    """The discriminator network: turns images and class labels into logits, high for real.

    The mirror of the generator: [C, 64, 64] -> [F, 32, 32] -> [2F, 16, 16] -> [4F, 8, 8] -> [8F, 4, 4] -> 1.

    Args:
        classes: K; 0: labels are ignored.
        channels: C of the images.
        size: their side in pixels.
        filters: F.
        norm: ``batch`` after all layers but the first, or ``spectral`` on the weights of all (Miyato et al. 2018).

    The projection is on the sum over positions, as in its paper. Without it, embeddings of norm one say too little:
    after 1,500 steps on 200 digits a classifier found 34 % of the images to be of their class with the mean, and
    93 % after 1,000 steps with the sum. Beside batch norm, where embeddings are as large as they like, it is the
    reverse: 87 % with the mean, 44 % with the sum.
    """

    def __init__(self, classes: int, channels: int, size: int, filters: int, norm: str) -> None:
        super().__init__()
        widths = _compute_widths(size, filters)
        self.has_batch_norm = norm == "batch"
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for outer, inner in pairwise(widths):
            layers.append(nn.Conv2d(outer, inner, 4, 2, 1, bias=not self.has_batch_norm))
            if self.has_batch_norm:
                layers.append(nn.BatchNorm2d(inner))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.layers = nn.Sequential(*layers)
        self.score = nn.Conv2d(widths[-1], 1, 4, 1, 0)
        self.embed = nn.Embedding(classes, widths[-1]) if classes else None
        self.apply(_init_weights)
        if norm == "spectral":  # after the weights are drawn: it starts from their largest singular values
            for layer in [*self.layers, self.score, self.embed]:
                if isinstance(layer, nn.Conv2d | nn.Embedding):
                    register_parametrization(layer, "weight", SpectralNorm(layer.weight))

    def forward(self, x_BCHW: torch.Tensor, y_B: torch.Tensor) -> torch.Tensor:
        """Calculate logits float32 [B] from images float [B, C, H, W] in [-1, 1] and labels int64 [B]."""
        phi = self.layers(x_BCHW)
        logits_B = self.score(phi).flatten()
        if self.embed is not None:
            pooled_BF = phi.mean((2, 3)) if self.has_batch_norm else phi.sum((2, 3))
            logits_B = logits_B + (pooled_BF * self.embed(y_B)).sum(1)
        return logits_B.float()

    def list_learning_weights(self, frozen_layers: int) -> list[nn.Parameter]:
        """List all weights but those of the frozen convolutions next to the image, which do not learn."""
        convolutions = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        frozen = {id(weight) for layer in convolutions[:frozen_layers] for weight in layer.parameters()}
        return [weight for weight in self.parameters() if id(weight) not in frozen]


def _compute_widths(size: int, filters: int) -> list[int]:
    """Filters a layer, from the one next to the image inwards to 4 × 4 pixels."""
    return [filters * 2**level for level in range(int(math.log2(size)) - 2)]


def _init_weights(module: nn.Module) -> None:
    """The initial weights of the DCGAN paper: N(0, 0.02) for convolutions, N(1, 0.02) for batch-norm scales.

    The projection's embedding keeps torch's N(0, 1): a small one is learnt too late.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
