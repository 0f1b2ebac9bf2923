"""The section gan."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ganaug_ray.config.base import Config, Count, Rate, Score, TrainingConfig, is_falsy, steps_field
from ganaug_ray.config.gan_presets import PRESETS, Preset, PresetName

DEFAULT_GAN_STEPS = 4000


class LaterRate(Config):
    """A learning rate that begins at some step, and lasts until the next one begins."""

    after: Annotated[float, Field(gt=0)]
    """Steps; or epochs, where the training's length is given in epochs."""
    lr: Rate
    """The generator's learning rate; the discriminator's changes in proportion."""


class GanConfig(TrainingConfig):
    """The section gan: a preset, its size, and how long it is trained. A setting that is absent is the preset's."""

    steps: Count | None = steps_field(DEFAULT_GAN_STEPS)
    """Length of the training in optimizer steps, where epochs is absent."""
    preset: PresetName = "scarce"
    """Loss, normalisation, augmentation and learning rates. dcgan: as published. scarce: for few images."""
    conditional: bool = True
    """Draw images of a requested class; images without a class cannot help a classifier."""
    image_size: Literal[16, 32, 64, 128] | None = None
    """Side of the generated images, in pixels. Absent: 64, or 32 or 16 where the data are smaller."""
    lr: Rate | None = None
    """The generator's learning rate; the discriminator's follows in the preset's proportion, unless lr_d is given."""
    lr_d: Rate | None = None
    """The discriminator's learning rate."""
    then: list[LaterRate] = Field(default_factory=list)
    """Learning rates from later steps on, in order."""
    beta1: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Decay of the first moment in both Adam optimizers. Absent: the preset's."""
    ema_half_life: Annotated[int, Field(ge=0)] | None = None
    """Half-life, in images seen, of the average of the generator's weights that is sampled and saved. 0: no average."""
    latent: Count = 100
    """Length of the latent vector."""
    filters: Annotated[int, Field(ge=4, le=512)] = 32
    """Filters of the layer next to the image; each layer inwards has twice as many."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of layers, not of weights. auto: bf16 on GPUs that have it."""
    compile: Literal["auto"] | bool = False
    """Compile the networks, on a GPU with CUDA graphs: faster steps after a minute or more of compiling. auto: if a
    few timed steps show that it saves time; never on the CPU."""
    log_every: Count = 20
    """Steps between lines of the log."""
    checkpoint_every: Count = 200
    """Steps between checkpoints, from which a killed training continues."""
    snapshot_every: Count = 500
    """Steps between measurements of quality, each with a grid of samples."""
    cas_every: Count = 2000
    """Steps between classification accuracy scores (CAS), which cost more than other figures; each is taken at the
    next measurement."""
    cas_steps: Count = 300
    """Steps of the classifier that is trained for the CAS."""
    inception: str | None = None
    """File with the weights of InceptionV3, whose features then replace the teacher's in all figures."""
    init_from: str | None = Field(default=None, exclude_if=is_falsy)
    """A GAN to start from: an experiment, its gan folder, or a pack that `ganaug share` wrote. Weights whose shapes fit
    are taken, and those of a class if a class has the same name; the rest starts anew."""
    frozen_layers: Annotated[int, Field(ge=0, exclude_if=is_falsy)] = 0
    """Number of the discriminator's layers, from the image on, that keep the weights of init_from (FreezeD, Mo et al.
    2020, arXiv 2002.10964)."""
    early_end: bool = True
    """End the training when the images have collapsed, or when they get worse while the discriminator is right about
    everything or overfits."""

    @model_validator(mode="after")
    def _check_later_rates(self) -> Self:
        times = [later.after for later in self.then]
        length = self.steps or self.epochs or 0
        if any(earlier >= next_ for earlier, next_ in pairwise(times)):
            raise ValueError(f"then: after {', '.join(f'{time:g}' for time in times)}: expected rising numbers")
        if times and times[-1] >= length:
            unit = "steps" if self.steps else "epochs"
            raise ValueError(f"then: after {times[-1]:g}: the training ends after {length} {unit}")
        return self

    @model_validator(mode="after")
    def _check_frozen_layers(self) -> Self:
        if self.frozen_layers and self.init_from is None:
            raise ValueError(f"frozen_layers {self.frozen_layers}: fresh weights must learn; give init_from too")
        return self

    def compute_lr_factors(self, rows: int) -> dict[int, float]:
        """Return number of steps -> factor on both learning rates from then on.

        Args:
            rows: training images, for times in epochs.

        >>> GanConfig(epochs=3, batch_size=10, lr=2e-4, then=[LaterRate(after=2, lr=1e-4)]).compute_lr_factors(100)
        {20: 0.5}
        """
        per_unit = 1.0 if self.steps is not None else rows / self.batch_size
        return {math.ceil(later.after * per_unit): later.lr / self.recipe.lr_g for later in self.then}

    @property
    def recipe(self) -> Preset:
        """The preset, with the settings that this job overrides."""
        preset = PRESETS[self.preset]
        lr_g = self.lr or preset.lr_g
        recipe = replace(preset, lr_g=lr_g, lr_d=self.lr_d or lr_g * (preset.lr_d / preset.lr_g))
        if self.beta1 is not None:
            recipe = replace(recipe, beta1=self.beta1)
        if self.ema_half_life is not None:
            recipe = replace(recipe, ema_half_life=self.ema_half_life)
        return recipe


class PublishedConfig(Config):
    """The section published: a publication's results of such a GAN, which the report shows beside this run's."""

    source: str
    """Who reports it, in words."""
    loss_g: float | None = None
    """The generator's loss at the end."""
    loss_d: float | None = None
    """The discriminator's loss at the end."""
    real_score: Score | None = None
    """The discriminator's mean score of real images, at the end."""
    fake_score: Score | None = None
    """The discriminator's mean score of generated images, at the end."""
