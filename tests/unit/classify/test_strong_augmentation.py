"""What ``classifier.augment: strong`` does to a batch: one operation a row, a rectangle of some, and no upside-down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from ganaug_ray.classify import batch_augmentation, strong_augmentation
from ganaug_ray.classify.strong_augmentation import RowOperations
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.data.loading.batch import Batch

ROWS = 400
PLAIN = {"steps": 1, "flip": False, "rotate": 0.0, "zoom": 0.0, "shift": 0.0}


def draw(rows: int = ROWS) -> RowOperations:
    return RowOperations.draw(np.arange(rows), (0, "augment", 3))


def only(which: int, strength: float) -> RowOperations:
    """One row, with this operation and no rectangle erased."""
    return RowOperations(torch.tensor([which]), torch.tensor([strength]), torch.ones(1, 5))


def test_every_operation_is_drawn_alike() -> None:
    """All operations come up about equally often, none of them included."""
    counts = torch.bincount(draw(4000).which_B, minlength=strong_augmentation.OPERATION_COUNT)
    assert counts.min() > 4000 / strong_augmentation.OPERATION_COUNT / 1.3


def test_no_map_mirrors_an_image() -> None:
    """Without flip nothing mirrors an image: a digit stays one, and it stays upright."""
    config = ClassifierConfig(**PLAIN)
    maps = draw().move(batch_augmentation.build_affine_maps(torch.full((ROWS, 5), 0.5), config))
    assert (torch.linalg.det(maps[:, :, :2]) > 0.5).all()
    assert (maps[:, 0, 0] > 0.8).all()
    assert (maps[:, 1, 1] > 0.8).all()
    assert len(maps.unique(dim=0)) > ROWS / 4


def test_shift_and_rotation_move_as_told() -> None:
    """A row moves by its own operation alone, by a share of the side or in degrees."""
    still = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    across = only(strong_augmentation.SHIFT_X, 1.0).move(still)
    assert torch.allclose(across - still, torch.tensor([[[0, 0, 2 * strong_augmentation.MAX_SHIFT], [0, 0, 0]]]))
    turned = only(strong_augmentation.ROTATE, -1.0).move(still)[0]
    angle = np.radians(strong_augmentation.MAX_ROTATION_DEG)
    assert torch.allclose(turned[:, 0], torch.tensor([np.cos(angle), -np.sin(angle)]).float(), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_change_as_torchvision_does(channels: int) -> None:
    """Each colour operation gives what torchvision's function of that name gives."""
    pixels = torch.randint(256, (1, channels, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pixels = pixels // 2 + 40
    theirs = {
        strong_augmentation.change_brightness: functional.adjust_brightness(pixels, 1.45),
        strong_augmentation.change_contrast: functional.adjust_contrast(pixels, 1.45),
        strong_augmentation.change_saturation: functional.adjust_saturation(pixels, 1.45),
        strong_augmentation.posterize: functional.posterize(pixels, 6),
        strong_augmentation.solarize: functional.solarize(pixels, 192),
        strong_augmentation.stretch_contrast: functional.autocontrast(pixels),
    }
    for operation, expected in theirs.items():
        changed = operation(pixels / 255, torch.full((1, 1, 1, 1), 0.5)) * 255
        assert (changed - expected).abs().max() <= 1.5, operation
    inner = slice(1, -1)  # torchvision leaves the border as it is
    sharp = strong_augmentation.change_sharpness(pixels / 255, torch.full((1, 1, 1, 1), 0.5)) * 255
    expected = functional.adjust_sharpness(pixels, 1.45)
    assert (sharp - expected)[..., inner, inner].abs().max() <= 1.5


def test_erased_rectangles_keep_their_share() -> None:
    """About half of the rows lose a rectangle of 2 to 33 % of their pixels, and the others nothing."""
    erased = draw().erase(torch.ones(ROWS, 1, 32, 32)) != 1
    shares = erased.float().mean((1, 2, 3))
    assert 0.4 < (shares > 0).float().mean() < 0.6
    assert 0.3 < shares.max() < 0.36
    rows, columns = erased[:, 0].any(2), erased[:, 0].any(1)
    assert torch.equal(erased[:, 0], rows[:, :, None] & columns[:, None, :]), "it is one rectangle"


def test_strong_leaves_images_recognisable() -> None:
    """No image turns blank or out of range, and light alone leaves a plain config's images as they are."""
    x_BCHW = torch.zeros(ROWS, 1, 28, 28) - 1
    x_BCHW[:, :, 6:22, 8:20] = torch.linspace(-0.5, 1, 16)[:, None]
    batch = Batch(x_BCHW, torch.zeros(ROWS, dtype=torch.long), np.arange(ROWS), ROWS)
    strong = batch_augmentation.apply_classic(batch, ClassifierConfig(augment="strong", **PLAIN), (0,))
    assert strong.abs().max() <= 1 + 1e-5
    assert strong.flatten(1).std(1).min() > 0.05
    assert (strong - x_BCHW).abs().flatten(1).mean(1).gt(0.01).float().mean() > 0.6
    light = batch_augmentation.apply_classic(batch, ClassifierConfig(augment="light", **PLAIN), (0,))
    assert torch.allclose(light, x_BCHW, atol=1e-5)
