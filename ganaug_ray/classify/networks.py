"""Classifier networks. Each gives logits, and the penultimate features that quality and screening look at."""

import torch
from torch import nn

FEATURES = 128


class CNN(nn.Module):
    """The base CNN: three blocks of convolution, batch norm, ReLU and max-pooling; then a dense layer and the head.

    For 32 × 32: 32 -> 16 -> 8 -> 4 pixels, with 32, 64 and 128 filters. Larger images are averaged down to 4 × 4
    after the third block.

    Args:
        channels: of the input, 1 or 3.
        classes: number of classes, K.
        dropout: before the dense layer and before the head.
    """

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *self._block(channels, 32),
            *self._block(32, 64),
            *self._block(64, 128),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.dense = nn.Sequential(nn.Dropout(dropout), nn.Linear(128 * 4 * 4, FEATURES), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(FEATURES, classes))

    @staticmethod
    def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        return (
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        )

    def features(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float [-1, 1] [B, C, H, W] -> penultimate activations, float [B, FEATURES]."""
        return self.dense(self.blocks(x_BCHW))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """float [-1, 1] [B, C, H, W] -> logits, float [B, K]."""
        return self.head(self.features(x_BCHW))


def build(arch: str, channels: int, classes: int, dropout: float) -> CNN:
    """Make the network of that name, with fresh weights from torch's global generator."""
    assert arch == "cnn", arch
    return CNN(channels, classes, dropout)
