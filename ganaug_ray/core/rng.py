"""Counted randomness: every draw is a pure function of a key, so no generator state is ever saved.

A key is a tuple such as ``(seed, "gan", step)``. The draws of a step are made in blocks of rows of the global batch,
each with a key of its own, and each rank makes those that its rows are in: the number of workers, a resume, and a
regeneration change nothing, and a rank's work is that of its own rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

Key = int | str

ROWS_PER_BLOCK = 16  # of the global batch, whose draws have a key of their own


def hash_to_number(*key: Key) -> int:
    """Hash a key to a non-negative 63-bit integer, the same on every machine and in every process.

    >>> hash_to_number(0, "gan", 7) == hash_to_number(0, "gan", 7) != hash_to_number(0, "gan", 8)
    True
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def make_generator(*key: Key) -> torch.Generator:
    """Return a CPU generator seeded by the key. Draws are made on the CPU so that devices agree."""
    import torch  # not above: whoever only splits a data set needs none of it

    return torch.Generator().manual_seed(hash_to_number(*key))


def draw_uniform_rows(rows_B: np.ndarray, shape: tuple[int, ...], *key: Key) -> torch.Tensor:
    """Draw uniform numbers for some rows of a global batch.

    Args:
        rows_B: positions of the rows in the global batch, int64 [B].
        shape: of each row's numbers.
        key: of the draw; what a row gets depends on the key and its position alone.

    Returns:
        float32 [B, *shape] in [0, 1), on the CPU.

    >>> whole = draw_uniform_rows(np.arange(40), (2,), 0, "example")
    >>> draw_uniform_rows(np.array([39, 5]), (2,), 0, "example").equal(whole[[39, 5]])
    True
    """
    import torch

    return _draw_blocks(torch.Tensor.uniform_, rows_B, shape, key)


def draw_normal_rows(rows_B: np.ndarray, shape: tuple[int, ...], *key: Key) -> torch.Tensor:
    """Draw standard normal numbers for some rows of a global batch, float32 [B, *shape]; see ``draw_uniform_rows``."""
    import torch

    return _draw_blocks(torch.Tensor.normal_, rows_B, shape, key)


def _draw_blocks(
    fill: Callable[..., torch.Tensor], rows_B: np.ndarray, shape: tuple[int, ...], key: tuple[Key, ...]
) -> torch.Tensor:
    import torch

    blocks, inverse_B = np.unique(rows_B // ROWS_PER_BLOCK, return_inverse=True)
    drawn_NRs = torch.empty(len(blocks), ROWS_PER_BLOCK, *shape)
    generator = torch.Generator()
    for block, drawn_Rs in zip(blocks.tolist(), drawn_NRs, strict=True):
        fill(drawn_Rs, generator=generator.manual_seed(hash_to_number(*key, block)))
    return drawn_NRs.flatten(0, 1)[torch.from_numpy(inverse_B * ROWS_PER_BLOCK + rows_B % ROWS_PER_BLOCK)]


def seed_layers(device: torch.device, *key: Key) -> None:
    """Seed the generator that layers such as dropout draw from on a device, by the key.

    ``torch.manual_seed`` seeds every kind of device, and for each that this machine lacks writes down the caller's
    stack: a third of a millisecond, which is much of a small network's step.
    """
    import torch

    if device.type == "cpu":
        torch.default_generator.manual_seed(hash_to_number(*key))
    else:
        torch.manual_seed(hash_to_number(*key))


def draw_permutation(n: int, *key: Key) -> np.ndarray:
    """Return a permutation of ``range(n)`` that depends on the key alone, int64 [n]."""
    return np.random.Generator(np.random.Philox(hash_to_number(*key))).permutation(n)
