"""The named GAN presets: loss, normalisation, augmentation and optimizer, as data. A job chooses one.

Never change a preset under its name: old and new experiments would no longer be comparable, and nothing would say so.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

LossName = Literal["non_saturating", "hinge"]
"""The names in ``losses.LOSSES``, which this file cannot import: that needs torch. A test compares the two."""


@dataclass(frozen=True)
class Preset:
    """One way to train a GAN; the networks' widths, the image size and the number of steps are the job's.

    Attributes:
        loss: what both networks minimise.
        norm: of the discriminator's layers, ``batch`` or ``spectral``.
        augment: names in ``diffaug.AUGMENTATIONS``, applied in this order to all that the discriminator sees.
        lr_g: the generator's learning rate.
        lr_d: the discriminator's; another than the generator's is a two time-scale update rule.
        beta1: of both Adams.
        beta2: of both Adams.
        ema_half_life: of the averaged generator, in images seen; 0: no average, the last weights.
    """

    loss: LossName
    norm: str
    augment: tuple[str, ...]
    lr_g: float
    lr_d: float
    beta1: float
    beta2: float
    ema_half_life: int


PRESETS = {
    # Radford et al. 2016 (arXiv 1511.06434), with the non-saturating loss of Goodfellow et al. 2014 (arXiv 1406.2661).
    "dcgan": Preset(
        loss="non_saturating",
        norm="batch",
        augment=(),
        lr_g=2e-4,
        lr_d=2e-4,
        beta1=0.5,
        beta2=0.999,
        ema_half_life=0,
    ),
    # Spectral norm and hinge: Miyato et al. 2018 (arXiv 1802.05957); two rates: Heusel et al. 2017 (arXiv 1706.08500);
    # DiffAugment: Zhao et al. 2020 (arXiv 2006.10738); the averaged generator: Yazici et al. 2019 (arXiv 1806.04498).
    "scarce": Preset(
        loss="hinge",
        norm="spectral",
        augment=("brightness", "saturation", "contrast", "translation", "cutout"),
        lr_g=4e-4,
        lr_d=8e-4,
        beta1=0.0,
        beta2=0.999,
        ema_half_life=10_000,
    ),
}

if TYPE_CHECKING:
    PresetName = str  # a type checker wants a Literal's names written out
else:
    PresetName = Literal[tuple(PRESETS)]
    """The names in PRESETS: what a job may choose."""
