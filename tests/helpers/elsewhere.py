"""Images of digits as another site, or another program, would hand them over."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.data.loading.image_store import LabelledImages


def write_images(root: Path, rows: LabelledImages, suffix: str = "png") -> Path:
    """Write grey images into folders of their classes' numbers; return the folder."""
    for number, (image, label) in enumerate(zip(rows.images, rows.labels.tolist(), strict=True)):
        path = root / str(label) / f"{number:04d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(path)
    return root


def write_unseen_digits(root: Path, run: Run, names: Iterable[str]) -> Path:
    """Write all digits that an experiment was neither trained on nor chosen by, in folders of the classes' names."""
    table = run.dataset.read_table("split.parquet", ["path", "split"]).to_pylist()
    seen = {int(row["path"].rpartition("/")[2]) for row in table if row["split"] in ("train", "val")}
    folders = list(names)
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target.tolist(), strict=True)):
        if number not in seen:
            path = root / folders[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 255 / 16).round().astype(np.uint8)).save(path)
    return root
