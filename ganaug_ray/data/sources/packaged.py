"""Reads data sets that come with a package, or that a package can download."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.data.images import to_grey_or_rgb, to_pixels
from ganaug_ray.data.sources.raw import RawImage, SourcePart, cut_parts
from ganaug_ray.errors import UserError

DIGITS = 1_797  # images of scikit-learn's


def list_sklearn_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield scikit-learn's 1,797 digits, 8 × 8 grey in 17 levels (Alpaydin & Kaynak 1998), as one part."""
    if source != "sklearn:digits":
        raise UserError(f"data.source {source}: of scikit-learn's data sets, only sklearn:digits can be read")
    yield SourcePart(_read_digits, images=DIGITS)


def _read_digits() -> Iterator[RawImage]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        yield RawImage(f"digits/{index:04d}", str(label), np.round(image * (255 / 16)).astype(np.uint8))


def list_torchvision_parts(source: str, label_from: LabelFrom | None, columns: ColumnsConfig) -> Iterator[SourcePart]:
    """Yield the parts of a torchvision data set such as CIFAR10, train and test; it is downloaded if needed."""
    name = source.split(":", 1)[1]
    known_names = ("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "KMNIST")
    if name not in known_names:
        known_sources = ", ".join(f"torchvision:{known_name}" for known_name in known_names)
        raise UserError(f"data.source {source}: expected one of {known_sources}")
    for train in (True, False):
        splits = frozenset({_name_split(train)})
        for rows in cut_parts(range(len(_load_torchvision(name, train)))):
            yield SourcePart(functools.partial(_read_torchvision, name, train, rows), splits, len(rows))


def _read_torchvision(name: str, train: bool, rows: Sequence[int]) -> Iterator[RawImage]:
    dataset = _load_torchvision(name, train)
    split = _name_split(train)
    for row in rows:
        image, label = dataset[row]
        channels = 1 if image.mode == "L" else 3
        content = to_pixels(to_grey_or_rgb(image), channels)
        yield RawImage(f"{split}/{row:06d}", dataset.classes[label], content, split=split)


def _name_split(train: bool) -> str:
    return "train" if train else "test"


@functools.lru_cache(maxsize=2)  # a process reads many parts of it
def _load_torchvision(name: str, train: bool) -> Any:
    from torchvision import datasets

    cache = Path.home() / ".cache" / "ganaug"
    try:
        return getattr(datasets, name)(cache, train=train, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"data.source torchvision:{name}: is not in {cache} and cannot be downloaded ({error}); "
            "give a folder or archive of the images instead"
        ) from None
