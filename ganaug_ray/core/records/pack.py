"""pack.json: a generator that one site shares with others, and what they must know of it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from ganaug_ray.core.records.gan import ChosenStep, GanRecipe, GeneratorSpec, Memorization
from ganaug_ray.core.records.stored_record import Part, StoredRecord


class SeenRecord(Part):
    """The images that the generator has seen, as far as the pack tells of them."""

    images: int
    """How many: trained on, or chosen by."""
    salt: str
    """Of their ids and codes, 32 hex digits."""


class PackRecord(GeneratorSpec, StoredRecord):
    """A pack."""

    FILE: ClassVar[str] = "pack.json"

    about: str
    """What the experiment was about, in its own words."""
    counts: dict[str, int]
    """Class -> images that the generator was trained on."""
    resize: Literal["crop", "pad", "stretch"]
    """How the images were made square."""
    recipe: GanRecipe
    """How it was trained."""
    steps: int
    """Optimizer steps."""
    images_seen: int
    """Real images, each as often as it was seen."""
    chosen: ChosenStep
    """Which of its checkpoints it is."""
    quality: dict[str, Any]
    """Figures of the generated images by key, against the images of its own site."""
    memorization: Memorization
    """Whether it copies the images of its own site."""
    verdict: str | None
    """What its images did for that site's classifier, in a sentence; None: that was not tried."""
    generator: str | None = None
    """Whether it was usable at its own site, in a sentence; None: it was not judged."""
    seen: SeenRecord
    """The images that it has seen."""
    files: dict[str, str]
    """Other files of the pack -> sha256 of each."""
    classifier: bool = Field(default=False)
    """Whether that site's classifier is shared too."""
