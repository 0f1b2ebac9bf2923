"""How good generated images are: distances between feature distributions, and pictures to look at."""

import io

import numpy as np
import torch
from torch import nn
from torchmetrics.image.kid import KernelInceptionDistance
from torchvision.utils import make_grid

from ganaug_ray import randomness
from ganaug_ray.classify.networks import CNN
from ganaug_ray.data import images

BATCH = 256
SUBSETS = 50
LARGEST_SUBSET = 100
FEWEST = 20  # images a side, below which a KID is noise


@torch.no_grad()
def kid(network: CNN, extractor: str, real_BCHW: torch.Tensor, fake_BCHW: torch.Tensor, seed: int) -> dict[str, float]:
    """Kernel distance between two sets of images (Binkowski et al. 2018, arXiv 1801.01401) in a network's features.

    It is unbiased at small sample sizes, where FID is not; so it can be a little below zero. The feature extractor and
    the number of images on each side are part of the name, since values of different protocols cannot be compared.
    Features are scaled to a root mean square of one on the real images, or the size of an untrained layer would decide.

    Args:
        network: gives the features.
        extractor: its name.
        real_BCHW: float [-1, 1].
        fake_BCHW: as many, float [-1, 1].
        seed: of the subsets.

    Returns:
        {"kid_<extractor>_n<images>": mean over subsets, "..._std": their spread}.
    """
    n = len(real_BCHW)
    assert n == len(fake_BCHW) >= FEWEST, f"{n} and {len(fake_BCHW)} images"
    network.eval()
    real_NF, fake_NF = (
        torch.cat([network.features(part) for part in x_BCHW.split(BATCH)]) for x_BCHW in (real_BCHW, fake_BCHW)
    )
    scale = real_NF.square().mean().sqrt()
    metric = KernelInceptionDistance(
        feature=nn.Identity(),
        subsets=SUBSETS,
        subset_size=min(LARGEST_SUBSET, n - 1),
        sync_on_compute=False,  # one rank computes it while the others train on: a collective would hang them all
    ).to(real_BCHW.device)
    metric.update(real_NF / scale, real=True)
    metric.update(fake_NF / scale, real=False)
    with torch.random.fork_rng():
        torch.manual_seed(randomness.number(seed, "kid"))
        mean, spread = metric.compute()
    name = f"kid_{extractor}_n{n}"
    return {name: mean.item(), f"{name}_std": spread.item()}


def grid(rows: list[np.ndarray]) -> np.ndarray:
    """Lay images out, one row for each item: list of uint8 [N, H, W, C] -> one uint8 picture [H', W', 3]."""
    tiles = torch.from_numpy(np.concatenate(rows)).permute(0, 3, 1, 2)
    return make_grid(tiles, nrow=len(rows[0]), padding=2, pad_value=255).permute(1, 2, 0).numpy()


def png(picture: np.ndarray) -> bytes:
    """Encode uint8 [H, W, C] as PNG."""
    sink = io.BytesIO()
    images.from_array(picture).save(sink, "PNG")
    return sink.getvalue()


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Put two pictures of equal height side by side with a white gap: uint8 [H, W, 3]."""
    gap = np.full((left.shape[0], 16, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)
