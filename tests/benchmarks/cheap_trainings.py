"""Comparisons of many cheap trainings through the real arms and verdict: what several benchmarks share."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from sklearn.datasets import load_digits as load_sklearn_digits

from ganaug_ray.augment import arm_batches, arms, synthetic_pools
from ganaug_ray.classify.train_worker import train_and_finish
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images as images_
from ganaug_ray.data.ingest.split import SPLITS, UNUSED
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.image_store import LabelledImages
from tests.helpers.dealing import assign
from tests.helpers.dirty import PUBLIC


def load_digits() -> LabelledImages:
    """Load scikit-learn's digits as a data set has them: 32 x 32, grey, equal ones once."""
    raw = load_sklearn_digits()
    grey_levels = (raw.images * (255 / 16)).round().astype(np.uint8)
    return _label_images([images_.from_array(one) for one in grey_levels], raw.target, 32, 1, "stretch")


def load_fashion(per_class: int, draw: int) -> LabelledImages:
    """Load so many of Fashion-MNIST's training images of each class, drawn by number: 32 x 32, grey."""
    folder = PUBLIC / "fashion-mnist"
    pixels = np.frombuffer(gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    rows = _draw_rows(labels, per_class, draw)
    chosen = pixels.reshape(-1, 28, 28)[rows]
    return _label_images([images_.from_array(one) for one in chosen], labels[rows], 32, 1, "stretch")


def load_photographs(per_class: int | None, draw: int, size: int) -> LabelledImages:
    """Load so many photographs of cats and of dogs, drawn by number, or all: size x size, RGB."""
    with zipfile.ZipFile(PUBLIC / "cats_dogs" / "cats_dogs-train.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")]
        labels = np.array([int("/dog/" in name) for name in names])
        rows = np.arange(len(names)) if per_class is None else _draw_rows(labels, per_class, draw)
        photographs = [Image.open(io.BytesIO(archive.read(names[row]))).convert("RGB") for row in rows]
    return _label_images(photographs, labels[rows], size, 3, "crop")


def _draw_rows(labels_N: np.ndarray, per_class: int, draw: int) -> np.ndarray:
    rng = np.random.default_rng(draw)
    of_class = [np.flatnonzero(labels_N == label) for label in np.unique(labels_N)]
    return np.sort(np.concatenate([rng.permutation(rows)[:per_class] for rows in of_class]))


def _label_images(
    raw: Sequence[Image.Image], labels: np.ndarray, size: int, channels: int, resize: images_.Resize
) -> LabelledImages:
    pixels = np.stack([images_.to_pixels(images_.resize_to_square(one, size, resize), channels) for one in raw])
    ids = [image_store.hash_pixels(one) for one in pixels]
    first = sorted(dict(zip(reversed(ids), reversed(range(len(ids))), strict=True)).values())  # equal ones once
    return take_rows(LabelledImages(pixels, labels.astype(np.int64), ids, ids, ids), first)


def take_rows(rows: LabelledImages, which: Sequence[int]) -> LabelledImages:
    """Return some of the rows."""
    texts = ([field[row] for row in which] for field in (rows.ids, rows.paths, rows.provenance))
    return LabelledImages(rows.images[which], rows.labels[which], *texts)


def deal_images(rows: LabelledImages, job: Job, run: Run, held_out_per_class: int = 0) -> None:
    """Write the data set of a split, and so many images that it does not use as if a GAN had drawn them.

    Args:
        rows: every image there is.
        job: as the split has it.
        run: the split's.
        held_out_per_class: at most; 0: there is no pool of synthetic images.
    """
    classes = [str(label) for label in np.unique(rows.labels)]
    of_class = {
        name: [id_ for id_, y in zip(rows.ids, rows.labels, strict=True) if y == k] for k, name in enumerate(classes)
    }
    where = assign(of_class, job.data.split, job.data.train_per_class, job.data.max_val_per_class)
    parts = {part: [row for row, id_ in enumerate(rows.ids) if where[id_] == part] for part in (*SPLITS, UNUSED)}
    counts = {}
    for part in SPLITS:
        image_store.write_images((run.dataset / part).create(), take_rows(rows, parts[part]), "real")
        counts[part] = {name: int((rows.labels[parts[part]] == k).sum()) for k, name in enumerate(classes)}
    facts = {
        "hash": experiment_dir.compute_fingerprint(where),
        "classes": classes,
        "counts": counts,
        "image_size": rows.images.shape[1],
        "channels": rows.images.shape[3],
        "resize": "stretch",
        "source": job.data.source,
        "rejected": {},
    }
    DatasetRecord.write(run.dataset, "prepare", 0.0, facts)
    run.dataset.write_table("split.parquet", pa.table({"id": list(where), "split": list(where.values())}))
    if held_out_per_class:
        _write_pool(rows, parts[UNUSED], job, run, held_out_per_class, counts["train"])


def _write_pool(
    rows: LabelledImages, unused: list[int], job: Job, run: Run, per_class: int, counts: dict[str, int]
) -> None:
    labels = rows.labels[unused]
    held_out = [unused[row] for k in np.unique(rows.labels) for row in np.flatnonzero(labels == k)[:per_class]]
    (pool,) = synthetic_pools.list_pools(job, run)
    image_store.write_images(pool.folder.create(), take_rows(rows, held_out), "synthetic")
    record: dict[str, Any] = {
        "hash": experiment_dir.compute_fingerprint(held_out), "inputs": {"gan": "none"}, "asked": counts,
        "counts": counts, "screened": {}, "not_drawn": [], "limits": None, "images": len(held_out),
    }  # fmt: skip
    experiment_dir.write_marker(pool.folder, "synthetic.json", "generate", 0.0, record)


def train_arms(rows: LabelledImages, job: Job, folder: Path, held_out_per_class: int = 0) -> Run:
    """Deal the images out and train every arm, split by split; what is in the folder already stays."""
    run = Run(Folder.from_uri(folder))
    for number in range(job.compare.splits):
        split_job, split_run = job.derive_split(number), run.locate_split(number)
        if not split_run.dataset.has_file("dataset.json"):
            deal_images(rows, split_job, split_run, held_out_per_class)
        for name, seed in arms.list_pairs(split_job):
            if not split_run.locate_model(name, seed).has_file("model.json"):
                train_and_finish(arm_batches.build_training(split_job, split_run, name, seed), Place())
    return run
