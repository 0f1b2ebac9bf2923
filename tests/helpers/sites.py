"""Experiments with a GAN that nobody trained, as another site would have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.torch import save_file

from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.gan import networks
from tests.helpers import records

SPLITS = ("train", "val", "test")
PER_CLASS = 2  # images of a class in a split


def write_data(run: Run, seed: int, classes: tuple[str, ...] = ("a", "b"), channels: int = 1) -> None:
    """Write a data set of noise, which has no image of another seed."""
    draw = np.random.default_rng(seed)
    rows = []
    for split in SPLITS:
        n = PER_CLASS * len(classes)
        ids = [f"{seed:04x}{split.encode().hex():0<12}{number:04x}" for number in range(n)]
        paths = [f"{split}/{seed}-{number}.png" for number in range(n)]
        images = draw.integers(0, 256, (n, 32, 32, channels), np.uint8)
        labels = np.repeat(np.arange(len(classes)), PER_CLASS)
        images = image_store.LabelledImages(images, labels, ids, paths, ["here"] * n)
        image_store.write_images((run.dataset / split).create(), images, "real")
        rows += [{"id": id_, "path": path, "split": split} for id_, path in zip(ids, paths, strict=True)]
    run.dataset.write_table("split.parquet", pa.Table.from_pylist(rows))
    counts = {split: dict.fromkeys(classes, PER_CLASS) for split in SPLITS}
    facts = {"classes": list(classes), "channels": channels, "counts": counts, "hash": f"{seed:016x}"}
    records.write_dataset(run.dataset, **facts)


def write_gan(folder: Folder, classes: tuple[str, ...] = ("a", "b"), **facts: Any) -> None:
    """Write a finished GAN with fresh weights."""
    record = records.write_gan(folder.create(), classes=list(classes), **facts)
    labels = len(classes) if record.conditional else 0
    generator = networks.Generator(record.latent, labels, record.channels, record.size, record.filters)
    weights = {f"generator.{key}": value.contiguous() for key, value in generator.state_dict().items()}
    save_file(weights, f"{folder}/gan.safetensors")


def make_site(root: Path, seed: int) -> Run:
    """Make the folder of an experiment with data of its own and a finished GAN."""
    run = Run(Folder.from_uri(root))
    write_data(run, seed)
    write_gan(run.gan)
    return run
