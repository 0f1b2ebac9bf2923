"""Stores images that came back with their true label, in the form that a later prepare reads: a folder a class.

FOLDER/<label>/<id>.jpg        as it was sent
FOLDER/.provenance/<id>.json   which version answered what, and when; sources pass hidden folders over

``prepare`` keeps the path of every image, and so the id that leads to its provenance.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pyarrow import fs as pafs

from ganaug_ray.core.storage import Folder
from ganaug_ray.core.wording import describe_unwritable
from ganaug_ray.data.sources.paths import is_hidden
from ganaug_ray.errors import UserError

PROVENANCE_FOLDER = ".provenance"
FORMAT_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp", "PPM": "ppm",
            "JPEG2000": "jp2", "AVIF": "avif"}  # fmt: skip


class FeedbackStore:
    """A folder of images with their true labels, on any filesystem.

    Args:
        folder: made where there is none.
        classes: that may be labels.

    Raises:
        UserError: the folder cannot be made, or a class cannot be a folder's name.
    """

    def __init__(self, folder: Folder, classes: Sequence[str]) -> None:
        self._folder = folder
        unusable_names = [name for name in classes if not is_folder_name(name)]
        if unusable_names:
            raise UserError(
                f"--feedback {folder}: each class gets a folder, and {unusable_names[0]!r} cannot name one; leave out "
                "--feedback, or serve a model whose classes have other names"
            )
        try:
            folder.create()
        except OSError as error:
            raise UserError(describe_unwritable("--feedback", folder, error)) from None

    def store_image(self, id_: str, label: str, content: bytes, kind: str, facts: dict[str, Any]) -> None:
        """Store an image as it was sent, after its provenance, so that no image is without that.

        Args:
            id_: of the answer; also of the file.
            label: a class.
            content: the bytes of an image file.
            kind: its format, as Pillow calls it.
            facts: of its provenance.

        Raises:
            OSError: it cannot be written.
        """
        record = {"id": id_, "label": label, **facts, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        (self._folder / PROVENANCE_FOLDER).create().write_json(f"{id_}.json", record)
        (self._folder / label).create().write_bytes(f"{id_}.{FORMAT_SUFFIXES.get(kind, 'img')}", content)


def measure_usage(folder: Folder) -> tuple[int, int]:
    """Return (number of images, their bytes) in a folder."""
    images = 0
    size = 0
    for info in folder.list_entries(recursive=True):
        path = info.path[len(folder.path) :].lstrip("/")
        if info.type == pafs.FileType.File and not is_hidden(path):
            images += 1
            size += info.size
    return images, size


def is_folder_name(label: str) -> bool:
    """Return whether a folder of this name is read back as this label.

    >>> [is_folder_name(label) for label in ("cat", "Übung 2", "a/b", "..", ".cat", "", "a\\b", "x" * 300)]
    [True, True, False, False, False, False, False, False]
    """
    is_plain = label.isprintable() and unicodedata.is_normalized("NFC", label) and len(label.encode()) <= 200
    is_name = bool(label.strip()) and label != ".." and not set("/\\") & set(label)
    return is_name and is_plain and not is_hidden(f"{label}/1.png")
