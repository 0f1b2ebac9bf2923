"""Whether a GAN is trained for long enough, said before it is: an epoch of few images is few steps."""

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
    """What a training will do, and what was measured to be needed.

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
        """Say what will be done."""
        steps = format_count(self.steps, "generator step")
        images = format_count(self.images_seen, "image")
        return f"{steps}, {images} seen ({format_count(self.epochs, 'epoch')})"

    @property
    def warning(self) -> str | None:
        """Say why that may be too little, and what would do; None where it is enough, or nobody has measured."""
        if self.needed_images is None or self.images_seen >= self.needed_images:
            return None
        return f"too few for good samples: {self.needed_images} images seen were measured to be needed; {self.advice}"


def compute_budget(config: GanConfig, size: int, rows: int) -> TrainingBudget:
    """Work out the budget of a job with so many training images, drawn at this side in pixels.

    >>> compute_budget(GanConfig(epochs=40, batch_size=100), 32, 1000).summary
    '400 generator steps, 40000 images seen (40 epochs)'
    """
    steps = config.count_steps(rows)
    images_seen = steps * config.batch_size
    # A size that was not tried needs at least what the next smaller one does.
    tried_sizes = [side for preset, side in NEEDED_IMAGES if preset == config.preset and side <= size]
    needed = NEEDED_IMAGES[config.preset, max(tried_sizes)] if tried_sizes else None
    key = "gan.steps"
    images_per_unit = config.batch_size
    if config.epochs:
        key = "gan.epochs"
        images_per_unit = rows
    smaller = ", or a smaller gan.image_size" if size > 32 else ""
    return TrainingBudget(
        steps,
        images_seen,
        images_seen / rows,
        needed,
        f"give {key}={math.ceil((needed or 0) / images_per_unit)} or more{smaller}",
    )
