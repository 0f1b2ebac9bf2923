"""Takes over the weights of a GAN that knows other classes: those of a class go where that class is here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ganaug_ray.core.checkpoint import Tensors

_ROW_TENSORS = ("weight", "original", "original0", "_u")
"""Of an embedding, or of what spectral norm makes of one: tensors that have a row, or a number, for each class."""


def find_class_tables(network: nn.Module, tensors: Tensors) -> set[str]:
    """Find the tensors of a network's state whose rows are classes: those of its embeddings."""
    tables = set()
    for name, module in network.named_modules():
        if isinstance(module, nn.Embedding):
            tables |= {key for key in tensors if key.startswith(f"{name}.") and key.rpartition(".")[2] in _ROW_TENSORS}
    return tables


def match_rows(theirs: Sequence[str], ours: Sequence[str], names: Mapping[str, str] | None = None) -> dict[int, int]:
    """Match classes by name: number here -> number there.

    Args:
        theirs: names of the classes there.
        ours: names of the classes here.
        names: class there -> class here, where the two have other names.

    >>> match_rows(["dog", "kitty"], ["cat", "dog", "owl"], {"kitty": "cat"})
    {1: 0, 0: 1}
    """
    rows = {}
    for number, name in enumerate(theirs):
        target = (names or {}).get(name, name)
        if target in ours:
            rows[ours.index(target)] = number
    return rows


def take_rows(theirs: torch.Tensor, ours: torch.Tensor, rows: Mapping[int, int]) -> torch.Tensor:
    """Return ``ours`` [K, ...] with some rows from ``theirs`` [J, ...]: number of a row here -> number there."""
    tensor = ours.clone()
    for row, source in rows.items():
        tensor[row] = theirs[source]
    return tensor
