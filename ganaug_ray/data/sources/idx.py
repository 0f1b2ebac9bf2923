"""The idx files of MNIST and its kin: arrays of uint8, gzipped or not, images and labels side by side."""

import gzip
import io
import zlib
from collections.abc import Iterator

import numpy as np

from ganaug_ray.config import LabelFrom
from ganaug_ray.data.sources.raw import Raw
from ganaug_ray.errors import UserError
from ganaug_ray.storage import Folder

MOST_BYTES = 2 * 1024**3  # of one file, inflated


def read(source: str, label_from: LabelFrom) -> Iterator[Raw]:
    """Read every pair NAME-images-idx3-ubyte[.gz] and NAME-labels-idx1-ubyte[.gz] of a folder; labels are numbers."""
    folder = Folder.at(source.split(":", 1)[1])
    files = folder.files()
    pairs = [name for name in files if "-images-idx3" in name or "-images.idx3" in name]
    if not pairs:
        raise UserError(f"data.source {source}: no file like train-images-idx3-ubyte[.gz] there")
    for name in pairs:
        partner = name.replace("images", "labels").replace("idx3", "idx1")
        if partner not in files:
            raise UserError(f"data.source {source}: {name} is there and {partner} is not")
        pixels, labels = _array(folder, name, source), _array(folder, partner, source)
        if pixels.ndim != 3 or labels.ndim != 1 or len(pixels) != len(labels):
            raise UserError(
                f"data.source {source}: {name} holds {list(pixels.shape)} and {partner} {list(labels.shape)}; "
                "expected [N, H, W] and [N]"
            )
        stem = name.split("-images")[0]
        for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            yield Raw(f"{stem}/{index:06d}", str(label), image)


def _array(folder: Folder, name: str, source: str) -> np.ndarray:
    content = folder.read(name)
    if name.endswith(".gz"):
        try:
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(MOST_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"data.source {source}: {name} cannot be unzipped ({error})") from None
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise UserError(f"data.source {source}: {name} is no idx file of uint8")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = tuple(int(side) for side in np.frombuffer(content[4:start], ">u4"))
    if len(content) - start != int(np.prod(shape, dtype=np.int64)):
        raise UserError(f"data.source {source}: {name} says {list(shape)} and holds {len(content) - start} bytes")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
