"""DiffAugment (Zhao et al. 2020, arXiv 2006.10738): all the discriminator sees is augmented, so that it memorises less.

Real and generated images get the same kinds of changes, and gradients flow through them to the generator. Each
change is a function of images and of uniform numbers that are drawn beforehand, two for each image and change.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ganaug_ray.core import rng

Augmentation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Images float [-1, 1] [B, C, H, W] and uniforms [0, 1) [B, 2] -> images of that shape, around that range."""

DRAWS_PER_CHANGE = 2
MAX_SHIFT_SHARE = 1 / 8
CUTOUT_SHARE = 1 / 2


def draw_uniforms(rows_B: np.ndarray, shape: tuple[int, ...], key: tuple[rng.Key, ...]) -> torch.Tensor:
    """Draw random numbers for some rows of the global batch: uniform in [0, 1), float [B, *shape, DRAWS_PER_CHANGE]."""
    return rng.draw_uniform_rows(rows_B, (*shape, DRAWS_PER_CHANGE), *key)


def apply_augmentations(x_BCHW: torch.Tensor, names: Sequence[str], u_BND: torch.Tensor) -> torch.Tensor:
    """Apply the named changes in their order, each with its own random numbers; no names leave the images unchanged."""
    for name, u_BD in zip(names, u_BND.unbind(1), strict=True):
        x_BCHW = AUGMENTATIONS[name](x_BCHW, u_BD)
    return x_BCHW


def _change_brightness(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
    return x_BCHW + (_take_first_draw(u_BD) - 0.5)


def _change_saturation(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
    if x_BCHW.shape[1] == 1:  # grey has none
        return x_BCHW
    return _scale_from_mean(x_BCHW.mean(1, keepdim=True), x_BCHW, 2 * _take_first_draw(u_BD))


def _change_contrast(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
    return _scale_from_mean(x_BCHW.mean((1, 2, 3), keepdim=True), x_BCHW, _take_first_draw(u_BD) + 0.5)


def _shift_images(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
    """Shift by whole pixels, up to MAX_SHIFT_SHARE of the side each way; what comes in is mid-grey."""
    max_shift = round(x_BCHW.shape[-1] * MAX_SHIFT_SHARE)
    pixels_B2 = (u_BD * (2 * max_shift + 1)).floor().long() - max_shift
    shifted_BCHW: torch.Tensor = _WholePixelShift.apply(x_BCHW, pixels_B2)
    return shifted_BCHW


class _WholePixelShift(torch.autograd.Function):
    """A shift by picking pixels, whose gradient is the shift back: no sums, so the same bits every time on a GPU too.

    The gradient of ``grid_sample`` is summed there in whatever order threads end.
    """

    @staticmethod
    def forward(ctx: Any, x_BCHW: torch.Tensor, pixels_B2: torch.Tensor) -> torch.Tensor:
        """Pick the pixels that lie pixels_B2, int64 (across, down), from their new places; zeros beyond the edge."""
        ctx.save_for_backward(pixels_B2)
        rows, channels, side, _ = x_BCHW.shape
        across_BS, down_BS = (torch.arange(side, device=x_BCHW.device) + pixels_B2[:, :, None]).unbind(1)
        inside_BSS = ((down_BS >= 0) & (down_BS < side))[:, :, None] & ((across_BS >= 0) & (across_BS < side))[:, None]
        index_BSS = down_BS.clamp(0, side - 1)[:, :, None] * side + across_BS.clamp(0, side - 1)[:, None]
        index_BCP = index_BSS.view(rows, 1, -1).expand(-1, channels, -1)
        picked_BCHW = x_BCHW.reshape(rows, channels, -1).gather(2, index_BCP).view(rows, channels, side, side)
        return picked_BCHW * inside_BSS[:, None]

    @staticmethod
    def backward(ctx: Any, gradient_BCHW: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Shift the gradient back."""
        (pixels_B2,) = ctx.saved_tensors
        return _WholePixelShift.apply(gradient_BCHW, -pixels_B2), None


def _cut_square(x_BCHW: torch.Tensor, u_BD: torch.Tensor) -> torch.Tensor:
    """Make a square of CUTOUT_SHARE of the side mid-grey; its centre is anywhere, so it may hang over the edge."""
    side = x_BCHW.shape[-1]
    centre_BD1 = (u_BD * side).floor()[:, :, None]
    inside_BDS = (torch.arange(side, device=x_BCHW.device) - centre_BD1 + 0.5).abs() < side * CUTOUT_SHARE / 2
    return x_BCHW * ~(inside_BDS[:, 0, :, None] & inside_BDS[:, 1, None, :])[:, None]


def _take_first_draw(u_BD: torch.Tensor) -> torch.Tensor:
    """The first draw of each image, to be used on all of it."""
    return u_BD[:, 0, None, None, None]


def _scale_from_mean(mean: torch.Tensor, x_BCHW: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return mean + (x_BCHW - mean) * factor


AUGMENTATIONS: dict[str, Augmentation] = {
    "brightness": _change_brightness,
    "saturation": _change_saturation,
    "contrast": _change_contrast,
    "translation": _shift_images,
    "cutout": _cut_square,
}
