"""DiffAugment: each change does what its name says, and gradients pass through it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from ganaug_ray.config.gan_presets import PRESETS
from ganaug_ray.gan.diffaug import (
    AUGMENTATIONS,
    CUTOUT_SHARE,
    DRAWS_PER_CHANGE,
    MAX_SHIFT_SHARE,
    apply_augmentations,
    draw_uniforms,
)

ALL = tuple(AUGMENTATIONS)


def images(channels: int = 3, size: int = 32, n: int = 64) -> torch.Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_presets_use_known_augmentations() -> None:
    """Every preset names only augmentations that exist."""
    assert all(set(preset.augment) <= set(ALL) for preset in PRESETS.values())


def test_no_augmentations_return_same_images() -> None:
    """Without augmentations the images come back untouched."""
    x_BCHW = images()
    assert apply_augmentations(x_BCHW, (), draw_uniforms(np.arange(64), (0,), (0,))) is x_BCHW


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_augmentation_keeps_shape_and_range(channels: int, size: int) -> None:
    """Augmented images keep their shape and type, and their values stay in a sensible range."""
    x_BCHW = images(channels, size, 16)
    changed = apply_augmentations(x_BCHW, ALL, draw_uniforms(np.arange(16), (len(ALL),), (0,)))
    assert changed.shape == x_BCHW.shape
    assert changed.dtype == torch.float32
    assert torch.isfinite(changed).all()
    assert changed.abs().max() < 6  # brightness adds half a unit, saturation doubles and contrast takes half more
    assert (changed.flatten(1) == x_BCHW.flatten(1)).float().mean() < 0.2


@pytest.mark.parametrize("name", ALL)
def test_gradients_pass_through_augmentations(name: str) -> None:
    """Gradients pass through every augmentation back to the images that went in."""
    x_BCHW = images(size=8, n=3).double().requires_grad_()
    u_BND = draw_uniforms(np.arange(3), (1,), (0,)).double()
    assert torch.autograd.gradcheck(lambda x: apply_augmentations(x, (name,), u_BND), x_BCHW)


def test_translation_shifts_at_most_an_eighth() -> None:
    """A translation moves by whole pixels, an eighth of the side at most, and fills the border with grey."""
    x_BCHW = torch.zeros(500, 1, 32, 32)
    x_BCHW[:, :, 16, 16] = 1.0
    moved = apply_augmentations(x_BCHW, ("translation",), draw_uniforms(np.arange(500), (1,), (0,)))
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(500))  # the dot is whole and still there
    where = moved.flatten(1).argmax(1)
    for pixels in (where // 32 - 16, where % 32 - 16):
        assert sorted(set(pixels.tolist())) == list(range(-int(32 * MAX_SHIFT_SHARE), int(32 * MAX_SHIFT_SHARE) + 1))
    edge = apply_augmentations(torch.ones(500, 1, 32, 32), ("translation",), draw_uniforms(np.arange(500), (1,), (0,)))
    assert set(edge.unique().tolist()) == {0.0, 1.0}


def test_translation_needs_no_sums_for_gradients() -> None:
    """The gradient of a translation is the translation back: each pixel's comes from one place, or from none."""
    x_BCHW = images(size=16, n=8).contiguous(memory_format=torch.channels_last).requires_grad_()
    u_BND = draw_uniforms(np.arange(8), (1,), (0,))
    moved = apply_augmentations(x_BCHW, ("translation",), u_BND)
    moved.backward(moved.detach())
    kept = x_BCHW.grad != 0
    assert torch.equal(x_BCHW.grad[kept], x_BCHW.detach()[kept])
    assert 0.6 < kept.float().mean() < 1
    names = {node.name() for node in list_nodes(moved.grad_fn)}
    assert not any("Grid" in name or "Gather" in name or "Index" in name for name in names), names


def list_nodes(node: Any) -> Iterator[Any]:
    yield node
    for following, _ in node.next_functions:
        if following is not None:
            yield from list_nodes(following)


def test_cutout_removes_half_side_square() -> None:
    """A cutout removes a square of half the side, which may hang over the edge of the image."""
    cut = apply_augmentations(torch.ones(500, 3, 32, 32), ("cutout",), draw_uniforms(np.arange(500), (1,), (0,)))
    holes = (cut == 0).sum((2, 3))
    assert torch.equal(holes[:, 0], holes[:, 2])
    assert holes.max() == (32 * CUTOUT_SHARE) ** 2
    assert holes.min() < (32 * CUTOUT_SHARE) ** 2 / 2


def test_colour_augmentations_preserve_means() -> None:
    """Brightness shifts the mean of an image by its draw; contrast and saturation leave the mean as it is."""
    x_BCHW = images()
    u_BND = draw_uniforms(np.arange(64), (1,), (0,))
    u_B = u_BND[:, 0, 0]
    shifted, contrasted, saturated = (
        apply_augmentations(x_BCHW, (name,), u_BND) for name in ("brightness", "contrast", "saturation")
    )
    assert torch.allclose((shifted - x_BCHW).mean((1, 2, 3)), u_B - 0.5, atol=1e-5)
    assert torch.allclose(contrasted.mean((1, 2, 3)), x_BCHW.mean((1, 2, 3)), atol=1e-5)
    assert torch.allclose(contrasted.std((1, 2, 3)), x_BCHW.std((1, 2, 3)) * (u_B + 0.5), atol=1e-5)
    assert torch.allclose(saturated.mean(1), x_BCHW.mean(1), atol=1e-5)
    grey = images(channels=1)
    assert torch.equal(apply_augmentations(grey, ("saturation",), u_BND), grey)


def test_augmentation_draws_split_over_ranks() -> None:
    """Every image and augmentation has its own random draws, and ranks with parts of a batch use the same ones."""
    whole = draw_uniforms(np.arange(64), (len(ALL),), (0, "gan", 7))
    assert whole.shape == (64, len(ALL), DRAWS_PER_CHANGE)
    assert len(whole.unique()) == whole.numel()
    x_BCHW = images()
    both = apply_augmentations(x_BCHW, ALL, whole)
    parts = [apply_augmentations(x_BCHW[rows], ALL, whole[rows]) for rows in (slice(0, 32), slice(32, 64))]
    assert torch.equal(both, torch.cat(parts))
