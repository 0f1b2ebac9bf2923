"""Distances between real and generated images in a feature space (KID, FID), and how well each set covers the other.

Every metric's name says the features and the number of images, since values of different protocols cannot be
compared: ``kid_teacher_n1000``, ``coverage_teacher_k5_n1000``, ``val_fid_inception2015_n5000``. Nothing here waits for
other ranks: one rank measures while the others train, and a collective operation would hang them all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ganaug_ray.core import rng
from ganaug_ray.gan.metrics import nearest_neighbors

KID_SUBSETS = 50
MAX_SUBSET_SIZE = 100
MIN_IMAGES = 20  # images a side, below which a KID or a share of them is noise
NEIGHBOURS = {"precision": 3, "recall": 3, "density": 5, "coverage": 5}  # as in their papers


class TooFewImages(ValueError):
    """Raised where a metric needs more images than there are; the message says how many."""


@dataclass(frozen=True)
class Quality:
    """The metrics of a set of generated images, and those that could not be measured.

    Attributes:
        figures: name -> value.
        left_out: name -> why there is no value.
    """

    figures: dict[str, float]
    left_out: dict[str, str]


def measure_quality(
    real_NF: torch.Tensor,
    fake_MF: torch.Tensor,
    real_y: torch.Tensor,
    fake_y: torch.Tensor,
    extractor: str,
    seed: int,
    split: str = "train",
    classes: Sequence[str] | None = None,
) -> Quality:
    """Measure generated against real images by all metrics for which there are enough of them.

    These are KID and its standard deviation over subsets (``..._std``), FID, precision, recall, density and coverage.
    The name of each ends in ``_n<N>``, or ``_n<N>v<M>`` where there are other numbers of real and generated images.

    Args:
        real_NF: features of real images, float [N, F].
        fake_MF: features of generated images, float [M, F]; of the same classes in the same shares, and M = N if
            possible.
        real_y: classes of the real images, int64 [N].
        fake_y: classes of the generated images, int64 [M].
        extractor: name of the features.
        seed: of the subsets that KID is averaged over.
        split: of the real images. Other than ``train``, every name begins with it and an underscore.
        classes: names of all classes; given, there is also ``kid_<extractor>_class_<name>_n...`` of each that has
            enough images.

    Returns:
        The values, and for each metric left out the reason.
    """
    figures: dict[str, float] = {}
    left_out: dict[str, str] = {}
    prefix = "" if split == "train" else f"{split}_"

    def name(metric: str, real: torch.Tensor, fake: torch.Tensor) -> str:
        if len(real) == len(fake):
            return f"{prefix}{metric}_n{len(real)}"
        return f"{prefix}{metric}_n{len(real)}v{len(fake)}"

    def add_kid(metric: str, real: torch.Tensor, fake: torch.Tensor) -> None:
        kid_name = name(metric, real, fake)
        try:
            figures[kid_name], figures[f"{kid_name}_std"] = compute_kid(real, fake, seed)
        except TooFewImages as error:
            left_out[kid_name] = str(error)

    add_kid(f"kid_{extractor}", real_NF, fake_MF)
    fid_name = name(f"fid_{extractor}", real_NF, fake_MF)
    try:
        figures[fid_name] = compute_fid(real_NF, fake_MF)
    except TooFewImages as error:
        left_out[fid_name] = str(error)
    prdc_names = {metric: name(f"{metric}_{extractor}_k{k}", real_NF, fake_MF) for metric, k in NEIGHBOURS.items()}
    try:
        prdc = compute_prdc(real_NF, fake_MF)
        figures |= {prdc_names[metric]: value for metric, value in vars(prdc).items()}
    except TooFewImages as error:
        left_out |= dict.fromkeys(prdc_names.values(), str(error))
    for label, class_name in enumerate(classes or ()):
        add_kid(f"kid_{extractor}_class_{class_name}", real_NF[real_y == label], fake_MF[fake_y == label])
    return Quality(figures, left_out)


def choose_kid_name(figures: Iterable[str]) -> str | None:
    """Return the name of the KID by which trainings are compared, or None if there is none.

    It is the KID against validation images, or against training images where the former are too few to measure. KID is
    unbiased at any number of images. FID is not, and does not predict a classifier's accuracy (Ravuri & Vinyals 2019,
    arXiv 1905.10887).

    Args:
        figures: names of metrics, as ``measure_quality`` gives them.

    >>> choose_kid_name(["kid_teacher_n100", "kid_teacher_n100_std", "val_kid_teacher_n50", "val_kid_teacher_n50_std"])
    'val_kid_teacher_n50'
    """
    kids = [name for name in figures if name.startswith(("kid_", "val_kid_"))]
    kids = [name for name in kids if "_class_" not in name and not name.endswith("_std")]
    kids.sort(key=lambda name: not name.startswith("val_"))
    return kids[0] if kids else None


def compute_kid_error(figures: Mapping[str, float], kid: str) -> float:
    """Return the standard error of a KID: its standard deviation over subsets / sqrt(number of subsets).

    Args:
        figures: name -> value, as ``measure_quality`` gives them.
        kid: name of the KID.

    >>> compute_kid_error({"kid_teacher_n100": 0.2, "kid_teacher_n100_std": 0.05}, "kid_teacher_n100").__round__(4)
    0.0071
    """
    return figures[f"{kid}_std"] / KID_SUBSETS**0.5


def compute_kid(real_NF: torch.Tensor, fake_MF: torch.Tensor, seed: int) -> tuple[float, float]:
    """Compute the kernel inception distance, a squared maximum mean discrepancy, and its spread over subsets.

    KID = E k(r, r') + E k(f, f') - 2 E k(r, f) over real features r and generated features f, with the kernel
    k(x, y) = (x·y / F + 1)³. The estimate is unbiased at any number of images, hence it can be a little below zero
    (Bińkowski et al. 2018, arXiv 1801.01401).

    Args:
        real_NF: features of real images, float [N, F].
        fake_MF: features of generated images, float [M, F].
        seed: of the subsets.

    Returns:
        (mean, standard deviation) over 50 random subsets, each of min(100, half of the smaller side) images a side.
        Lower is better.

    Raises:
        TooFewImages: N or M is below 20.

    >>> apart_NF = torch.ones(40, 2)
    >>> compute_kid(apart_NF, -apart_NF, seed=0)  # k is 8 within a side and 0 across
    (16.0, 0.0)
    """
    from torchmetrics.image.kid import KernelInceptionDistance  # slow to import, and few processes measure

    fewest = _require_images(MIN_IMAGES, "KID", real_NF, fake_MF)
    metric = KernelInceptionDistance(
        feature=nn.Identity(), subsets=KID_SUBSETS, subset_size=min(MAX_SUBSET_SIZE, fewest // 2), sync_on_compute=False
    ).to(real_NF.device)
    metric.update(real_NF, real=True)
    metric.update(fake_MF, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.hash_to_number(seed, "kid"))
        mean, spread = metric.compute()
    return mean.item(), spread.item()


def compute_fid(real_NF: torch.Tensor, fake_MF: torch.Tensor) -> float:
    """Compute the Fréchet distance between two Gaussians fitted to the features (Heusel et al. 2017, arXiv 1706.08500).

    FID = |μr - μf|² + Tr(Σr + Σf - 2 (Σr Σf)^½). Of the same generator it falls as the number of images rises, so
    values of different numbers cannot be compared.

    Args:
        real_NF: features of real images, float [N, F].
        fake_MF: features of generated images, float [M, F].

    Returns:
        The distance, about zero for equal sets; lower is better.

    Raises:
        TooFewImages: N or M is below F + 1, where a covariance matrix is singular.

    >>> real_NF = torch.tensor([[-1.0], [0.0], [1.0]])
    >>> round(compute_fid(real_NF, real_NF + 3), 6)
    9.0
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # here, as above

    size = real_NF.shape[1]
    _require_images(size + 1, f"FID in {size} features", real_NF, fake_MF)
    # In double precision, as torchmetrics advises, on the CPU: eigenvalues of an unsymmetric matrix.
    metric = FrechetInceptionDistance(feature=_PrecomputedFeatures(size), sync_on_compute=False).set_dtype(
        torch.float64
    )
    metric.update(real_NF.cpu().double(), real=True)
    metric.update(fake_MF.cpu().double(), real=False)
    return metric.compute().item()


class _PrecomputedFeatures(nn.Identity):
    """Stands where torchmetrics has a network of its own: the features are already there."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.num_features: int = size


@dataclass(frozen=True)
class Prdc:
    """Precision, recall, density and coverage of generated images; higher is better.

    The neighbourhood of an image is a ball around it that reaches to its k-th nearest image of the same set.

    Attributes:
        precision: share of the generated images in the neighbourhood (k = 3) of some real image, in [0, 1].
        recall: share of the real images in the neighbourhood (k = 3) of some generated image, in [0, 1] (both
            Kynkäänniemi et al. 2019, arXiv 1904.06991).
        density: number of real neighbourhoods (k = 5) that hold a generated image, on average, divided by k; it can be
            above one.
        coverage: share of the real images whose neighbourhood (k = 5) holds a generated image, in [0, 1] (both Naeem et
            al. 2020, arXiv 2002.09797).
    """

    precision: float
    recall: float
    density: float
    coverage: float


def compute_prdc(real_NF: torch.Tensor, fake_MF: torch.Tensor) -> Prdc:
    """Compute precision, recall, density and coverage by Euclidean distances, some rows at a time to save memory.

    Args:
        real_NF: features of real images, float [N, F].
        fake_MF: features of generated images, float [M, F].

    Raises:
        TooFewImages: N or M is below 20.

    >>> real_NF = torch.arange(32.0)[:, None]
    >>> compute_prdc(real_NF, torch.full((20, 1), 9.0))  # a generator that always gives the same realistic image
    Prdc(precision=1.0, recall=0.03125, density=1.4, coverage=0.21875)
    """
    _require_images(MIN_IMAGES, "precision, recall, density and coverage", real_NF, fake_MF)
    narrow = NEIGHBOURS["precision"]
    wide = NEIGHBOURS["coverage"]
    reach_NK = nearest_neighbors.find_nearest(real_NF, k=wide)[0]
    narrow_N = reach_NK[:, narrow - 1]
    wide_N = reach_NK[:, wide - 1]
    fake_reach_M = nearest_neighbors.find_nearest(fake_MF, k=narrow)[0][:, -1]
    precise = 0.0
    neighbourhood_hits = 0.0
    recalled_N = torch.zeros(len(real_NF), dtype=torch.bool, device=real_NF.device)
    covered_N = torch.zeros_like(recalled_N)
    for rows, d_RN in nearest_neighbors.iterate_distances(fake_MF, real_NF):
        within_RN = d_RN <= wide_N
        precise += (d_RN <= narrow_N).any(1).sum().item()
        neighbourhood_hits += within_RN.sum().item()
        recalled_N |= (d_RN <= fake_reach_M[rows, None]).any(0)
        covered_N |= within_RN.any(0)
    return Prdc(
        precision=precise / len(fake_MF),
        recall=recalled_N.float().mean().item(),
        density=neighbourhood_hits / len(fake_MF) / wide,
        coverage=covered_N.float().mean().item(),
    )


def _require_images(needed: int, metric: str, real_NF: torch.Tensor, fake_MF: torch.Tensor) -> int:
    smaller_side = min(len(real_NF), len(fake_MF))
    if smaller_side < needed:
        raise TooFewImages(
            f"{metric} needs at least {needed} images on each side; there are {len(real_NF)} real and "
            f"{len(fake_MF)} generated ones"
        )
    return smaller_side
