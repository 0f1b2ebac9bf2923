"""Converts pixels to what networks take and back: uint8 [0, 255], channels last <-> float32 [-1, 1], channels first."""

from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional as F


class PixelRows(Protocol):
    """Images, uint8 [N, H, W, C]: an array, or an object that reads them when it is indexed."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: Any, /) -> np.ndarray: ...


def to_network(images_BHWC: torch.Tensor) -> torch.Tensor:
    """Convert pixels to a network's input: x = pixel / 127.5 - 1.

    Args:
        images_BHWC: uint8 [B, H, W, C] in [0, 255].

    Returns:
        float32 [B, C, H, W] in [-1, 1], stored with channels last.

    >>> to_network(torch.tensor([[[[0], [255]]]], dtype=torch.uint8)).tolist()
    [[[[-1.0, 1.0]]]]
    """
    return images_BHWC.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def from_network(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Convert a network's images to pixels, rounded to the nearest; the inverse of ``to_network``.

    Args:
        x_BCHW: float [B, C, H, W] in [-1, 1]; values outside are clipped.

    Returns:
        uint8 [B, H, W, C] in [0, 255].

    >>> from_network(torch.tensor([[[[-1.0, 0.5, 1.2]]]])).flatten().tolist()
    [0, 191, 255]
    """
    levels_BCHW = x_BCHW.float().add(1.0).mul_(127.5).round_().clamp_(0, 255)  # one temporary, not four
    return levels_BCHW.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def scale_images(x_BCHW: torch.Tensor, size: int, mode: str = "bilinear") -> torch.Tensor:
    """Scale square images to another size on their device, antialiased; they are unchanged if they have it.

    Args:
        x_BCHW: float [B, C, H, W] with H = W.
        size: new side in pixels.
        mode: ``bilinear`` or ``bicubic``, which overshoots [-1, 1] a little at edges.

    Returns:
        float [B, C, size, size].
    """
    if x_BCHW.shape[-1] == size:
        return x_BCHW
    return F.interpolate(x_BCHW, (size, size), mode=mode, antialias=True)
