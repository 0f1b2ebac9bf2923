"""Tests whether a generator copies its training images, by comparison with real images that it has not seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

from ganaug_ray.data.loading.tensors import scale_images
from ganaug_ray.gan.metrics.feature_words import describe_features
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
"""A second feature space, beside a classifier's: noise moves an image little in it."""


@dataclass(frozen=True)
class Pair:
    """A generated image and the training image nearest to it.

    Attributes:
        generated: row of the generated image.
        train: row of the training image.
        distance: between them, in units of ``NeighborSpacing``: 0 for a copy, about 1 for other real images.
    """

    generated: int
    train: int
    distance: float


@dataclass(frozen=True)
class CopyTest:
    """The result of the test in one feature space.

    Attributes:
        extractor: name of the features.
        p_value: of the one-sided Mann-Whitney test that generated images lie nearer to training images than held-out
            ones do.
        effect: probability that a generated image lies nearer than a held-out one; 0.5 if they lie alike.
        near: share of the generated images that are near copies: less than 0.5 units from a training image.
        near_held_out: the same share of the held-out images.
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
        """The generated images' share of near copies minus the held-out images', in [-1, 1]."""
        return self.near - self.near_held_out


@dataclass(frozen=True)
class Memorization:
    """The result of ``detect_memorization``.

    Attributes:
        verdict: ``copies``, ``does not copy`` or ``too few images to tell``.
        reason: the numbers behind it, in words.
        copy_tests: the test in each feature space; none where there are too few images of one kind.
        generated: number of generated images.
        held_out: number of held-out images.
    """

    verdict: Verdict
    reason: str
    copy_tests: list[CopyTest]
    generated: int
    held_out: int


def detect_memorization(
    train_NCHW: torch.Tensor,
    train_y: torch.Tensor,
    held_out_MCHW: torch.Tensor,
    generated_LCHW: torch.Tensor,
    spaces: Sequence[FeatureExtractor],
) -> Memorization:
    """Test whether generated images lie much nearer to training images than held-out real images do.

    After Meehan et al. 2020 (arXiv 2004.05675), with distances in units of the spacing of the training images around
    (``nearest_neighbors.NeighborSpacing``): in these units real images of dense and of sparse classes lie alike, so
    that the two sides need not have the classes in the same shares. Use more than one feature space, since each
    misses some copies: the teacher's features those with noise, pixels those that were moved.

    The rank test is reported only. With many images it finds that a generator draws typical images, which lie a little
    nearer than held-out ones without being copies of any. The verdict is on near copies, those within half of the
    spacing, where at most 2 % of held-out images and 0.5 % of a normal generator's were measured to lie:

    - ``copies``: in some space the share of near copies is higher by 0.1 or more than the held-out images', and
      Fisher's exact test finds that with p < 0.01;
    - ``too few images to tell``: it is higher by 0.1 or more, but p is not below 0.01; or there are fewer than 20
      training, held-out or generated images;
    - ``does not copy``: otherwise.

    Args:
        train_NCHW: training images in random order, float [N, C, H, W] in [-1, 1]; all three sets have one size.
        train_y: their labels, int64 [N].
        held_out_MCHW: real images that the generator was not trained on, float [M, C, H, W] in [-1, 1].
        generated_LCHW: generated images, not screened, float [L, C, H, W] in [-1, 1]; a few hundred are enough.
        spaces: feature spaces, such as the teacher's and ``PIXEL_EXTRACTOR``; one at least.

    >>> train, held_out = torch.rand(2, 20, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    >>> detect_memorization(train, torch.zeros(20).long(), held_out, train, [PIXEL_EXTRACTOR]).verdict
    'copies'
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
        f"{_format_share(worst.near, n)} generated and {_format_share(worst.near_held_out, m)} held-out images are "
        f"near copies of training images, compared by {describe_features(worst.extractor)}"
    )
    if worst.excess < MAX_COPY_EXCESS:
        return "does not copy", shares
    if worst.near_p_value < SIGNIFICANCE_LEVEL:
        return "copies", f"{shares}, p = {worst.near_p_value:.1g}"
    return "too few images to tell", f"{shares}, p = {worst.near_p_value:.2f}: more held-out images are needed"


def _format_share(share: float, total: int) -> str:
    number = round(share * total)
    return f"{number:,} of {total:,}" if number else f"none of {total:,}"
