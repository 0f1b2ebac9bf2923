"""images.json: synthetic images from elsewhere, read, judged and stored as those of the data set are."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field

from ganaug_ray.core.records.stored_record import StageRecord


class ImagesRecord(StageRecord):
    """A folder of synthetic images from elsewhere."""

    FILE: ClassVar[str] = "images.json"

    source: list[str]
    """Where the images came from."""
    class_names: dict[str, str] = Field(default_factory=dict)
    """Class there -> class of the data set, where the two have other names."""
    settings: dict[str, Any] | None = None
    """All settings of the source, as they were when it was read; None: of before November 2026."""
    classes: list[str]
    """Of the data set, in order of their numbers."""
    counts: dict[str, int]
    """Class -> stored images; without classes that have none."""
    image_size: int
    """Side of the stored images, in pixels."""
    channels: int
    """1: grey, 3: RGB."""
    rejected: dict[str, int]
    """Reason -> images that are left out."""
    passed_over: dict[str, int] = Field(default_factory=dict)
    """Reason -> files that are no images: neither kept nor rejected."""
    remarks: list[str] = Field(default_factory=list)
    """What was done with the source that a user may not expect, a sentence each."""
