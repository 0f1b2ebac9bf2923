"""Counted randomness: every draw is a pure function of a key, so no generator state is ever saved.

A key is a tuple such as ``(seed, "gan", step)``. Draws for a step are made whole, for the global batch, on every
rank, and each rank takes its slice: the number of workers, a resume, and a regeneration change nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

Key = int | str


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
