"""Keeps image stores in Ray's object store: each is read once, and all processes of a machine map the same memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import ray

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, shared_memory

StoreLoans = Mapping[str, "ray.ObjectRef[image_store.LabelledImages]"]
"""Folder of a store -> its rows. Whoever holds it keeps them in memory."""


def lend_stores(store_names: Iterable[str], max_gb: float) -> StoreLoans:
    """Read image stores that are used more than once into Ray's object store.

    Each is read by a Ray task on any machine that has a CPU free; this returns at once.

    Args:
        store_names: folders of stores, each as often as it will be used.
        max_gb: GB (10**9 bytes) of decoded pixels. A larger store is left on disk, from where training streams it.

    Returns:
        Folder of a store -> reference to its images; those used once and those too large are left out.
    """
    shared_names = [name for name, times in Counter(store_names).items() if times > 1]
    lent_names = [
        name for name in shared_names if image_store.list_shards(Folder.from_uri(name)).pixel_bytes <= max_gb * 1e9
    ]
    return {name: _read_store.remote(name) for name in lent_names}


@ray.remote(num_cpus=1)
def _read_store(name: str) -> image_store.LabelledImages:
    return image_store.read_images(Folder.from_uri(name))


@contextmanager
def borrow_stores(loans: StoreLoans) -> Iterator[None]:
    """Make this process read lent stores from the object store rather than from disk, until the context ends.

    For actors: a task that waits here gives its CPU away meanwhile, so it takes the images as arguments instead.
    """
    with shared_memory.lend_images(dict(zip(loans, ray.get(list(loans.values())), strict=True))):
        yield
