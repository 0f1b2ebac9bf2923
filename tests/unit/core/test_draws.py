"""Random draws of a step: the same for any number of ranks, and no more work than a rank's own rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ganaug_ray.classify import batch_augmentation
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.gan import training_loop

TOTAL = 100  # rows of the global batch: parts of ranks and blocks of draws do not coincide


def make_batch(rank: int, world: int, total: int = TOTAL) -> Batch:
    share = Place(rank, world).slice_rows(total)
    rows = np.arange(share.start, share.stop)
    images = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8).expand(len(rows), 1, 8, 8)
    return Batch(images, torch.zeros(len(rows), dtype=torch.long), rows, total)


def draw_gan_step(batch: Batch) -> torch.Tensor:
    draws = training_loop.draw_step(8, 3, batch, (0, "gan", 5), Place())
    return torch.cat([numbers.flatten(1) for numbers in draws], 1)


def draw_augmentation(batch: Batch) -> torch.Tensor:
    return batch_augmentation.apply_classic(batch, ClassifierConfig(steps=1), (0, "augment", 5)).flatten(1)


def draw_strong_augmentation(batch: Batch) -> torch.Tensor:
    config = ClassifierConfig(steps=1, augment="strong")
    return batch_augmentation.apply_classic(batch, config, (0, "augment", 5)).flatten(1)


@pytest.mark.parametrize("draw", [draw_gan_step, draw_augmentation, draw_strong_augmentation])
@pytest.mark.parametrize("world", [2, 4])
def test_ranks_draw_what_one_rank_draws(draw: Callable[[Batch], torch.Tensor], world: int) -> None:
    """The draws of two and of four ranks, put together, are those of one; and every row has its own."""
    alone = draw(make_batch(0, 1))
    together = torch.cat([draw(make_batch(rank, world)) for rank in range(world)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert len(alone.unique(dim=0)) == TOTAL


def test_scattered_rows_draw_their_own() -> None:
    """A rank's real and synthetic rows lie apart in the global batch: each gets what its position has."""
    whole = rng.draw_normal_rows(np.arange(200), (3,), 0, "noise")
    rows = np.array([*range(30, 40), *range(150, 171)])
    assert torch.equal(rng.draw_normal_rows(rows, (3,), 0, "noise"), whole[torch.from_numpy(rows)])
    assert rng.draw_normal_rows(rows[:0], (3,), 0, "noise").shape == (0, 3)
    assert whole.mean().abs() < 0.15
    assert abs(whole.std().item() - 1) < 0.1


@pytest.mark.parametrize("draw", [draw_gan_step, draw_augmentation])
def test_drawing_costs_a_ranks_own_rows(monkeypatch: pytest.MonkeyPatch, draw: Callable[[Batch], torch.Tensor]) -> None:
    """Of a batch of 512 ranks each draws for its own rows, and for what their first and last block has besides."""
    drawn: list[int] = []
    original = {name: getattr(torch.Tensor, name) for name in ("uniform_", "normal_")}
    for name in original:

        def fill(values: torch.Tensor, generator: torch.Generator, name: str = name) -> torch.Tensor:
            drawn.append(values.numel())
            return original[name](values, generator=generator)

        monkeypatch.setattr(torch.Tensor, name, fill)

    def count_numbers(rank: int, world: int) -> int:
        drawn.clear()
        draw(make_batch(rank, world, total=512 * 20))
        return sum(drawn)

    alone = count_numbers(0, 1)
    assert alone > 0
    for world in (2, 4, 512):
        assert count_numbers(world // 2, world) <= alone / world + 2 * alone * rng.ROWS_PER_BLOCK / (512 * 20)
