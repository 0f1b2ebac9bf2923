"""Records as a stage would leave them, of stages that a test does not run."""

from __future__ import annotations

from typing import Any

from ganaug_ray.core.records import DatasetRecord, GanRecord, ImagesRecord, ModelRecord, ModelSpec, VerdictRecord
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

IMAGES = {
    "hash": "a" * 16,
    "source": ["made"],
    "classes": ["a", "b"],
    "counts": {"a": 4, "b": 2},
    "image_size": 32,
    "channels": 1,
    "rejected": {},
}

GAN = {
    "hash": "f" * 16,
    "inputs": {},
    "classes": ["a", "b"],
    "channels": 1,
    "size": 32,
    "latent": 16,
    "filters": 8,
    "conditional": True,
    "recipe": {"norm": "spectral"},
    "steps": 40,
    "images_seen": 2560,
    "chosen": {"step": 40, "chosen_by": None, "value": None},
    "quality": {},
    "memorization": {"verdict": "does not copy", "reason": "0.0% of 30 are near copies"},
    "seed": 0,
    "config": {},
}
USABLE = {
    "images": 100,
    "coverage": {"generated": 0.92, "held_out": 0.96},
    "recall": {"generated": 0.7, "held_out": 0.9},
    "kid": {"generated": 0.06, "held_out": -0.02},
    "kid_of_a_class": 4.0,
    "classes": {name: {"generated": 0.9, "held_out": 0.92, "images": 12} for name in ("a", "b")},
}
"""A generator's images beside held-out ones: those of a usable generator."""
COLLAPSED = USABLE | {
    "coverage": {"generated": 0.05, "held_out": 0.96},
    "recall": {"generated": 0.0, "held_out": 0.9},
    "classes": {name: {"generated": 0.1, "held_out": 0.92, "images": 12} for name in ("a", "b")},
}
"""The same of one that is not."""
SPEC = {
    "hash": "e" * 16,
    "arch": "cnn",
    "classes": ["a", "b"],
    "channels": 1,
    "image_size": 32,
    "resize": "crop",
    "input_size": 32,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bilinear",
}
MODEL = SPEC | {
    "inputs": {"dataset": "d" * 16},
    "arm": "real+classic",
    "seed": 0,
    "steps": 20,
    "train_seconds": 4.0,
    "best_step": 10,
    "val_accuracy": 0.5,
    "val_loss": 1.0,
    "parameters": 1000,
    "config": {},
}

VERDICT = {
    "hash": "c" * 16,
    "verdict": None,
    "metric": "accuracy",
    "sentence": "Nothing is compared.",
    "covers": "Nothing.",
    "smallest_visible_gain": None,
    "chosen": None,
    "champion": {"arm": "real", "split": 0, "seed": 0, "reason": "real is the only arm", "figures": {}},
    "comparisons": [],
    "other_metrics": [],
    "classes": {},
    "rare": [],
    "pairs": [],
    "arms": {},
    "baseline": "real",
    "splits": 1,
    "seeds": 1,
    "overlap": None,
}


def write_dataset(folder: Folder, **facts: Any) -> DatasetRecord:
    """Write a dataset.json, with these facts instead of the usual ones."""
    return DatasetRecord.write(folder, "prepare", 0.0, DATASET | facts)


def make_spec(**facts: Any) -> ModelSpec:
    """Return what a classifier is built from, with these facts instead of the usual ones."""
    return ModelSpec(**SPEC | facts)


def write_model(folder: Folder, **facts: Any) -> ModelRecord:
    """Write a model.json, with these facts instead of the usual ones."""
    return ModelRecord.write(folder, "train", 0.0, MODEL | facts)


def write_gan(folder: Folder, **facts: Any) -> GanRecord:
    """Write a gan.json, with these facts instead of the usual ones."""
    return GanRecord.write(folder, "train-gan", 0.0, GAN | facts)


def write_images(folder: Folder, **facts: Any) -> ImagesRecord:
    """Write the images.json of imported images."""
    return ImagesRecord.write(folder, "import", 0.0, IMAGES | facts)


def write_verdict(folder: Folder, **facts: Any) -> VerdictRecord:
    """Write a verdict.json, with these facts instead of the usual ones."""
    return VerdictRecord.write(folder, "compare", 0.0, VERDICT | facts)
