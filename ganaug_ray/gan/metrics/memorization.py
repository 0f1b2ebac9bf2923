"""Whether a generator copies its training images: a test against real images that it has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

from ganaug_ray.data.loading.tensors import scale_images
from ganaug_ray.gan.metrics.features import FeatureExtractor
from ganaug_ray.gan.metrics.nearest_neighbors import NeighborSpacing

# Measured on digits (20 a class), Fashion-MNIST (100 a class) and photographs (50 to 350 a class), with the teacher's
# features and pixels: within 0.5 lie at most 2 % of held-out images and 0.5 % of those of any of 19 checkpoints of four
# GANs, one trained until its discriminator told all 200 images from its own; and in the better of the two spaces 91 to
# 100 % of training images with noise of 3 to 20 grey levels, blurred or faded, and 55 to 93 % of those moved a pixel.
# A class's mean image passes; the rank test alone would condemn it (p = 1e-38, effect 0.88).
MAX_COPY_DISTANCE = 0.5
MAX_COPY_EXCESS = (
    0.1  # near copies, as a share of the generated images beyond that of held-out ones; fewer are screened out
)
SIGNIFICANCE_LEVEL = 0.01
MIN_IMAGES = 20  # training, held-out and generated images each
MAX_PAIRS = 10

Verdict = Literal["copies", "does not copy", "too few images to tell"]


def _extract_pixels(x_BCHW: torch.Tensor) -> torch.Tensor:
    """Images at 16 × 16, each less its mean and scaled to unit length: a copy in another contrast is one, too."""
    small_BF = scale_images(x_BCHW, 16).flatten(1)
    return F.normalize(small_BF - small_BF.mean(1, keepdim=True), eps=1e-6)


PIXEL_EXTRACTOR = FeatureExtractor("pixels16", _extract_pixels)
"""The second look: what a classifier's features have learnt to overlook, noise above all, moves little in pixels."""


@dataclass(frozen=True)
class Pair:
    """A generated image, the training image nearest to it, and how far that is in units of the spacing there."""

    generated: int
    train: int
    distance: float


@dataclass(frozen=True)
class CopyTest:
    """The test in one feature space.

    Attributes:
        extractor: name of the features.
        p_value: of the one-sided rank test that generated images lie nearer to training images than held-out ones.
        effect: probability that a generated image lies nearer than a held-out one; 0.5 if they lie alike.
        near: share of the generated images that are near copies.
        near_held_out: the same of the held-out ones.
        near_p_value: of Fisher's one-sided exact test that the former share is the larger one.
        closest: the ten nearest pairs, nearest first.
    """

    extractor: str
    p_value: float
    effect: float
    near: float
    near_held_out: float
    near_p_value: float
    closest: list[Pair]

    @property
    def excess(self) -> float:
        """By how much the generated images' share of near copies is above the held-out ones'."""
        return self.near - self.near_held_out


@dataclass(frozen=True)
class Memorization:
    """The verdict, why, the looks it rests on, and the numbers of images."""

    verdict: Verdict
    reason: str
    looks: list[CopyTest]
    generated: int
    held_out: int


def detect_memorization(
    train_NCHW: torch.Tensor,
    train_y: torch.Tensor,
    held_out_MCHW: torch.Tensor,
    generated_LCHW: torch.Tensor,
    spaces: Sequence[FeatureExtractor],
) -> Memorization:
    """Compare distances from generated and from held-out real images to the nearest training image.

    After Meehan et al. 2020 (arXiv 2004.05675), with distances in units of what the training images there lie apart
    (``neighbours.Yardstick``): in these units real images of dense and of sparse classes lie alike, so that the two
    sides need not have the classes in the same shares. More than one feature space is looked at, since each is blind
    to something: the teacher's to noise that it has learnt to mistrust, pixels to images that were moved.

    The rank test is reported. Alone it does not condemn: with many images it finds that a generator draws typical
    images, which lie a little nearer than held-out ones without being copies of any. The verdict is on near copies,
    those within half of the spacing, where almost no held-out image and none of a normal generator's lies:

    - ``copies``: in some space the share of near copies is higher by a tenth of all than the held-out images', and
      Fisher's exact test finds that at 1 %;
    - ``too few images to tell``: it is higher by a tenth, but the images are too few for the test to find it; or there
      are less than 20 of one kind;
    - ``does not copy``: otherwise.

    Args:
        train_NCHW: training images in random order, float [-1, 1]; all sets of one size.
        train_y: their labels, int64.
        held_out_MCHW: real images that the generator was not trained on.
        generated_LCHW: unscreened ones; a few hundred are enough.
        spaces: such as the teacher's features and PIXELS.
    """
    n = len(generated_LCHW)
    m = len(held_out_MCHW)
    if min(len(train_y), m, n) < MIN_IMAGES:
        image_counts = f"{len(train_y)} training, {m} held-out and {n} generated images"
        reason = f"{image_counts}; at least {MIN_IMAGES} of each are needed"
        return Memorization("too few images to tell", reason, [], n, m)
    copy_tests = []
    for space in spaces:
        yardstick = NeighborSpacing(space(train_NCHW), train_y)
        copy_tests.append(_test_space(space.name, yardstick, space(held_out_MCHW), space(generated_LCHW)))
    verdict, reason = _decide_verdict(copy_tests, n, m)
    return Memorization(verdict, reason, copy_tests, n, m)


def _test_space(
    extractor: str, yardstick: NeighborSpacing, held_out_MF: torch.Tensor, generated_LF: torch.Tensor
) -> CopyTest:
    from scipy.stats import mannwhitneyu  # slow to import, and wanted once a training

    near_L, train_L = yardstick(generated_LF)
    near_M, _ = yardstick(held_out_MF)
    generated = near_L.cpu().numpy()
    held_out = near_M.cpu().numpy()
    rank = mannwhitneyu(generated, held_out, alternative="less")
    copies = int((generated < MAX_COPY_DISTANCE).sum())
    held_out_copies = int((held_out < MAX_COPY_DISTANCE).sum())
    closest_rows = np.argsort(generated, kind="stable")[:MAX_PAIRS]
    return CopyTest(
        extractor=extractor,
        p_value=float(rank.pvalue),
        effect=float(1 - rank.statistic / (len(generated) * len(held_out))),
        near=copies / len(generated),
        near_held_out=held_out_copies / len(held_out),
        near_p_value=_compare_frequencies(copies, len(generated), held_out_copies, len(held_out)),
        closest=[Pair(int(row), int(train_L[row]), float(generated[row])) for row in closest_rows],
    )


def _compare_frequencies(hits: int, n: int, other_hits: int, m: int) -> float:
    """P-value of Fisher's exact test that hits among n are more frequent than other_hits among m."""
    from scipy.stats import fisher_exact  # here, as above

    table = np.array([[hits, n - hits], [other_hits, m - other_hits]])
    return float(fisher_exact(table, alternative="greater").pvalue)


def _decide_verdict(copy_tests: Sequence[CopyTest], n: int, m: int) -> tuple[Verdict, str]:
    worst = max(copy_tests, key=lambda test: (test.near_p_value < SIGNIFICANCE_LEVEL, test.excess))
    shares = (
        f"{worst.near:.1%} of {n} generated and {worst.near_held_out:.1%} of {m} held-out images are near copies of "
        f"training images ({worst.extractor})"
    )
    if worst.excess < MAX_COPY_EXCESS:
        return "does not copy", shares
    if worst.near_p_value < SIGNIFICANCE_LEVEL:
        return "copies", f"{shares}, p = {worst.near_p_value:.1g}"
    return "too few images to tell", f"{shares}, p = {worst.near_p_value:.2f}: more held-out images are needed"
