"""What ``classifier.augment: strong`` adds to flip, rotation, zoom and shift: one random operation a row, and erasing.

The operation and its strength are drawn evenly, as in TrivialAugment (Müller & Hutter 2021, arXiv 2103.10158), but from
ranges that leave a small image recognisable: the wide ones turn a 6 into a 9 and paint photographs black. Erasing is
that of Zhong et al. 2020 (arXiv 1708.04896). Whatever moves pixels is folded into the classic affine map, so that an
image is resampled once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ganaug_ray.core import rng
from ganaug_ray.core.distributed import copy_to_device

MAX_SHEAR = 0.3  # pixels to the side for each pixel down
MAX_SHIFT = 0.25  # of the side
MAX_ROTATION_DEG = 30.0
MAX_COLOUR_CHANGE = 0.9  # of brightness, contrast, saturation and sharpness, up or down
MAX_LOST_BITS = 4  # of eight, by posterizing
ERASED_SHARE = 0.5  # of the rows
ERASED_AREA = (0.02, 0.33)  # of an image, least and most
MAX_ERASED_ASPECT = 3.3  # height by width, or width by height
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey (ITU-R BT.601)

# A row's draws: operation, strength; whether it is erased, how much, how tall, where.
_DRAWS_PER_ROW = 7

ColourOperation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Images in [0, 1], float [R, C, H, W], and a strength for each in [-1, 1), float [R, 1, 1, 1] -> images in [0, 1]."""


def change_brightness(x_RCHW: torch.Tensor, strength_R111: torch.Tensor) -> torch.Tensor:
    """Make images darker or brighter."""
    return _blend(torch.zeros_like(x_RCHW), x_RCHW, strength_R111)


def change_contrast(x_RCHW: torch.Tensor, strength_R111: torch.Tensor) -> torch.Tensor:
    """Move all pixels towards or away from the image's mean grey level."""
    return _blend(_to_grey(x_RCHW).mean((2, 3), keepdim=True), x_RCHW, strength_R111)


def change_saturation(x_RCHW: torch.Tensor, strength_R111: torch.Tensor) -> torch.Tensor:
    """Make colours paler or stronger; grey images stay as they are."""
    return _blend(_to_grey(x_RCHW), x_RCHW, strength_R111)


def change_sharpness(x_RCHW: torch.Tensor, strength_R111: torch.Tensor) -> torch.Tensor:
    """Blur or sharpen by the kernel that Pillow and torchvision smooth with."""
    channels = x_RCHW.shape[1]
    ones = x_RCHW.new_ones(channels, 1, 3, 3)  # made on the device: a list would be copied there, and waited for
    around = F.conv2d(F.pad(x_RCHW, (1, 1, 1, 1), mode="replicate"), ones, groups=channels)
    blurred = (around + 4 * x_RCHW) / 13  # a weight of 5 in the middle, of 1 around it
    return _blend(blurred, x_RCHW, strength_R111)


def posterize(x_RCHW: torch.Tensor, strength_R111: torch.Tensor) -> torch.Tensor:
    """Keep the first bits of each pixel: eight at strength 0, fewer the further from it."""
    step_R111 = 2.0 ** (strength_R111.abs() * (MAX_LOST_BITS + 1)).floor()
    return ((x_RCHW * 255).round() / step_R111).floor() * step_R111 / 255


def solarize(x_RCHW: torch.Tensor, strength_R111: torch.Tensor) -> torch.Tensor:
    """Invert what is brighter than a threshold between one half and one."""
    return torch.where(x_RCHW > 1 - strength_R111.abs() / 2, 1 - x_RCHW, x_RCHW)


def stretch_contrast(x_RCHW: torch.Tensor, strength_R111: torch.Tensor) -> torch.Tensor:
    """Stretch each channel to the whole range, as Pillow's autocontrast; flat ones stay, and strength means nothing."""
    low, high = x_RCHW.amin((2, 3), keepdim=True), x_RCHW.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x_RCHW - low) / (high - low).clamp(min=1 / 255), x_RCHW).clamp(0, 1)


COLOUR_OPERATIONS: tuple[ColourOperation, ...] = (
    change_brightness, change_contrast, change_saturation, change_sharpness, posterize, solarize, stretch_contrast
)  # fmt: skip
SHEAR_X, SHEAR_Y, SHIFT_X, SHIFT_Y, ROTATE = range(5)
_FIRST_COLOUR = ROTATE + 1
OPERATION_COUNT = _FIRST_COLOUR + len(COLOUR_OPERATIONS) + 1  # the last one leaves the row as it is


@dataclass(frozen=True)
class RowOperations:
    """What happens to each row of a batch; all on the CPU, where it is drawn.

    Attributes:
        which_B: number of the operation, int64.
        strength_B: float in [-1, 1).
        erased_BX: draws of the erased rectangles, float in [0, 1).
    """

    which_B: torch.Tensor
    strength_B: torch.Tensor
    erased_BX: torch.Tensor

    @classmethod
    def draw(cls, rows_B: np.ndarray, key: tuple[rng.Key, ...]) -> RowOperations:
        """Draw by the key and by the rows' positions in the global batch, int64 [B]."""
        draws = rng.draw_uniform_rows(rows_B, (_DRAWS_PER_ROW,), *key)
        return cls((draws[:, 0] * OPERATION_COUNT).long(), draws[:, 1] * 2 - 1, draws[:, 2:])

    def move(self, maps_B23: torch.Tensor) -> torch.Tensor:
        """Put shear, shift and rotation behind affine maps from output to input coordinates, float [B, 2, 3]."""
        moves_B33 = torch.eye(3).repeat(len(maps_B23), 1, 1)
        strength = {name: torch.where(self.which_B == name, self.strength_B, 0.0) for name in range(_FIRST_COLOUR)}
        angle_B = strength[ROTATE] * math.radians(MAX_ROTATION_DEG)
        moves_B33[:, 0, 0] = moves_B33[:, 1, 1] = angle_B.cos()
        moves_B33[:, 0, 1] = strength[SHEAR_X] * MAX_SHEAR - angle_B.sin()
        moves_B33[:, 1, 0] = strength[SHEAR_Y] * MAX_SHEAR + angle_B.sin()
        # The coordinates run from -1 to 1: a whole side is 2.
        moves_B33[:, 0, 2] = strength[SHIFT_X] * 2 * MAX_SHIFT
        moves_B33[:, 1, 2] = strength[SHIFT_Y] * 2 * MAX_SHIFT
        return maps_B23 @ moves_B33

    def change_colours(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Apply each row's colour operation, if that is what it got; float [B, C, H, W] in [-1, 1]."""
        for number, operation in enumerate(COLOUR_OPERATIONS, _FIRST_COLOUR):
            index_R = (self.which_B == number).nonzero()[:, 0]
            if not len(index_R):
                continue
            strength_R111 = copy_to_device(self.strength_B[index_R].view(-1, 1, 1, 1), x_BCHW.device)
            index_R = copy_to_device(index_R, x_BCHW.device)
            x_BCHW[index_R] = operation((x_BCHW[index_R] + 1) / 2, strength_R111) * 2 - 1
        return x_BCHW

    def erase(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Paint a rectangle of some rows in the middle grey; float [B, C, H, W] in [-1, 1]."""
        is_erased_B, area_B, aspect_B, top_B, left_B = self.erased_BX.unbind(1)
        min_area, max_area = ERASED_AREA
        aspect_B = MAX_ERASED_ASPECT ** (2 * aspect_B - 1)
        area_B = torch.where(is_erased_B < ERASED_SHARE, min_area + (max_area - min_area) * area_B, 0.0)
        inside_BH = _cover_pixels((area_B * aspect_B).sqrt(), top_B, x_BCHW.shape[2])
        inside_BW = _cover_pixels((area_B / aspect_B).sqrt(), left_B, x_BCHW.shape[3])
        inside_B1HW = (inside_BH[:, :, None] & inside_BW[:, None, :])[:, None]
        return x_BCHW.masked_fill(copy_to_device(inside_B1HW, x_BCHW.device), 0.0)


def _cover_pixels(length_B: torch.Tensor, place_B: torch.Tensor, side: int) -> torch.Tensor:
    """Which of ``side`` pixels lie within a length, a share of the side, that is somewhere along it; bool [B, side]."""
    length_B = length_B.clamp(max=1)
    start_B1 = (place_B * (1 - length_B))[:, None]
    centres = (torch.arange(side) + 0.5) / side
    return (centres >= start_B1) & (centres < start_B1 + length_B[:, None])


def _blend(plain: torch.Tensor, x_RCHW: torch.Tensor, strength_R111: torch.Tensor) -> torch.Tensor:
    """Go from the image towards a plainer one, or away from it."""
    return (plain + (x_RCHW - plain) * (1 + strength_R111 * MAX_COLOUR_CHANGE)).clamp(0, 1)


def _to_grey(x_RCHW: torch.Tensor) -> torch.Tensor:
    if x_RCHW.shape[1] == 1:
        return x_RCHW
    red, green, blue = x_RCHW.split(1, dim=1)
    return LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
