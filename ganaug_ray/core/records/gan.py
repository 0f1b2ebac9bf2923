"""gan.json: a trained generator, how it was trained, and how good its images are."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from ganaug_ray.core.records.stored_record import Occupied, Part, StageRecord


class GeneratorSpec(Part):
    """What is needed to build a generator's network and to say whose images it draws."""

    hash: str
    """Of the weights: 16 hex digits."""
    classes: list[str]
    """Names, in order of their numbers."""
    channels: int
    """1: grey, 3: RGB."""
    size: int
    """Side of the images, in pixels."""
    latent: int
    """Numbers in a latent."""
    filters: int
    """Width of the networks."""
    conditional: bool
    """Whether it is told the class; else it draws images of no class."""


class GanRecipe(Part):
    """The recipe that the GAN was trained by; its other settings are extra keys."""

    norm: str
    """Of the discriminator's layers: batch or spectral."""


class ChosenStep(Part):
    """The step whose generator is kept."""

    step: int
    """Optimizer steps until then."""
    chosen_by: str | None
    """Key of the figure that it was chosen by, lower is better; None: there was none, and it is the last."""
    value: float | None
    """That figure."""


class Memorization(Part):
    """Whether the generator copies training images."""

    verdict: Literal["copies", "does not copy", "too few images to tell"]
    """The answer."""
    reason: str
    """What it rests on, in words."""


class HeldOutFigure(Part):
    """A figure of generated images, and that of as many held-out real ones."""

    generated: float
    """Against training images."""
    held_out: float
    """Against the same training images."""


class ClassRecognition(Part):
    """How often the teacher recognises a class."""

    generated: float
    """Share of the generated images that it takes for the class that was asked for, in [0, 1]."""
    held_out: float
    """Share of the held-out real images of the class, in [0, 1]; 0 where there are none."""
    images: int
    """Held-out real images of the class."""


class HeldOutComparison(Part):
    """Generated images beside held-out real ones: the evidence that a generator is judged by."""

    images: int
    """Of each kind, in a measurement against as many training images."""
    coverage: HeldOutFigure | None = None
    """Share of the training images near which one lies; None: there are too few images."""
    recall: HeldOutFigure | None = None
    """Share of the training images among which they lie; None: as above."""
    kid: HeldOutFigure | None = None
    """Distance to the training images; None: as above."""
    kid_of_a_class: float | None = None
    """KID between the training images of a class and those of the others, the median over classes; None: as above."""
    classes: dict[str, ClassRecognition] = Field(default_factory=dict)
    """Class -> how often it is recognised; empty for a generator that knows no classes."""


class GanRecord(GeneratorSpec, StageRecord):
    """A gan folder."""

    FILE: ClassVar[str] = "gan.json"

    recipe: GanRecipe
    """How it was trained."""
    steps: int
    """Optimizer steps in all."""
    ended_early: str | None = None
    """Why it was trained no longer, if so."""
    occupied: Occupied | None = None
    """What it occupied, without a process that measured its snapshots; None in files from before this was recorded."""
    images_seen: int
    """Real images, each as often as it was seen."""
    chosen: ChosenStep
    """Which of its checkpoints is kept."""
    quality: dict[str, Any]
    """Figures of the generated images by key."""
    memorization: Memorization
    """Whether it copies."""
    beside_held_out: HeldOutComparison | None = None
    """Its images beside held-out real ones; None: it was trained before these were compared."""
    undrawn: list[str] = Field(default_factory=list)
    """Classes of the data set that it cannot draw, as one that was trained on another data set may not."""
    seed: int
    """Of the job."""
    config: dict[str, Any]
    """The GAN's settings."""
