"""Image stores that the processes of a machine have in common: read once, and mapped into each that trains on them.

Whoever runs many trainings lends their stores (``spread.lend`` has them in Ray's object store); what reads a store asks
here first, and finds it on disk otherwise. Lent pixels cannot be written to.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store

_lent_images: dict[str, image_store.LabelledImages] = {}


@contextmanager
def lend_images(stores: Mapping[str, image_store.LabelledImages]) -> Iterator[None]:
    """Let this process read these stores, by the ``str`` of their folders, from memory until the context ends."""
    _lent_images.update(stores)
    try:
        yield
    finally:
        for name in stores:
            del _lent_images[name]


def read_images(folder: Folder, max_rows: int | None = None) -> image_store.LabelledImages:
    """As ``store.read``, from memory where the store is lent."""
    rows = _lent_images.get(str(folder))
    if rows is None:
        return image_store.read_images(folder, max_rows)
    if max_rows is None or max_rows >= len(rows):
        return rows
    return image_store.LabelledImages(
        rows.images[:max_rows],
        rows.labels[:max_rows],
        rows.ids[:max_rows],
        rows.paths[:max_rows],
        rows.provenance[:max_rows],
    )
