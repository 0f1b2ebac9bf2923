"""Classic augmentation of a whole batch on its device: one affine resampling does flip, rotation, zoom and shift."""

import math

import torch
from torch.nn import functional as F

from ganaug_ray import randomness
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.data.batches import Batch

DRAWS = 5  # a row: flip, rotation, zoom, shift across, shift down


def augment(batch: Batch, config: ClassifierConfig, key: tuple[randomness.Key, ...]) -> torch.Tensor:
    """Return the batch's images, each moved by its own draws; float [-1, 1] [B, C, H, W].

    The draws are made for the whole global batch from the key, and each row takes its own: the same image of the same
    step is moved alike however many ranks there are. What comes in from outside repeats the border.
    """
    draws = torch.rand(batch.total, DRAWS, generator=randomness.generator(*key))[batch.rows]
    grid_theta = affine(draws.to(batch.x_BCHW.device, non_blocking=True), config)
    grid = F.affine_grid(grid_theta, list(batch.x_BCHW.shape), align_corners=False)
    return F.grid_sample(batch.x_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


def affine(draws: torch.Tensor, config: ClassifierConfig) -> torch.Tensor:
    """Turn uniform draws [B, DRAWS] in [0, 1) into affine maps [B, 2, 3] from output to input coordinates."""
    flip, rotation, zoom, across, down = draws.unbind(1)
    sign = torch.where((flip < 0.5) & config.flip, -1.0, 1.0)
    angle = (rotation * 2 - 1) * math.radians(config.rotate)
    scale = 1 / (1 + (zoom * 2 - 1) * config.zoom)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    # A shift by the whole size is 2 in grid_sample's coordinates, which run from -1 to 1.
    move_x, move_y = (across * 2 - 1) * 2 * config.shift, (down * 2 - 1) * 2 * config.shift
    rows = [torch.stack([sign * cos, -sin, move_x], 1), torch.stack([sign * sin, cos, move_y], 1)]
    return torch.stack(rows, 1)
