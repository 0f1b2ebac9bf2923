"""Image stores that the processes of a machine have in common: read once, and mapped into each that trains on them.

Whoever runs many trainings lends their stores (``spread.lend`` has them in Ray's object store); what reads a store asks
here first, and finds it on disk otherwise. Lent pixels cannot be written to.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store

_lent: dict[str, image_store.Images] = {}


@contextmanager
def lent(stores: Mapping[str, image_store.Images]) -> Iterator[None]:
    """Let this process read these stores, by the ``str`` of their folders, from memory until the context ends."""
    _lent.update(stores)
    try:
        yield
    finally:
        for name in stores:
            del _lent[name]


def read(folder: Folder, most: int | None = None) -> image_store.Images:
    """As ``store.read``, from memory where the store is lent."""
    rows = _lent.get(str(folder))
    if rows is None:
        return image_store.read(folder, most)
    if most is None or most >= len(rows):
        return rows
    return image_store.Images(
        rows.images[:most], rows.labels[:most], rows.ids[:most], rows.paths[:most], rows.provenance[:most]
    )
