"""The classification accuracy score: what a classifier learns from generated images alone."""

import numpy as np
import torch

from ganaug_ray.classify import networks, training_loop
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.data.loading.resident_loader import ResidentFeed, ResidentImages

CLASSIFIER_ARCH = "cnn"


def compute_cas(
    fake_NHWC: np.ndarray,
    fake_y: np.ndarray,
    val_NHWC: np.ndarray,
    val_y: np.ndarray,
    classes: int,
    config: ClassifierConfig,
    seed: int,
    steps: int,
    device: torch.device | None = None,
) -> dict[str, float]:
    """Train the base CNN on generated images, test it on real validation images.

    Ravuri & Vinyals 2019 (arXiv 1905.10887). The weights of the last step count: to choose among steps by the very
    accuracy that is reported would flatter it. Seeds, steps and augmentation are the same for any generator, so that
    two scores differ by the images alone.

    Args:
        fake_NHWC: uint8 [0, 255], of the size of the real ones; screened or not is the caller's business.
        fake_y: int64.
        val_NHWC: real validation images, uint8 [0, 255].
        val_y: int64.
        classes: K.
        config: optimizer and augmentation.
        seed: of weights, order, augmentation and dropout.
        steps: of the optimizer; other numbers are another protocol, hence part of the name.
        device: where it runs; absent: the CPU.

    Returns:
        {"cas_cnn_s<steps>_n<generated images>": accuracy in [0, 1]}.

    Raises:
        Diverged: a loss was not finite.
    """
    # A place of its own: whoever measures does it alone, while the other ranks train.
    place = Place(device=device or torch.device("cpu"))
    overrides = {"arch": CLASSIFIER_ARCH, "weights": None, "freeze_steps": 0, "patience": None, "ema_half_life": 0}
    cas_config = config.model_copy(update={**overrides, "evaluate_every": steps, "log_every": steps})
    train = _hold_images(fake_NHWC, fake_y, place)
    val = _hold_images(val_NHWC, val_y, place)
    feed = ResidentFeed(train, lambda step: step * cas_config.batch_size, place, (seed, "cas"))
    with torch.random.fork_rng():
        torch.manual_seed(rng.draw_number(seed, "cas weights"))
        network = networks.build_network(
            CLASSIFIER_ARCH, fake_NHWC.shape[-1], classes, cas_config.dropout, networks.NetworkInput(fake_NHWC.shape[1])
        )
        network.to(place.device).to(memory_format=torch.channels_last)
        last_evaluation = training_loop.train_classifier(
            network, feed, val, cas_config, steps, seed, place, lambda row: None
        )
    return {f"cas_{CLASSIFIER_ARCH}_s{steps}_n{len(fake_y)}": last_evaluation.accuracy}


def _hold_images(images_NHWC: np.ndarray, labels_N: np.ndarray, place: Place) -> ResidentImages:
    unnamed = [""] * len(labels_N)
    return ResidentImages(LabelledImages(images_NHWC, labels_N, unnamed, unnamed, unnamed), place.device)
