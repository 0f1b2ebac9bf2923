"""Data sets that come with a package, or that a package knows how to download."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ganaug_ray.config import LabelFrom
from ganaug_ray.data.images import pixels, to_grey_or_rgb
from ganaug_ray.data.sources.raw import Raw
from ganaug_ray.errors import UserError


def read_sklearn(source: str, label_from: LabelFrom) -> Iterator[Raw]:
    """1,797 handwritten digits, 8 × 8 grey in 17 levels (Alpaydin & Kaynak 1998), shipped with scikit-learn."""
    if source != "sklearn:digits":
        raise UserError(f"data.source {source}: of scikit-learn's data sets, sklearn:digits is known")
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        yield Raw(f"digits/{index:04d}", str(label), np.round(image * (255 / 16)).astype(np.uint8))


def read_torchvision(source: str, label_from: LabelFrom) -> Iterator[Raw]:
    """A classification data set of torchvision, such as CIFAR10, train and test; downloaded to a cache if need be."""
    from torchvision import datasets

    name = source.split(":", 1)[1]
    known = ("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "KMNIST")
    if name not in known:
        raise UserError(f"data.source {source}: known are {', '.join(f'torchvision:{one}' for one in known)}")
    cache = Path.home() / ".cache" / "ganaug"
    for train in (True, False):
        try:
            dataset = getattr(datasets, name)(cache, train=train, download=True)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"data.source {source}: is not in {cache} and cannot be downloaded ({error}); "
                "give a folder or archive of the images instead"
            ) from None
        for index, (image, label) in enumerate(dataset):
            content = pixels(to_grey_or_rgb(image), 1 if image.mode == "L" else 3)
            yield Raw(f"{'train' if train else 'test'}/{index:06d}", dataset.classes[label], content)
