"""How often does the verdict err? Many cheap comparisons on the digits, through the real arms and verdict.

Each repetition deals the digits out anew into several splits and trains the baseline, arms that cannot help (noise,
shuffled-labels, oversample) and one that must: held-out real images passed off as synthetic ones. The table says how
often each ended in helped, unclear and hurt.

    python -m tests.benchmarks.decisions --repetitions 100 --processes 2
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from sklearn.datasets import load_digits

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
from ganaug_ray.verdict import from_experiment
from tests.helpers.dealing import assign

NULL = {"noise": 0.25, "shuffled-labels": 0.25, "oversample": 0.25}
RIGGED = {"real+classic+synthetic": 1.0}
ARMS = NULL | RIGGED
"""Name of an arm -> extra rows for each real one."""
HELD_OUT = 60  # of a class: what the rigged arm has


@functools.lru_cache(maxsize=1)
def digits() -> image_store.LabelledImages:
    """Scikit-learn's digits as a data set has them: 32 x 32, grey."""
    raw = load_digits()
    images = np.stack(
        [
            images_.to_pixels(images_.resize_to_square(images_.from_array(one), 32, "stretch"), 1)
            for one in as_uint8(raw)
        ]
    )
    ids = [image_store.hash_pixels(image) for image in images]
    first = sorted(dict(zip(reversed(ids), reversed(range(len(ids))), strict=True)).values())  # equal ones once
    every = image_store.LabelledImages(images, raw.target.astype(np.int64), ids, ids, ids)
    return _take(every, first)


def as_uint8(raw: Any) -> np.ndarray:
    """Pixels 0 to 16 as grey levels, uint8 [N, 8, 8]."""
    return (raw.images * (255 / 16)).round().astype(np.uint8)


def job(repetition: int, splits: int, steps: int) -> Job:
    """A comparison on the digits with another dealing out of the images.

    Without classic augmentation: beside it, oversampling is no null, as more rows a step are more draws of it.
    """
    return Job.model_validate(
        {
            "data": {
                "source": "sklearn:digits", "train_per_class": 15, "val_per_class": 10,
                "split": {"val": 0.08, "test": 0.2, "seed": repetition},
            },
            "gan": {"steps": 1},
            "augment": {"per_class": HELD_OUT, "screen": {"enabled": False}},
            "arms": {name: {"ratio": ratio} for name, ratio in ARMS.items()},
            "classifier": {
                "steps": steps, "batch_size": 32, "input_size": 8, "flip": False, "rotate": 0.0, "zoom": 0.0,
                "shift": 0.0, "evaluate_every": steps // 2, "log_every": steps,
            },
            "compare": {"splits": splits, "seeds": 1},
            "seed": repetition,
        }
    )  # fmt: skip


def repeat(number: int, splits: int, steps: int) -> dict[str, dict[str, Any]]:
    """Do one comparison in a folder of its own; return each arm's verdict and mean difference."""
    torch.set_num_threads(1)
    wanted = job(number, splits, steps)
    with tempfile.TemporaryDirectory(prefix="ganaug-") as folder:
        run = Run(Folder.from_uri(Path(folder) / "run"))
        for split in range(splits):
            own, here = wanted.derive_split(split), run.locate_split(split)
            _deal(own, here)
            for name, seed in arms.list_pairs(own):
                train_and_finish(arm_batches.describe_fit(own, here, name, seed), Place())
        verdict = from_experiment.build_verdict(wanted, run)
        return {one["arm"]: {"verdict": one["verdict"], "mean": one["mean"]} for one in verdict["comparisons"]}


def _deal(wanted: Job, run: Run) -> None:
    """Write the data set of a split, and images that it does not use as if a GAN had drawn them."""
    rows, classes = digits(), [str(name) for name in range(10)]
    of_class = {
        name: [id_ for id_, y in zip(rows.ids, rows.labels, strict=True) if y == k] for k, name in enumerate(classes)
    }
    where = assign(of_class, wanted.data.split, wanted.data.train_per_class, wanted.data.max_val_per_class)
    parts = {part: [row for row, id_ in enumerate(rows.ids) if where[id_] == part] for part in (*SPLITS, UNUSED)}
    counts = {}
    for part in SPLITS:
        image_store.write_images((run.dataset / part).create(), _take(rows, parts[part]), "real")
        counts[part] = {name: int((rows.labels[parts[part]] == k).sum()) for k, name in enumerate(classes)}
    facts = {
        "hash": experiment_dir.compute_fingerprint(where),
        "classes": classes,
        "counts": counts,
        "image_size": 32,
        "channels": 1,
        "resize": "stretch",
        "source": wanted.data.source,
        "rejected": {},
    }
    DatasetRecord.write(run.dataset, "prepare", 0.0, facts)
    run.dataset.write_table("split.parquet", pa.table({"id": list(where), "split": list(where.values())}))
    labels = rows.labels[parts[UNUSED]]
    held_out = [parts[UNUSED][row] for k in range(10) for row in np.flatnonzero(labels == k)[:HELD_OUT]]
    (pool,) = synthetic_pools.list_pools(wanted, run)
    image_store.write_images(pool.folder.create(), _take(rows, held_out), "synthetic")
    record = {
        "hash": experiment_dir.compute_fingerprint(held_out), "inputs": {"gan": "none"}, "asked": counts["train"],
        "counts": counts["train"], "screened": {}, "not_drawn": [], "limits": None, "images": len(held_out),
    }  # fmt: skip
    experiment_dir.write_marker(pool.folder, "synthetic.json", "generate", 0.0, record)


def _take(rows: image_store.LabelledImages, which: list[int]) -> image_store.LabelledImages:
    texts = ([field[row] for row in which] for field in (rows.ids, rows.paths, rows.provenance))
    return image_store.LabelledImages(rows.images[which], rows.labels[which], *texts)


def main() -> None:
    """Print a table, and a line of JSON for each repetition as it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    numbers = range(given.first, given.first + given.repetitions)
    started, found = time.monotonic(), []
    with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
        waiting = [pool.apply_async(repeat, (number, given.splits, given.steps)) for number in numbers]
        for number, result in zip(numbers, waiting, strict=True):
            found.append(result.get())
            print(json.dumps({"repetition": number, **found[-1]}), flush=True)
    print(f"{len(found)} repetitions of {given.splits} splits in {time.monotonic() - started:.0f} s")
    print(f"{'arm':<24} {'helped':>7} {'unclear':>8} {'hurt':>5}  mean difference, points")
    for arm in ARMS:
        tally = Counter(str(one[arm]["verdict"]) for one in found)
        mean = sum(float(str(one[arm]["mean"])) for one in found) / len(found)
        print(f"{arm:<24} {tally['helped']:>7} {tally['unclear']:>8} {tally['hurt']:>5}  {100 * mean:+.2f}")


if __name__ == "__main__":
    main()
