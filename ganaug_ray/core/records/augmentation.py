"""augmentation.json: which augmentation ``classifier.augment: auto`` means in an experiment, and by which figures."""

from __future__ import annotations

from typing import ClassVar, Literal

from ganaug_ray.core.records.stored_record import StageRecord


class AugmentationRecord(StageRecord):
    """The choice among trials of an augmentation each; it holds for all arms and splits."""

    FILE: ClassVar[str] = "augmentation.json"

    chosen: Literal["light", "strong"]
    """The augmentation of the trial with the best score."""
    metric: str
    """The key of the score, computed on validation images."""
    scores: dict[str, float]
    """Augmentation -> the score of its trial."""
    sentence: str
    """The choice and what it goes by."""
