"""Classifier networks behind one door: images in [-1, 1] of the data's size in, logits, features or maps out.

What a backbone wants to be given (its size, RGB, its mean and deviation) is part of the network, and of model.json: so
training, the teacher's features, screening, serving and other software all hand it the same tensors.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ganaug_ray.classify import backbones
from ganaug_ray.data.loading import tensors

BASE = "cnn"
FEATURES = 128
SMALLEST_MAP = 4  # pixels across, after the base CNN's blocks
MOST_FILTERS = 256
# Of a batch where no gradients are wanted. What goes beyond a CPU's caches is up to twice as slow: measured with images
# of 32, 64 and 224 pixels, one thread and two. More threads come with larger caches, and need more to share.
PIXELS_AT_A_TIME = 2**20
PIXELS_A_THREAD = 2**16


@dataclass(frozen=True)
class Input:
    """What a network's first layer is given.

    Attributes:
        size: side in pixels.
        mean: of each channel, for pixels in [0, 1]; one half and one half leave [-1, 1] as it is.
        std: likewise.
        interpolation: bilinear or bicubic, from the data's size to this one.
    """

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: str = "bilinear"

    @classmethod
    def of(cls, spec: dict[str, Any]) -> Input:
        """Read it from model.json."""
        return cls(spec["input_size"], tuple(spec["mean"]), tuple(spec["std"]), spec["interpolation"])

    @property
    def spec(self) -> dict[str, Any]:
        """As it is written to model.json."""
        own = asdict(self)
        return {"input_size": own.pop("size"), **own}


def input_of(arch: str, image_size: int, input_size: int | None, pretrained: bool) -> Input:
    """Decide what a network is given.

    Args:
        arch: cnn, torchvision:NAME or timm:NAME.
        image_size: of the data.
        input_size: as the job asks; absent: with pretrained weights the size they were made for, or else the data's,
            within what the backbone works with and was made for.
        pretrained: whether it starts from weights that were trained elsewhere.

    Raises:
        ValueError: no such network, or it cannot work at that size.
    """
    if arch == BASE:
        return Input(input_size or image_size)
    facts = backbones.facts(arch)
    if input_size is not None and input_size < facts.least:
        raise ValueError(f"input_size {input_size} is too small: {arch} needs at least {facts.least}")
    size = input_size or (facts.size if pretrained else min(max(image_size, facts.least), facts.size))
    interpolation = facts.interpolation if facts.interpolation == "bicubic" else "bilinear"
    return Input(size, facts.mean, facts.std, interpolation)


class Adaptor(nn.Module):
    """Brings images to what a network's first layer wants, on their device. Nothing of it is learned."""

    gain_C11: torch.Tensor
    bias_C11: torch.Tensor

    def __init__(self, wanted: Input, channels: int) -> None:
        super().__init__()
        self.input = wanted
        self.channels = channels
        mean_C11, std_C11 = (torch.tensor(values).view(-1, 1, 1) for values in (wanted.mean, wanted.std))
        # ((x + 1) / 2 - mean) / std, in one multiplication and one addition
        self.plain = set(wanted.mean) == set(wanted.std) == {0.5}
        self.register_buffer("gain_C11", 0.5 / std_C11, persistent=False)
        self.register_buffer("bias_C11", (0.5 - mean_C11) / std_C11, persistent=False)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float [-1, 1] [B, 1 or 3, H, W] -> normalised float [B, channels, size, size]; grey is repeated."""
        x_BCHW = tensors.scaled(x_BCHW, self.input.size, self.input.interpolation)
        x_BCHW = x_BCHW.expand(-1, self.channels, -1, -1)
        return x_BCHW if self.plain else x_BCHW * self.gain_C11 + self.bias_C11


class Network(nn.Module, ABC):
    """A classifier: adaptor, trunk and head.

    Attributes:
        adaptor: images to what the trunk wants.
        head: dropout and one linear layer, from features to logits; the only part that is new when weights that were
            trained elsewhere are loaded.
        replaced: prefixes of what weights files may hold that has no place here: the published head.
    """

    adaptor: Adaptor
    head: nn.Sequential
    replaced: tuple[str, ...] = ()

    @abstractmethod
    def trunk(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalised float [B, C, size, size] -> penultimate activations, float [B, F]."""

    def features(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float [-1, 1] [B, C, H, W] -> penultimate activations, float [B, F]."""
        return self.trunk(self.adaptor(x_BCHW))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float [-1, 1] [B, C, H, W] -> logits, float [B, K]."""
        return self.head(self.features(x_BCHW))

    def feature_maps(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits [B, K] and the last feature maps [B, F, h, w] that they were computed from.

        Both are of one graph: ``torch.autograd.grad(logits_BK[:, k].sum(), maps_BFhw)`` is what Grad-CAM (Selvaraju et
        al. 2017, arXiv 1610.02391) wants. Of a transformer, which has no such maps, they mean little.
        """
        kept: list[torch.Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.dim() == 4 and min(output.shape[2:]) > 1:
                kept[:] = [output]

        hooks = [module.register_forward_hook(keep) for module in self._mapping_layers()]
        try:
            logits_BK = self(x_BCHW)
        finally:
            for hook in hooks:
                hook.remove()
        return logits_BK, kept[0]

    @abstractmethod
    def _mapping_layers(self) -> list[nn.Module]:
        """Layers of which the last with a map of more than one pixel gives the feature maps."""

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        return last.out_features

    @property
    def batch(self) -> int:
        """Rows at a time that suit the device, where no gradients are wanted."""
        pixels = PIXELS_AT_A_TIME
        if next(self.parameters()).device.type == "cpu":
            pixels = min(pixels, PIXELS_A_THREAD * max(2, torch.get_num_threads()))
        return max(8, min(512, pixels // self.adaptor.input.size**2))


class CNN(Network):
    """The base CNN: blocks of convolution, batch norm, ReLU and max-pooling; then a dense layer and the head.

    As many blocks as leave 4 × 4 pixels: three of 32 -> 16 -> 8 -> 4 with 32, 64 and 128 filters for images of 32,
    four for 64; at most 256 filters. Sizes in between are averaged down to 4 × 4.

    Args:
        channels: of the input, 1 or 3.
        classes: number of classes, K.
        dropout: before the dense layer and before the head.
        size: side of the input, in pixels.
    """

    def __init__(self, channels: int, classes: int, dropout: float, size: int = 32) -> None:
        super().__init__()
        self.adaptor = Adaptor(Input(size), channels)
        depth = max(1, (size // SMALLEST_MAP).bit_length() - 1)
        filters = [channels, *(min(32 * 2**block, MOST_FILTERS) for block in range(depth))]
        self.blocks = nn.Sequential(
            *(layer for before, after in itertools.pairwise(filters) for layer in self._block(before, after)),
            nn.AdaptiveAvgPool2d(SMALLEST_MAP),
            nn.Flatten(),
        )
        self.dense = nn.Sequential(nn.Dropout(dropout), nn.Linear(filters[-1] * SMALLEST_MAP**2, FEATURES), nn.ReLU())
        self.head = _head(FEATURES, classes, dropout)

    @staticmethod
    def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        return (
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )

    def trunk(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalised float [B, C, size, size] -> penultimate activations, float [B, FEATURES]."""
        return self.dense(self.blocks(x_BCHW))

    def _mapping_layers(self) -> list[nn.Module]:
        """The last block before it is pooled: four times as many pixels to look at."""
        return [layer for layer in self.blocks if isinstance(layer, nn.ReLU)]


class Backbone(Network):
    """A published network with a head of our own.

    Args:
        arch: torchvision:NAME or timm:NAME.
        classes: number of classes, K.
        dropout: before the head.
        wanted: what it is given.
    """

    def __init__(self, arch: str, classes: int, dropout: float, wanted: Input) -> None:
        super().__init__()
        self.adaptor = Adaptor(wanted, 3)
        own = backbones.trunk(arch)
        self.backbone = own.network
        self.replaced = tuple(f"backbone.{prefix}" for prefix in (f"{own.head}.", *own.auxiliary))
        # Features come at any scale (SqueezeNet's around 10), and a new head learns from even ones at any usual rate.
        self.head = nn.Sequential(
            nn.LayerNorm(own.width, elementwise_affine=False), *_head(own.width, classes, dropout)
        )

    def trunk(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Normalised float [B, 3, size, size] -> penultimate activations, float [B, F]."""
        return self.backbone(x_BCHW)

    def _mapping_layers(self) -> list[nn.Module]:
        """Its stages, not what is within them: a branch of a block is not the whole map."""
        return list(self.backbone.children())


def _head(features: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(features, classes))


def build(arch: str, channels: int, classes: int, dropout: float, wanted: Input) -> Network:
    """Make the network of that name, with fresh weights from torch's global generator.

    Args:
        arch: cnn, torchvision:NAME or timm:NAME.
        channels: of the images, 1 or 3.
        classes: number of classes, K.
        dropout: before the head.
        wanted: what its first layer is given; see ``input_of``.

    Raises:
        ValueError: no such network.
    """
    if arch == BASE:
        return CNN(channels, classes, dropout, wanted.size)
    return Backbone(arch, classes, dropout, wanted)
