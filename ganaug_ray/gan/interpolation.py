"""Latent interpolation: images between two latents. A generator that has memorised single images jumps between them."""

import torch
from torch.nn import functional as F

from ganaug_ray.config import GanConfig
from ganaug_ray.core import rng
from ganaug_ray.data.loading import tensors
from ganaug_ray.gan import image_grid
from ganaug_ray.gan.networks import Generator
from ganaug_ray.gan.training_loop import ImageShape

GRID_COLUMNS = 10


def slerp(a_BZ: torch.Tensor, b_BZ: torch.Tensor, steps: int) -> torch.Tensor:
    """Interpolate between latents along great circles: float [B, Z] twice -> [B, steps, Z], both ends included.

    On the straight line between two normal latents lie vectors shorter than any that the generator was trained on;
    on the circle the length stays what it is at the ends (White 2016, arXiv 1609.04468).
    """
    t_S1 = torch.linspace(0, 1, steps)[:, None]
    cosine_B = F.cosine_similarity(a_BZ, b_BZ).clamp(-1, 1)
    angle_B11 = cosine_B.acos()[:, None, None]
    sine_B11 = angle_B11.sin()
    a_B1Z = a_BZ[:, None]
    b_B1Z = b_BZ[:, None]
    circle = (((1 - t_S1) * angle_B11).sin() * a_B1Z + (t_S1 * angle_B11).sin() * b_B1Z) / sine_B11
    line = torch.lerp(a_B1Z, b_B1Z, t_S1)
    return torch.where(sine_B11.abs() < 1e-4, line, circle)  # of parallel latents no circle is the shortest


@torch.no_grad()
def draw_interpolation(generator: Generator, config: GanConfig, shape: ImageShape, seed: int) -> bytes:
    """Draw rows of images, each of which goes from one random latent to another.

    Args:
        generator: in evaluation mode, on any device.
        config: of its training.
        shape: likewise; the first ten classes have a row each. A generator without classes has ten rows that differ
            in latents alone.
        seed: of the latents.

    Returns:
        The grid as PNG, ten columns.
    """
    rows = min(shape.classes, image_grid.MAX_CLASS_ROWS) if config.conditional else image_grid.MAX_CLASS_ROWS
    a_RZ, b_RZ = torch.randn(2, rows, config.latent, generator=rng.make_generator(seed, "interpolation"))
    device = next(generator.parameters()).device
    grid_rows = []
    for label, z_SZ in enumerate(slerp(a_RZ, b_RZ, GRID_COLUMNS).to(device)):
        y_S = torch.full((GRID_COLUMNS,), label, device=device)
        grid_rows.append(tensors.from_network(generator(z_SZ, y_S)).cpu().numpy())
    return image_grid.encode_png(image_grid.arrange_grid(grid_rows))
