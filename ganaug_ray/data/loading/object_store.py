"""Image stores in Ray's object store: each is read once, and the processes of a machine map the same memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import ray

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, shared_memory

Loans = Mapping[str, "ray.ObjectRef[image_store.Images]"]
"""Folder of a store -> its rows. Whoever holds it keeps them in memory."""


def lend(wanted: Iterable[str], most_gb: float) -> Loans:
    """Read the stores that are wanted more than once, on whatever machine has a CPU free.

    Args:
        wanted: folders of stores, each as often as it will be read.
        most_gb: GB (10**9 bytes) of pixels; a larger store is left on disk, as those who train stream it.
    """
    several = [name for name, times in Counter(wanted).items() if times > 1]
    small = [name for name in several if image_store.survey(Folder.at(name)).bytes <= most_gb * 1e9]
    return {name: _read.remote(name) for name in small}


@ray.remote(num_cpus=1)
def _read(name: str) -> image_store.Images:
    return image_store.read(Folder.at(name))


@contextmanager
def borrowed(loans: Loans, names: Iterable[str]) -> Iterator[None]:
    """Read those of these stores that are lent from memory, in this process, until the context ends."""
    mine = [name for name in names if name in loans]
    with shared_memory.lent(dict(zip(mine, ray.get([loans[name] for name in mine]), strict=True))):
        yield
