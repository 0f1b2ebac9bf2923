"""Records as a stage would leave them, of stages that a test does not run."""

from __future__ import annotations

from typing import Any

from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder

DATASET = {
    "hash": "d" * 16,
    "source": ["somewhere"],
    "classes": ["a", "b"],
    "image_size": 32,
    "resize": "crop",
    "channels": 1,
    "counts": {part: {"a": 4, "b": 2} for part in ("train", "val", "test", "unused")},
    "rejected": {},
}


def write_dataset(folder: Folder, **facts: Any) -> DatasetRecord:
    """Write a dataset.json, with these facts instead of the usual ones."""
    return DatasetRecord.write(folder, "prepare", 0.0, DATASET | facts)
