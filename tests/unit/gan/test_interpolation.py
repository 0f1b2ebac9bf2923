"""From one latent to another."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from ganaug_ray.config import GanConfig
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.gan import interpolation, networks
from ganaug_ray.gan.image_grid import GAP_PX
from ganaug_ray.gan.training_loop import ImageShape


def test_slerp_divides_angle_equally() -> None:
    """Spherical interpolation goes along the circle in equal angles."""
    a_BZ, b_BZ = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    z_SZ = interpolation.slerp(a_BZ, b_BZ, 4)[0]
    by_hand = [[1.0, 0.0], [0.866025, 0.5], [0.5, 0.866025], [0.0, 1.0]]
    torch.testing.assert_close(z_SZ, torch.tensor(by_hand), atol=1e-6, rtol=0)


def test_interpolated_latents_keep_normal_length() -> None:
    """Latents between two normal ones are about as long as those two are."""
    a_BZ, b_BZ = torch.randn(2, 8, 100, generator=torch.Generator().manual_seed(0))
    z_BSZ = interpolation.slerp(a_BZ, b_BZ, 9)
    torch.testing.assert_close(z_BSZ[:, 0], a_BZ)
    torch.testing.assert_close(z_BSZ[:, -1], b_BZ)
    ends = torch.stack([a_BZ.norm(dim=1), b_BZ.norm(dim=1)])
    between = z_BSZ.norm(dim=2)
    assert (between >= ends.min(0).values[:, None] * 0.95).all(), "in the middle of the line it would be 0.7"
    assert (between <= ends.max(0).values[:, None] * 1.05).all()


def test_parallel_latents_interpolate_without_nan() -> None:
    """Interpolation between parallel or opposite latents gives finite numbers."""
    a_BZ = torch.tensor([[2.0], [2.0], [2.0]])
    z_BSZ = interpolation.slerp(a_BZ, torch.tensor([[2.0], [4.0], [-2.0]]), 3)
    torch.testing.assert_close(z_BSZ[:, :, 0], torch.tensor([[2.0, 2.0, 2.0], [2.0, 3.0, 4.0], [2.0, 0.0, -2.0]]))


@pytest.mark.parametrize(
    ("classes", "conditional", "rows"), [(3, True, 3), (12, True, 10), (3, False, 10)], ids=["few", "many", "none"]
)
def test_interpolation_picture_has_class_rows(classes: int, conditional: bool, rows: int) -> None:
    """The interpolation picture has one row for each class, and every image along a row is another."""
    torch.manual_seed(0)
    config = GanConfig(steps=1, latent=8, conditional=conditional)
    generator = networks.Generator(8, classes if conditional else 0, 1, 32, 4).eval()
    for layer in (generator.first, *generator.larger, generator.last):
        torch.nn.init.normal_(layer.weight, 0.0, 0.3)  # untrained it would draw grey alone
    drawn = interpolation.draw_interpolation(generator, config, ImageShape(classes, 1, 32), seed=0)
    assert drawn == interpolation.draw_interpolation(generator, config, ImageShape(classes, 1, 32), seed=0)
    picture = np.asarray(Image.open(io.BytesIO(drawn)))
    side = 32 + GAP_PX
    assert picture.shape == (rows * side + GAP_PX, interpolation.GRID_COLUMNS * side + GAP_PX, 3)
    tiles = picture[GAP_PX:, GAP_PX:].reshape(rows, side, interpolation.GRID_COLUMNS, side, 3)[:, :32, :, :32]
    assert len(np.unique(tiles.transpose(0, 2, 1, 3, 4).reshape(rows * interpolation.GRID_COLUMNS, -1), axis=0)) == (
        rows * interpolation.GRID_COLUMNS
    )


def test_finished_gan_has_interpolation_picture(experiment: Run) -> None:
    """A finished GAN has an interpolation picture in its folder."""
    assert Image.open(io.BytesIO(experiment.gan.read_bytes("interpolation.png"))).size == (342, 342)
