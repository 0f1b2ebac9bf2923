"""Warns before a training if it is too short for a GAN: with few images an epoch is only a few steps."""

import math
from dataclasses import dataclass

from ganaug_ray.config import GanConfig
from ganaug_ray.core.wording import format_count

# Images seen until the KID of samples against validation images, in the teacher's features, had fallen to a tenth of
# what it was at the first look, after 32,000. By preset and side in pixels; of the data sets tried here, the one that
# needed least, since other data may need more.
NEEDED_IMAGES: dict[tuple[str, int], int] = {
    ("scarce", 32): 64_000,  # digits, 200 images: 64,000; Fashion-MNIST, 1,000 images: 96,000
    ("dcgan", 32): 224_000,  # Fashion-MNIST, 1,000 images
}


@dataclass(frozen=True)
class TrainingBudget:
    """How long a training is, in several units, and how long good samples were measured to take.

    Attributes:
        steps: of the generator.
        images_seen: real images, each as often as it comes up.
        epochs: the same as passes over the training images.
        needed_images: images seen below which samples of all data sets were poor; None where nothing was measured.
        advice: what would suffice.
    """

    steps: int
    images_seen: int
    epochs: float
    needed_images: int | None
    advice: str

    @property
    def summary(self) -> str:
        """The length of the training in one line."""
        steps = format_count(self.steps, "generator step")
        images = format_count(self.images_seen, "image")
        return f"{steps}, {images} seen ({format_count(self.epochs, 'epoch')})"

    @property
    def warning(self) -> str | None:
        """Why the training may be too short and what would suffice; None if it is long enough or untested."""
        if self.needed_images is None or self.images_seen >= self.needed_images:
            return None
        needed = f"the data sets that we measured needed {self.needed_images:,} images seen, or more"
        return f"too short for good samples: {needed}; {self.advice}"


def compute_budget(config: GanConfig, size: int, rows: int) -> TrainingBudget:
    """Compute the budget of a training, given the side of the generated images and the number of training images.

    >>> compute_budget(GanConfig(epochs=40, batch_size=100), 32, 1000).summary
    '400 generator steps, 40,000 images seen (40 epochs)'
    """
    steps = config.count_steps(rows)
    images_seen = steps * config.batch_size
    needed = _find_needed_images(config, size)
    key = "gan.steps"
    images_per_unit = config.batch_size
    if config.epochs:
        key = "gan.epochs"
        images_per_unit = rows
    return TrainingBudget(
        steps,
        images_seen,
        images_seen / rows,
        needed,
        f"give {key}={math.ceil((needed or 0) / images_per_unit)} or more",
    )


def find_needed_steps(config: GanConfig, size: int) -> int | None:
    """Find the fewest steps after which good samples were measured, of images of a side; None: nothing was measured.

    >>> find_needed_steps(GanConfig(batch_size=100), 32)
    640
    """
    needed = _find_needed_images(config, size)
    return None if needed is None else math.ceil(needed / config.batch_size)


def _find_needed_images(config: GanConfig, size: int) -> int | None:
    # A size that was not tried needs at least what the next smaller one does.
    tried_sizes = [side for preset, side in NEEDED_IMAGES if preset == config.preset and side <= size]
    return NEEDED_IMAGES[config.preset, max(tried_sizes)] if tried_sizes else None
