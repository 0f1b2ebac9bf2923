"""The scale of a data set's samples: which of them is black, and which is white."""

from __future__ import annotations

from pydantic import Field

from ganaug_ray.core.records.stored_record import Part


class ValueRange(Part):
    """What samples of more than 8 bits, signed ones and floats are scaled from."""

    low: float
    """Becomes 0."""
    high: float
    """Becomes 255."""
    samples: list[str] = Field(default_factory=lambda: ["float", "integer"])
    """Of which kinds they are; others have another scale."""
    is_set: bool = False
    """Whether a job sets it: then it holds for files, too, that say themselves which value is white."""
