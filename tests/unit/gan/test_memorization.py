"""A generator that copies is found, whatever it does to its copies; one that draws images of its own is not accused."""

from __future__ import annotations

import functools
import gzip
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from ganaug_ray.classify import training_loop
from ganaug_ray.classify.networks import CNN
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading import tensors
from ganaug_ray.data.loading.image_store import LabelledImages as Rows
from ganaug_ray.data.loading.resident_loader import ResidentFeed, ResidentImages
from ganaug_ray.gan.metrics import features, memorization
from ganaug_ray.gan.metrics.features import FeatureExtractor
from ganaug_ray.gan.metrics.memorization import PIXEL_EXTRACTOR, Memorization, detect_memorization
from ganaug_ray.gan.metrics.nearest_neighbors import NeighborSpacing, find_nearest

PUBLIC = os.environ.get("GANAUG_DATA") or str(Path(__file__).parents[4] / "shared" / "data")
FASHION = Path(PUBLIC, "fashion-mnist")
SIZE = 16
CLASSES = 10


@dataclass(frozen=True)
class Images:
    """Images float [-1, 1] and their labels."""

    x_NCHW: torch.Tensor
    y_N: torch.Tensor


def dealt(x_NHW: np.ndarray, y_N: np.ndarray, *sizes: int) -> list[Images]:
    """Disjoint sets with so many images a class, in random order."""
    x_NCHW = torch.tensor(x_NHW, dtype=torch.float32)[:, None]
    x_NCHW = tensors.scale_images(x_NCHW / x_NCHW.max() * 2 - 1, SIZE)
    order = np.random.default_rng(0).permutation(len(y_N))
    sets, start = [], 0
    for size in sizes:
        own = [order[y_N[order] == label][start : start + size] for label in range(CLASSES)]
        rows = torch.from_numpy(np.random.default_rng(size).permutation(np.concatenate(own)))
        sets.append(Images(x_NCHW[rows], torch.from_numpy(y_N.astype(np.int64))[rows]))
        start += size
    return sets


def teacher(train: Images, steps: int) -> FeatureExtractor:
    """The features of a classifier trained on the same images."""
    rows = Rows(tensors.from_network(train.x_NCHW).numpy(), train.y_N.numpy(), *([[""] * len(train.y_N)] * 3))
    resident = ResidentImages(rows, torch.device("cpu"))
    torch.manual_seed(0)
    network = CNN(1, CLASSES, dropout=0.3)
    config = ClassifierConfig(steps=steps, flip=False)
    feed = ResidentFeed(resident, lambda step: step * 64, Place(), (0,))
    training_loop.train_classifier(network, feed, resident, config, steps, 0, Place(), lambda row: None)
    return features.build_teacher_extractor(network, train.x_NCHW)


class World:
    """A data set with a small training and validation set, and what generators might make of it."""

    def __init__(self, x_NHW: np.ndarray, y_N: np.ndarray, train: int, val: int, held_out: int, steps: int) -> None:
        self.train, self.val, self.unseen = dealt(x_NHW, y_N, train, val, held_out)
        self.spaces = [teacher(self.train, steps), PIXEL_EXTRACTOR]

    def examine(self, generated: Images, val: Images | None = None) -> Memorization:
        return detect_memorization(
            self.train.x_NCHW, self.train.y_N, (val or self.val).x_NCHW, generated.x_NCHW, self.spaces
        )

    def copies(self, n: int, noise: float, seed: int = 0) -> Images:
        """Training images with noise of so many grey levels."""
        draw = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(self.train.y_N), (n,), generator=draw)
        x_NCHW = self.train.x_NCHW[rows]
        moved = x_NCHW + torch.randn(x_NCHW.shape, generator=draw) * noise / 127.5
        return Images(moved.clamp(-1, 1), self.train.y_N[rows])

    def means(self, n: int, of: int, seed: int = 0) -> Images:
        """Each the mean of so many different training images of its class: what a collapsed generator draws."""
        rng = np.random.default_rng(seed)
        y_N = torch.arange(n) % CLASSES
        own = [(self.train.y_N == label).nonzero().flatten().numpy() for label in range(CLASSES)]
        x = [self.train.x_NCHW[rng.choice(own[y], min(of, len(own[y])), replace=False)].mean(0) for y in y_N.tolist()]
        return Images(torch.stack(x), y_N)


@functools.cache
def digits() -> World:
    found = load_digits()
    return World(found.images, found.target, train=20, val=10, held_out=40, steps=60)


def joined(*parts: Images) -> Images:
    return Images(torch.cat([part.x_NCHW for part in parts]), torch.cat([part.y_N for part in parts]))


def first(images: Images, n: int) -> Images:
    return Images(images.x_NCHW[:n], images.y_N[:n])


@pytest.mark.parametrize("noise", [0, 2, 5, 10])
def test_noisy_training_images_are_copies(noise: float) -> None:
    """Training images with a little noise on them are found to be copies."""
    found = digits().examine(digits().copies(400, noise))
    assert found.verdict == "copies"
    assert max(look.near for look in found.copy_tests) > 0.9
    assert min(look.p_value for look in found.copy_tests) < 1e-20
    assert max(look.effect for look in found.copy_tests) > 0.99
    assert re.search(
        r"^\d+ of 400 generated and (none|\d+) of \d+ held-out images are near copies of training images, "
        r"compared by (their pixels|the teacher's features), p = ",
        found.reason,
    )


@pytest.mark.parametrize("disguise", ["moved", "blurred", "faded", "brighter"])
def test_disguised_training_images_are_copies(disguise: str) -> None:
    """Training images that were moved, blurred, faded or brightened are found to be copies."""
    x_NCHW, y_N = digits().train.x_NCHW, digits().train.y_N
    made = {
        "moved": x_NCHW.roll(1, 3),
        "blurred": F.conv2d(x_NCHW, torch.tensor([[[[0.0, 1, 0], [1, 4, 1], [0, 1, 0]]]]) / 8, padding=1),
        "faded": x_NCHW * 0.6,
        "brighter": (x_NCHW + 0.2).clamp(-1, 1),
    }
    assert digits().examine(Images(made[disguise], y_N)).verdict == "copies"


def test_one_fifth_copies_is_detected() -> None:
    """A generator of which a fifth are copies is accused; one with very few copies is not."""
    unseen = digits().unseen
    assert digits().examine(joined(first(unseen, 320), digits().copies(80, 5))).verdict == "copies"
    few = digits().examine(joined(first(unseen, 390), digits().copies(10, 5)))
    assert few.verdict == "does not copy"
    assert few.copy_tests[1].near == pytest.approx(10 / 400, abs=0.015)


def test_original_images_are_no_copies() -> None:
    """A generator that draws unseen images, blurs or noise is not accused of copying."""
    unseen = digits().unseen
    blurred = Images(F.avg_pool2d(unseen.x_NCHW, 5, 1, 2), unseen.y_N)
    noise = Images(torch.rand(unseen.x_NCHW.shape) * 2 - 1, unseen.y_N)
    for generated in (unseen, blurred, noise):
        found = digits().examine(generated)
        assert found.verdict == "does not copy", found.reason
        assert max(look.near for look in found.copy_tests) < 0.03


@pytest.mark.parametrize("of", [3, 20])
def test_typical_images_are_no_copies(of: int) -> None:
    """Typical images lie nearer to training images than held-out ones do, and yet count as no copies."""
    found = digits().examine(digits().means(400, of))
    assert found.verdict == "does not copy"
    assert min(look.p_value for look in found.copy_tests) < 0.01, "the rank test alone would condemn it"


def test_small_validation_set_suffices() -> None:
    """A small validation set is enough to find a copying generator and to acquit an honest one."""
    val = first(digits().val, 25)
    assert digits().examine(digits().copies(300, 5), val).verdict == "copies"
    assert digits().examine(digits().unseen, val).verdict == "does not copy"
    torn = joined(first(digits().unseen, 350), digits().copies(50, 5))
    assert digits().examine(torn, val).verdict == "too few images to tell"


def test_below_twenty_images_no_verdict() -> None:
    """With fewer than 20 images on either side there is no verdict, and the reason says what is needed."""
    for generated, val in ((digits().copies(300, 5), first(digits().val, 19)), (digits().copies(15, 5), digits().val)):
        found = digits().examine(generated, val)
        assert found.verdict == "too few images to tell"
        assert "at least 20 of each" in found.reason
        assert found.copy_tests == []


def test_closest_pairs_show_copies_and_originals() -> None:
    """The closest pairs are the copies and the training images that they were made from."""
    found = digits().examine(joined(first(digits().unseen, 380), digits().copies(20, 3)))
    pixels = found.copy_tests[1]
    assert len(pixels.closest) == memorization.MAX_PAIRS
    distances = [pair.distance for pair in pixels.closest]
    assert distances == sorted(distances)
    copies = digits().copies(20, 3)
    for pair in pixels.closest:
        assert pair.generated >= 380
        original = digits().train.x_NCHW[pair.train]
        assert (copies.x_NCHW[pair.generated - 380] - original).abs().mean() < 0.05


def test_distance_is_relative_to_class_spacing() -> None:
    """A distance is measured relative to the spacing of training images in the same class."""
    line = torch.tensor([[0.0], [1], [2], [3], [4], [5], [1000], [1100], [1200], [1300], [1400], [1500]])
    yardstick = NeighborSpacing(line, torch.tensor([0] * 6 + [1] * 6))
    assert yardstick.spacing_N.tolist() == [1] * 6 + [100] * 6
    near, index = yardstick(torch.tensor([[3.0], [3.4], [1110.0], [1150.0], [2000.0]]))
    assert torch.allclose(near, torch.tensor([0, 0.4, 0.1, 0.5, 5]), atol=1e-5)
    assert index[:3].tolist() == [3, 3, 7]


def test_equally_near_image_is_no_copy() -> None:
    """An image that is as near to many training images counts as near to none of them."""
    corners = torch.eye(40) * 10
    yardstick = NeighborSpacing(corners, torch.zeros(40, dtype=torch.int64))
    middle, copy = corners.mean(0), corners[3] * 0.99
    near, _ = yardstick(torch.stack([middle, copy]))
    assert near[0] == pytest.approx(1, abs=1e-3)
    assert near[1] < 0.05


def test_nearest_neighbour_excludes_row_itself() -> None:
    """The nearest neighbour of a row is never the row itself, even where two rows are equal."""
    x_NF = torch.tensor([[0.0], [0.0], [3.0]])
    distances, index = find_nearest(x_NF)
    assert distances.flatten().tolist() == [0, 0, 3]
    assert index[:2].flatten().tolist() == [1, 0]


@pytest.mark.skipif(not FASHION.exists(), reason="Fashion-MNIST is not on this machine")
def test_fashion_mnist_copies_are_detected() -> None:
    """On Fashion-MNIST, too, a copying generator is found and an honest one passes."""

    def idx(name: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((FASHION / name).read_bytes()), np.uint8, offset=header)

    x_NHW, y_N = idx("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), idx("t10k-labels-idx1-ubyte.gz", 8)
    world = World(x_NHW, y_N, train=50, val=12, held_out=40, steps=30)
    for noise in (3, 10):
        assert world.examine(world.copies(300, noise)).verdict == "copies"
    for honest in (world.unseen, world.means(300, 3), world.means(300, 50)):
        assert world.examine(honest).verdict == "does not copy"
