"""How good generated images are: distances between two sets of features, and how far each covers the other.

Every figure's name says the metric, the features and the number of images, since figures of different protocols
cannot be compared: ``kid_teacher_n1000``, ``coverage_teacher_k5_n1000``, ``val_fid_inception2015_n5000``. Nothing
here waits for other ranks: one computes it while the others train, and a collective would hang them all.
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
    """A metric needs more images than there are; the message says how many."""


@dataclass(frozen=True)
class Quality:
    """What could be measured.

    Attributes:
        figures: name -> value.
        left_out: name -> why there is no such figure.
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

    Args:
        real_NF: features of real images, float.
        fake_MF: features of generated images, float; of the same classes in the same shares, best as many.
        real_y: their labels, int64 [N].
        fake_y: their labels, int64 [M].
        extractor: name of the features.
        seed: of the subsets that a KID is the mean over.
        split: which real images they are; other than train it begins the names.
        classes: their names; with them also ``kid_<extractor>_class_<name>_n...`` of each.
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
    """Name the figure by which a generator is chosen: its KID against validation images, or train where those are few.

    KID is unbiased at any number of images; FID is not, and predicts no classifier's accuracy (Ravuri & Vinyals 2019).
    """
    kids = [name for name in figures if "kid_" in name and "_class_" not in name and not name.endswith("_std")]
    kids.sort(key=lambda name: not name.startswith("val_"))
    return kids[0] if kids else None


def compute_kid_error(figures: Mapping[str, float], kid: str) -> float:
    """How far a KID may be off because it is a mean over so many subsets; more images would tell more."""
    return figures[f"{kid}_std"] / KID_SUBSETS**0.5


def compute_kid(real_NF: torch.Tensor, fake_MF: torch.Tensor, seed: int) -> tuple[float, float]:
    """KID: the squared maximum mean discrepancy of a cubic kernel (Binkowski et al. 2018, arXiv 1801.01401).

    It is unbiased at small sample sizes, where FID is not; so it can be a little below zero.

    Args:
        real_NF: features of real images, float [N, F].
        fake_MF: features of generated images, float [M, F].
        seed: of the subsets.

    Returns:
        (mean, standard deviation) over 50 random subsets of at most 100 images, and at most half of them, a side.

    Raises:
        TooFewImages: less than 20 on a side.
    """
    from torchmetrics.image.kid import KernelInceptionDistance  # slow to import, and few processes measure

    fewest = _require_images(MIN_IMAGES, "KID", real_NF, fake_MF)
    metric = KernelInceptionDistance(
        feature=nn.Identity(), subsets=KID_SUBSETS, subset_size=min(MAX_SUBSET_SIZE, fewest // 2), sync_on_compute=False
    ).to(real_NF.device)
    metric.update(real_NF, real=True)
    metric.update(fake_MF, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.draw_number(seed, "kid"))
        mean, spread = metric.compute()
    return mean.item(), spread.item()


def compute_fid(real_NF: torch.Tensor, fake_MF: torch.Tensor) -> float:
    """FID: the Fréchet distance of two Gaussians fitted to the features (Heusel et al. 2017, arXiv 1706.08500).

    It falls with the number of images, which is why that is part of its name.

    Args:
        real_NF: features of real images, float [N, F].
        fake_MF: features of generated images, float [M, F].

    Returns:
        The distance, zero or more; lower is better.

    Raises:
        TooFewImages: no more images on a side than features: their covariance would be singular.
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
    """What share of one set of images lies in the neighbourhoods of the other.

    Attributes:
        precision: of the generated ones within reach of a real one's k = 3 nearest real ones, and
        recall: the other way around (Kynkäänniemi et al. 2019, arXiv 1904.06991).
        density: by how many real ones' k = 5 neighbourhoods a generated one is held on average, over k; it can be
            above one.
        coverage: of the real ones' k = 5 neighbourhoods that hold a generated one (Naeem et al. 2020,
            arXiv 2002.09797).
    """

    precision: float
    recall: float
    density: float
    coverage: float


def compute_prdc(real_NF: torch.Tensor, fake_MF: torch.Tensor) -> Prdc:
    """Measure precision, recall, density and coverage; distances are taken some rows at a time.

    Args:
        real_NF: features of real images, float [N, F].
        fake_MF: features of generated images, float [M, F].

    Raises:
        TooFewImages: less than 20 on a side.
    """
    _require_images(MIN_IMAGES, "precision, recall, density and coverage", real_NF, fake_MF)
    narrow = NEIGHBOURS["precision"]
    wide = NEIGHBOURS["coverage"]
    reach_NK = nearest_neighbors.find_nearest(real_NF, k=wide)[0]
    narrow_N = reach_NK[:, narrow - 1]
    wide_N = reach_NK[:, wide - 1]
    fake_reach_M = nearest_neighbors.find_nearest(fake_MF, k=narrow)[0][:, -1]
    precise = neighbourhood_hits = 0.0
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
            f"{metric} needs at least {needed} images a side; there are {len(real_NF)} real and "
            f"{len(fake_MF)} generated ones"
        )
    return smaller_side
