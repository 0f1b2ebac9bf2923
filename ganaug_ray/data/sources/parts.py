"""Sources are read in parts, each by whoever is free: plain data, and nothing read yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ganaug_ray.data.sources.raw import Raw

PART = 256  # images

Part = Callable[[], "Iterator[Raw]"]
"""Reads one part of a source. It travels to other processes: a module's function with its arguments bound."""

T = TypeVar("T")


def cut(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut a list into parts of at most PART items.

    >>> [len(part) for part in cut(range(600))]
    [256, 256, 88]
    """
    return (items[start : start + PART] for start in range(0, len(items), PART))
