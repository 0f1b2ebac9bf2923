"""Lets the trainings in a process share image stores: a store that was lent is read from memory, any other from disk.

Lent are stores that lie in Ray's object store, which all processes of a machine map. Lent pixels cannot be written to.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store

_lent_images: dict[str, image_store.LabelledImages] = {}


@contextmanager
def lend_images(stores: Mapping[str, image_store.LabelledImages]) -> Iterator[None]:
    """Make ``read_images`` of this process return these images, rather than read their folders, until the context ends.

    Args:
        stores: ``str`` of a store's folder -> its images.
    """
    _lent_images.update(stores)
    try:
        yield
    finally:
        for name in stores:
            del _lent_images[name]


def read_images(folder: Folder, max_rows: int | None = None) -> image_store.LabelledImages:
    """Read the images of a store, from memory where it is lent and else from disk.

    Args:
        folder: of the store.
        max_rows: number of images that are read, from the first on; None: all.

    Raises:
        FileNotFoundError: the store is not lent, and the folder has no shards.
    """
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
