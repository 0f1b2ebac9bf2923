"""Where images come from. Every reader gives (path, label, content); content is encoded bytes or pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pyarrow import fs as pafs

from ganaug_ray.errors import UserError
from ganaug_ray.storage import Folder


@dataclass(frozen=True)
class Raw:
    """One image as found: where, of which class, and what; ``provenance`` says which source it came from."""

    path: str
    label: str | None
    content: bytes | np.ndarray
    provenance: str


def read(source: str) -> Iterator[Raw]:
    """Read every image of a source, in an order that depends on nothing but the source.

    Raises:
        UserError: there is no such source, or it is empty.
    """
    if source == "sklearn:digits":
        return _digits()
    if source.split(":")[0] in ("sklearn", "torchvision", "idx"):
        raise UserError(f"data.source {source}: known are a folder of class folders, and sklearn:digits")
    return _class_folders(source)


def _digits() -> Iterator[Raw]:
    """1,797 handwritten digits, 8 × 8 grey in 17 levels (Alpaydin & Kaynak 1998), shipped with scikit-learn."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        pixels = np.round(image * (255 / 16)).astype(np.uint8)
        yield Raw(f"digits/{index:04d}", str(label), pixels, "sklearn:digits")


def _class_folders(source: str) -> Iterator[Raw]:
    """Any depth of folders; a file's class is the name of the folder it lies in. Hidden files are passed over."""
    folder = Folder.at(source)
    top = folder.fs.get_file_info(folder.path)
    if top.type == pafs.FileType.NotFound:
        raise UserError(f"data.source {source}: there is no such folder")
    if top.type == pafs.FileType.File:
        raise UserError(f"data.source {source}: is a file; expected a folder with one folder of images a class")
    try:
        infos = folder.fs.get_file_info(pafs.FileSelector(folder.path, recursive=True))
    except OSError as error:
        raise UserError(f"data.source {source}: cannot be read ({error.strerror or error})") from None
    names = sorted(info.path[len(folder.path) :].lstrip("/") for info in infos if info.type == pafs.FileType.File)
    names = [name for name in names if not any(_is_hidden(part) for part in name.split("/"))]
    if not names:
        raise UserError(f"data.source {source}: is empty; expected one folder of images a class")
    return _read_files(folder, names)


def _read_files(folder: Folder, names: list[str]) -> Iterator[Raw]:
    for name in names:
        parts = name.split("/")
        yield Raw(name, parts[-2] if len(parts) > 1 else None, folder.read(name), str(folder))


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part in ("Thumbs.db", "desktop.ini", "__MACOSX")
