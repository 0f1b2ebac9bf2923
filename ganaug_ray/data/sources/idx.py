"""Reads the idx files of MNIST and similar data sets: arrays of uint8, gzipped or not, for images and labels."""

import functools
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.sources.paths import name_split
from ganaug_ray.data.sources.raw import RawImage, SourcePart, cut_parts, describe_unreadable
from ganaug_ray.errors import UserError

MAX_FILE_BYTES = 2 * 1024**3  # of one file, inflated


def list_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the parts of a folder's pairs NAME-images-idx3-ubyte[.gz] and NAME-labels-idx1-ubyte[.gz]."""
    try:
        files = _open_folder(source).list_files()
    except OSError as error:
        raise UserError(f"data.source {source}: {describe_unreadable(error)}") from None
    stems = [name for name in files if "-images-idx3" in name or "-images.idx3" in name]
    if not stems:
        raise UserError(
            f"data.source {source}: has no file in MNIST's format, such as train-images-idx3-ubyte.gz; "
            "give the folder that holds such files"
        )
    for name in stems:
        if _name_label_file(name) not in files:
            raise UserError(f"data.source {source}: has {name}, but not {_name_label_file(name)}; both are needed")
        images = _read_array(source, name)
        labels = _read_array(source, _name_label_file(name))
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise UserError(
                f"data.source {source}: {name} holds {list(images.shape)} and {_name_label_file(name)} "
                f"{list(labels.shape)}; expected [N, H, W] and [N], a label for each image"
            )
        splits = frozenset({_find_split(name) or ""})
        for rows in cut_parts(range(len(labels))):
            yield SourcePart(functools.partial(_read_rows, source, name, rows), splits, len(rows))


def _read_rows(source: str, name: str, rows: Sequence[int]) -> Iterator[RawImage]:
    images = _read_array(source, name)
    labels = _read_array(source, _name_label_file(name))
    stem = name.split("-images")[0]
    split = _find_split(name)
    for row in rows:
        yield RawImage(f"{stem}/{row:06d}", str(labels[row]), images[row], split=split)


def _find_split(name: str) -> str | None:
    return name_split(name.split("-images")[0])


def _open_folder(source: str) -> Folder:
    return Folder.from_uri(source.split(":", 1)[1])


def _name_label_file(name: str) -> str:
    return name.replace("images", "labels").replace("idx3", "idx1")


def _read_array(source: str, name: str) -> np.ndarray:
    folder = _open_folder(source)
    return _read_array_version(source, name, folder.fs.get_file_info(f"{folder.path}/{name}").mtime_ns)


@functools.lru_cache(maxsize=4)  # a process reads many parts of the same two files
def _read_array_version(source: str, name: str, mtime_ns: int) -> np.ndarray:
    try:
        content = _open_folder(source).read_bytes(name)
    except OSError as error:
        raise UserError(f"data.source {source}: {name} {describe_unreadable(error)}") from None
    if name.endswith(".gz"):
        try:
            with gzip.open(io.BytesIO(content)) as stream:
                content = stream.read(MAX_FILE_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"data.source {source}: {name} cannot be unzipped ({error}); download it again") from None
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise UserError(f"data.source {source}: {name} is not an idx file of bytes (uint8), as MNIST has them")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = tuple(int(side) for side in np.frombuffer(content[4:start], ">u4"))
    if len(content) - start != int(np.prod(shape, dtype=np.int64)):
        raise UserError(
            f"data.source {source}: the header of {name} says {list(shape)}, but {len(content) - start} bytes follow; "
            "copy the file again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
