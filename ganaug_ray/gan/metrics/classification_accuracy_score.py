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
    """Return the accuracy on real validation images of a classifier that was trained on generated images alone.

    This is the classification accuracy score of Ravuri & Vinyals 2019 (arXiv 1905.10887), with the base CNN. The
    weights of the last step are tested: to choose among steps by the very accuracy that is reported would flatter it.
    Seeds, steps and augmentation are the same for any generator, so that two scores differ by the images alone.

    Args:
        fake_NHWC: generated images, uint8 [N, H, W, C] in [0, 255], of the size of the real ones. The caller decides
            whether they are screened.
        fake_y: their classes, int64 [N] in [0, classes).
        val_NHWC: real validation images, uint8 [M, H, W, C] in [0, 255].
        val_y: their classes, int64 [M] in [0, classes).
        classes: number of classes, K.
        config: optimizer and augmentation. Its architecture, initial weights, early stopping, weight averaging and
            compiling are not used.
        seed: of the weights, the order of images, augmentation and dropout.
        steps: optimizer steps. Scores after different numbers of steps cannot be compared, so it is in the score's
            name.
        device: where the classifier is trained; None: the CPU.

    Returns:
        One item: {"cas_cnn_s<steps>_n<N>": accuracy in [0, 1]}.

    Raises:
        DivergenceError: a gradient was not finite.
    """
    # A place of its own: whoever measures does it alone, while the other ranks train.
    place = Place(device=device or torch.device("cpu"))
    overrides = {
        "arch": CLASSIFIER_ARCH,
        "weights": None,
        "freeze_steps": 0,
        "patience": None,
        "ema_half_life": 0,
        "compile": False,
    }
    cas_config = config.model_copy(update={**overrides, "evaluate_every": steps, "log_every": steps})
    train = _hold_images(fake_NHWC, fake_y, place)
    val = _hold_images(val_NHWC, val_y, place)
    feed = ResidentFeed(train, lambda step: step * cas_config.batch_size, place, (seed, "cas"))
    with torch.random.fork_rng():
        torch.manual_seed(rng.hash_to_number(seed, "cas weights"))
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
