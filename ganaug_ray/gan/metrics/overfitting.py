"""Measures how far a discriminator knows its training images by heart, by what Karras et al. 2020 (ADA) measure it by.

Both figures come from logits alone, so they mean the same under every loss (arXiv 2006.06676, section 3).
"""

import torch

from ganaug_ray.gan.networks import Discriminator

BATCH_SIZE = 256


def compute_mean_sign(logits_B: torch.Tensor) -> torch.Tensor:
    """Calculate the mean sign of logits; of training images it is ADA's r_t.

    Args:
        logits_B: float [B], high for real.

    Returns:
        A scalar in [-1, 1]: 1 where all images are taken for real, -1 where all are taken for generated ones.

    >>> compute_mean_sign(torch.tensor([3.0, 0.5, -2.0, 1.0])).item()
    0.5
    """
    return logits_B.sign().mean()


def compute_validation_gap(train_N: torch.Tensor, val_M: torch.Tensor, fake_F: torch.Tensor) -> float | None:
    """Calculate where the logits of validation images lie between those of training and generated ones, ADA's r_v.

        (mean of train - mean of validation) / (mean of train - mean of generated)

    Args:
        train_N: logits of training images, float [N].
        val_M: logits of validation images, float [M].
        fake_F: logits of generated images, float [F].

    Returns:
        0 where validation images score like training images, 1 where they score like generated ones; chance may take
        it beyond either. None where training images score no higher than generated ones.

    >>> compute_validation_gap(torch.tensor([2.0, 4.0]), torch.tensor([2.0]), torch.tensor([-1.0]))
    0.25
    """
    train, val, fake = (logits.cpu().double().mean().item() for logits in (train_N, val_M, fake_F))
    return (train - val) / (train - fake) if train > fake else None


@torch.no_grad()
def judge_images(discriminator: Discriminator, x_NCHW: torch.Tensor, y_N: torch.Tensor) -> torch.Tensor:
    """Calculate the logits of any number of images, in evaluation mode: nothing of the discriminator changes.

    Args:
        discriminator: in either mode, which it keeps.
        x_NCHW: images of its size, float [N, C, H, W], in [-1, 1].
        y_N: their labels, int64 [N].

    Returns:
        float32 [N].
    """
    was_training = discriminator.training
    discriminator.eval()
    parts = zip(x_NCHW.split(BATCH_SIZE), y_N.split(BATCH_SIZE), strict=True)
    # Not by its call, which may be compiled for the batches of training, and would be anew for these.
    logits_N = torch.cat([discriminator.forward(x_BCHW, y_B) for x_BCHW, y_B in parts])
    discriminator.train(was_training)
    return logits_N
