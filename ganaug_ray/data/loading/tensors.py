"""From pixels to network values and back: uint8 [0, 255], channels last <-> float32 [-1, 1], channels first."""

from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional as F


class PixelRows(Protocol):
    """Images, uint8 [N, H, W, C]: an array, or what reads those that are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, which: Any, /) -> np.ndarray: ...


def to_network(images_BHWC: torch.Tensor) -> torch.Tensor:
    """uint8 [B, H, W, C] in [0, 255] -> float32 [B, C, H, W] in [-1, 1], channels last in memory."""
    return images_BHWC.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def from_network(x_BCHW: torch.Tensor) -> torch.Tensor:
    """float [B, C, H, W] in [-1, 1] -> uint8 [B, H, W, C] in [0, 255], rounded to the nearest."""
    return x_BCHW.float().add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def scale_images(x_BCHW: torch.Tensor, size: int, mode: str = "bilinear") -> torch.Tensor:
    """Scale square network images to another size on their device, antialiased; unchanged if they fit.

    Bicubic scaling overshoots [-1, 1] a little at edges.
    """
    if x_BCHW.shape[-1] == size:
        return x_BCHW
    return F.interpolate(x_BCHW, (size, size), mode=mode, antialias=True)
