"""dataset.json: what the prepare stage made of the raw images, or the teacher of the unlabelled ones."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ganaug_ray.core.records.stored_record import Part, StageRecord
from ganaug_ray.core.records.value_range import ValueRange


class PseudoLabels(Part):
    """What the teacher made of the unlabelled images."""

    unlabelled: int
    """How many there are."""
    labelled: dict[str, int]
    """Class -> images that it is sure of."""


class DatasetRecord(StageRecord):
    """A dataset folder: its classes, the form of its images, and how many there are."""

    FILE: ClassVar[str] = "dataset.json"

    source: list[str]
    """Where the images came from."""
    classes: list[str]
    """Names, in order of their numbers."""
    image_size: int
    """Side of the stored images, in pixels."""
    resize: Literal["crop", "pad", "stretch"]
    """How images were made square."""
    channels: int
    """1: grey, 3: RGB."""
    value_range: ValueRange | None = None
    """Of samples of more than 8 bits, signed or floats; None where there were none."""
    store: str = "raw"
    """raw: pixels; encoded: compressed."""
    counts: dict[str, dict[str, int]]
    """train, val, test and unused -> class -> images."""
    rare: list[str] = Field(default_factory=list)
    """Classes that are rare in training."""
    rejected: dict[str, int]
    """Reason -> labelled images that are left out."""
    passed_over: dict[str, int] = Field(default_factory=dict)
    """Reason -> files that are no images: neither kept nor rejected."""
    remarks: list[str] = Field(default_factory=list)
    """What was done with the source that a user may not expect, a sentence each."""
    notes: dict[str, int] = Field(default_factory=dict)
    """What was left out, changed or odd -> kept labelled images."""
    visual_issues: dict[str, int] | None = None
    """dark, bright, low contrast and blurred -> kept labelled images, some in several. None where nothing was
    measured."""
    unlabelled: int = 0
    """Images without a label that are stored."""
    unlabelled_rejected: dict[str, int] = Field(default_factory=dict)
    """Reason -> images without a label that are left out."""
    unlabelled_notes: dict[str, int] = Field(default_factory=dict)
    """What was left out, changed or odd -> stored images without a label."""
    near_duplicates: dict[str, int] = Field(default_factory=dict)
    """groups and images: of images that resemble each other."""
    mean: list[float] = Field(default_factory=list)
    """Of each channel of the training images, for pixels in [0, 1]."""
    std: list[float] = Field(default_factory=list)
    """Likewise."""
    pseudo: PseudoLabels | None = None
    """Of a data set with pseudo-labelled images."""

    def count_train_images(self) -> int:
        """How many training images there are, all classes together."""
        return sum(self.counts["train"].values())
