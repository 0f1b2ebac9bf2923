"""The conditional kernel inception distance: how far generated images lie from the real ones of the class asked for.

The KID of all images together is the same where a generator mixes up its classes; this one is not.
"""

from dataclasses import dataclass

import torch

CONDITIONAL_KID = "conditional_kid"  # of the figure's name, as ``conditional_kid_<features>_n<N>``
ERROR_SUFFIX = "_std"  # of the name of its standard error: the standard deviation of the estimate
MIN_CLASS_IMAGES = 3  # a side: the jackknife leaves one out, and two make a pair


@dataclass(frozen=True)
class ConditionalKid:
    """A conditional KID.

    Attributes:
        value: about zero where each class is drawn as it is, lower is better; by chance it can be below zero.
        error: its standard error, of the chance of both the real and the generated images.
    """

    value: float
    error: float


def compute_conditional_kid(
    real_NF: torch.Tensor, fake_MF: torch.Tensor, real_y: torch.Tensor, fake_y: torch.Tensor
) -> ConditionalKid | None:
    """Compute the mean over classes, each by its share of the real images, of the squared maximum mean discrepancy.

    Within a class it is E k(r, r') + E k(f, f') - 2 E k(r, f) over real features r and generated features f, with
    KID's kernel k(x, y) = (x·y / F + 1)³ (Bińkowski et al. 2018, arXiv 1801.01401), estimated from all pairs without
    bias. The error is the jackknife's: what the estimate varies by when one image at a time is left out.

    Args:
        real_NF: features of real images, float [N, F].
        fake_MF: features of generated images, float [M, F].
        real_y: classes of the real images, int64 [N].
        fake_y: classes asked for, int64 [M].

    Returns:
        The distance, or None where no class has three images a side. Classes with fewer are left out.

    >>> real_NF = torch.tensor([[1.0, 1], [1, 1], [1, 1], [-1, -1], [-1, -1], [-1, -1]])
    >>> y_N = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> compute_conditional_kid(real_NF, real_NF, y_N, y_N)
    ConditionalKid(value=0.0, error=0.0)
    >>> compute_conditional_kid(real_NF, real_NF, y_N, 1 - y_N)  # classes mixed up: 8 + 8 - 2 * 0
    ConditionalKid(value=16.0, error=0.0)
    """
    total = 0.0
    variance = 0.0
    rows = 0
    for label in real_y.unique().tolist():
        real = real_NF[real_y == label].double()
        fake = fake_MF[fake_y == label].double()
        if min(len(real), len(fake)) >= MIN_CLASS_IMAGES:
            value, error = _compute_kid(real, fake)
            total += len(real) * value
            variance += (len(real) * error) ** 2
            rows += len(real)
    return ConditionalKid(total / rows, variance**0.5 / rows) if rows else None


def measure_conditional_kid(
    real_NF: torch.Tensor,
    fake_MF: torch.Tensor,
    real_y: torch.Tensor,
    fake_y: torch.Tensor,
    extractor: str,
    split: str = "train",
) -> dict[str, float]:
    """Compute the conditional KID under a name that says of what it is, and its error; see ``compute_conditional_kid``.

    Args:
        real_NF: features of real images, float [N, F].
        fake_MF: features of generated images, float [M, F].
        real_y: classes of the real images, int64 [N].
        fake_y: classes asked for, int64 [M].
        extractor: name of the features.
        split: of the real images. Other than ``train``, both names begin with it and an underscore.

    Returns:
        The distance and its standard error; empty where there are too few images.
    """
    measured = compute_conditional_kid(real_NF, fake_MF, real_y, fake_y)
    if measured is None:
        return {}
    n = f"{len(real_NF)}" if len(real_NF) == len(fake_MF) else f"{len(real_NF)}v{len(fake_MF)}"
    name = f"{'' if split == 'train' else f'{split}_'}{CONDITIONAL_KID}_{extractor}_n{n}"
    return {name: measured.value, name + ERROR_SUFFIX: measured.error}


def _compute_kid(real_NF: torch.Tensor, fake_MF: torch.Tensor) -> tuple[float, float]:
    """The distance of two sets, and its standard error."""
    cross_NM = _compute_kernel(real_NF, fake_MF)
    cross = cross_NM.mean()
    real, real_without_N = _average_pairs(_compute_kernel(real_NF, real_NF))
    fake, fake_without_M = _average_pairs(_compute_kernel(fake_MF, fake_MF))
    left_out = (
        real_without_N - 2 * _average_without_each(cross_NM.mean(1)),
        fake_without_M - 2 * _average_without_each(cross_NM.mean(0)),
    )
    variance = sum((len(kids) - 1) * kids.var(correction=0) for kids in left_out)
    return (real + fake - 2 * cross).item(), float(variance) ** 0.5


def _compute_kernel(x_NF: torch.Tensor, y_MF: torch.Tensor) -> torch.Tensor:
    return (x_NF @ y_MF.T / x_NF.shape[1] + 1) ** 3


def _average_pairs(kernel_NN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean over pairs of two different rows, and likewise without each of the rows, [N]."""
    n = len(kernel_NN)
    sums_N = kernel_NN.sum(1) - kernel_NN.diagonal()
    total = sums_N.sum()
    return total / (n * (n - 1)), (total - 2 * sums_N) / ((n - 1) * (n - 2))


def _average_without_each(x_N: torch.Tensor) -> torch.Tensor:
    return (x_N.sum() - x_N) / (len(x_N) - 1)
