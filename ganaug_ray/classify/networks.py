"""Classifier networks with one interface: images in [-1, 1] of the data's size in; logits, features or maps out.

What a backbone wants to be given (its size, RGB, its mean and deviation) is part of the network, and of model.json: so
training, the teacher's features, screening, serving and other software all hand it the same tensors.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ganaug_ray.classify import backbones
from ganaug_ray.core.records import ModelSpec
from ganaug_ray.data.loading import tensors

BASE_ARCH = "cnn"
BASE_FEATURES = 128
MIN_MAP_SIDE_PX = 4  # pixels across, after the base CNN's blocks
MAX_FILTERS = 256
# Of a batch where no gradients are wanted. What goes beyond a CPU's caches is up to twice as slow: measured with images
# of 32, 64 and 224 pixels, one thread and two. More threads come with larger caches, and need more to share.
MAX_BATCH_PIXELS = 2**20
MAX_THREAD_PIXELS = 2**16


@dataclass(frozen=True)
class NetworkInput:
    """The input of a network's first layer: size, normalisation, and how images are scaled to it.

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
    def from_spec(cls, spec: ModelSpec) -> NetworkInput:
        """Restore the input from the content of model.json."""
        return cls(spec.input_size, tuple(spec.mean), tuple(spec.std), spec.interpolation)

    @property
    def spec(self) -> dict[str, Any]:
        """The input as entries of model.json."""
        return {
            "input_size": self.size,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
        }


def choose_input(arch: str, image_size: int, input_size: int | None, pretrained: bool) -> NetworkInput:
    """Choose the input size and normalisation of a network.

    Args:
        arch: cnn, torchvision:NAME or timm:NAME.
        image_size: of the data.
        input_size: as the job asks; absent: with pretrained weights the size they were made for, or else the data's,
            within what the backbone works with and was made for.
        pretrained: whether it starts from weights that were trained elsewhere.

    Raises:
        ValueError: no such network, or it cannot work at that size.
    """
    if arch == BASE_ARCH:
        return NetworkInput(input_size or image_size)
    facts = backbones.read_facts(arch)
    if input_size is not None and input_size < facts.min_size:
        raise ValueError(f"input_size {input_size} is too small: {arch} needs at least {facts.min_size}")
    size = input_size or (facts.size if pretrained else min(max(image_size, facts.min_size), facts.size))
    interpolation = facts.interpolation if facts.interpolation == "bicubic" else "bilinear"
    return NetworkInput(size, facts.mean, facts.std, interpolation)


class Adaptor(nn.Module):
    """Scales and normalises images to a network's input on their device; it has no weights to learn."""

    gain_C11: torch.Tensor
    bias_C11: torch.Tensor

    def __init__(self, network_input: NetworkInput, channels: int) -> None:
        super().__init__()
        self.input = network_input
        self.channels = channels
        mean_C11, std_C11 = (torch.tensor(values).view(-1, 1, 1) for values in (network_input.mean, network_input.std))
        # ((x + 1) / 2 - mean) / std, in one multiplication and one addition
        self.plain = set(network_input.mean) == set(network_input.std) == {0.5}
        self.register_buffer("gain_C11", 0.5 / std_C11, persistent=False)
        self.register_buffer("bias_C11", (0.5 - mean_C11) / std_C11, persistent=False)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Convert float [B, 1 or 3, H, W] in [-1, 1] to normalised float [B, channels, size, size]."""
        x_BCHW = tensors.scale_images(x_BCHW, self.input.size, self.input.interpolation)
        x_BCHW = x_BCHW.expand(-1, self.channels, -1, -1)
        return x_BCHW if self.plain else x_BCHW * self.gain_C11 + self.bias_C11


class _MapRecorder:
    """A forward hook that keeps the last output that is a map of more than one pixel."""

    def __init__(self) -> None:
        self.maps_BFhw: torch.Tensor | None = None

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.dim() == 4 and min(output.shape[2:]) > 1:
            self.maps_BFhw = output


class Network(nn.Module, ABC):
    """A classifier network: adaptor, trunk and head.

    Attributes:
        adaptor: images to what the trunk wants.
        head: dropout and one linear layer, from features to logits; the only part that is new when weights that were
            trained elsewhere are loaded.
        replaced_prefixes: prefixes of what weights files may hold that has no place here: the published head.
    """

    adaptor: Adaptor
    head: nn.Sequential
    replaced_prefixes: tuple[str, ...] = ()

    @abstractmethod
    def compute_trunk(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Compute penultimate features float [B, F] from normalised images float [B, C, size, size]."""

    def compute_features(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Compute penultimate features float [B, F] from images float [B, C, H, W] in [-1, 1]."""
        return self.compute_trunk(self.adaptor(x_BCHW))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Compute logits float [B, K] from images float [B, C, H, W] in [-1, 1]."""
        return self.head(self.compute_features(x_BCHW))

    def compute_feature_maps(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute logits [B, K] and the last feature maps [B, F, h, w] that they come from.

        Both are of one graph: ``torch.autograd.grad(logits_BK[:, k].sum(), maps_BFhw)`` is what Grad-CAM (Selvaraju et
        al. 2017, arXiv 1610.02391) wants. Of a transformer, which has no such maps, they mean little.
        """
        recorder = _MapRecorder()
        hooks = [module.register_forward_hook(recorder) for module in self._list_map_layers()]
        try:
            logits_BK = self(x_BCHW)
        finally:
            for hook in hooks:
                hook.remove()
        assert recorder.maps_BFhw is not None, "some layer gives a map of more than one pixel"
        return logits_BK, recorder.maps_BFhw

    @abstractmethod
    def _list_map_layers(self) -> list[nn.Module]:
        """Layers of which the last with a map of more than one pixel gives the feature maps."""

    @property
    def class_count(self) -> int:
        """The number of classes, K."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        return last.out_features

    @property
    def batch_size(self) -> int:
        """A suitable number of images at a time for inference on the network's device."""
        pixels = MAX_BATCH_PIXELS
        if next(self.parameters()).device.type == "cpu":
            pixels = min(pixels, MAX_THREAD_PIXELS * max(2, torch.get_num_threads()))
        return max(8, min(512, pixels // self.adaptor.input.size**2))


class AveragePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two products with constants, whose gradient has the same bits every time on a GPU.

    Args:
        side: of the maps that come in, in pixels.
        pooled: of those that go out; where both are equal the maps stay as they are.
    """

    means_PS: torch.Tensor

    def __init__(self, side: int, pooled: int) -> None:
        super().__init__()
        eye_S1S = torch.eye(side)[:, None]
        self.register_buffer("means_PS", F.adaptive_avg_pool1d(eye_S1S, pooled)[:, 0].T, persistent=False)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Average float [B, C, side, side] to float [B, C, pooled, pooled]."""
        if len(self.means_PS) == x_BCHW.shape[-1]:
            return x_BCHW
        return self.means_PS @ x_BCHW @ self.means_PS.T


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
        self.adaptor = Adaptor(NetworkInput(size), channels)
        depth = max(1, (size // MIN_MAP_SIDE_PX).bit_length() - 1)
        filters = [channels, *(min(32 * 2**block, MAX_FILTERS) for block in range(depth))]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(filters):
            layers += self._build_block(before, after)
        self.blocks = nn.Sequential(*layers, AveragePool(size >> depth, MIN_MAP_SIDE_PX), nn.Flatten())
        self.dense = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(filters[-1] * MIN_MAP_SIDE_PX**2, BASE_FEATURES), nn.ReLU()
        )
        self.head = _build_head(BASE_FEATURES, classes, dropout)

    @staticmethod
    def _build_block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        return (
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )

    def compute_trunk(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Compute penultimate features float [B, BASE_FEATURES] from normalised images float [B, C, size, size]."""
        return self.dense(self.blocks(x_BCHW))

    def _list_map_layers(self) -> list[nn.Module]:
        """The last block before it is pooled: four times as many pixels to look at."""
        return [layer for layer in self.blocks if isinstance(layer, nn.ReLU)]


class Backbone(Network):
    """A published network with a new classification head.

    Args:
        arch: torchvision:NAME or timm:NAME.
        classes: number of classes, K.
        dropout: before the head.
        network_input: what it is given.
    """

    def __init__(self, arch: str, classes: int, dropout: float, network_input: NetworkInput) -> None:
        super().__init__()
        self.adaptor = Adaptor(network_input, 3)
        trunk = backbones.build_trunk(arch)
        self.backbone = trunk.network
        self.replaced_prefixes = tuple(f"backbone.{prefix}" for prefix in (f"{trunk.head}.", *trunk.auxiliary))
        # Features come at any scale (SqueezeNet's around 10), and a new head learns from even ones at any usual rate.
        self.head = nn.Sequential(
            nn.LayerNorm(trunk.width, elementwise_affine=False), *_build_head(trunk.width, classes, dropout)
        )

    def compute_trunk(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Compute penultimate features float [B, F] from normalised images float [B, 3, size, size]."""
        return self.backbone(x_BCHW)

    def _list_map_layers(self) -> list[nn.Module]:
        """Its stages, not what is within them: a branch of a block is not the whole map."""
        return list(self.backbone.children())


def _build_head(features: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(features, classes))


def build_network(arch: str, channels: int, classes: int, dropout: float, network_input: NetworkInput) -> Network:
    """Build a network by name, with fresh weights from torch's global random generator.

    Args:
        arch: cnn, torchvision:NAME or timm:NAME.
        channels: of the images, 1 or 3.
        classes: number of classes, K.
        dropout: before the head.
        network_input: what its first layer is given; see ``choose_input``.

    Raises:
        ValueError: no such network.
    """
    if arch == BASE_ARCH:
        return CNN(channels, classes, dropout, network_input.size)
    return Backbone(arch, classes, dropout, network_input)
