"""How many images it takes until a server that is asked about other ones says so, and whether it stays silent before.

    python -m tests.benchmarks.drift JOB.yaml [--steps 300] [--streams 20] [--batches 1 16] [--set KEY=VALUE]

Prepares the job's data, trains its classifier on real images alone, and takes the reference as a promotion does. Test
images, in another order for each stream, are then looked at as a replica does, in batches; of a stream none comes
twice. A clean stream has up to 2,000; up to 400 changed ones come alone, or after a clean part.
"""

from __future__ import annotations

import argparse
import functools
import math
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from ganaug_ray.classify import drift, train_worker
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.resident_loader import open_real_feed
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.evaluate import test_images
from ganaug_ray.verdict.promotion_gate import write_seen_images

CLEAN = 2000
CHANGED = 400
BEFORE = 300  # clean images before changed ones
Change = Callable[[np.ndarray], np.ndarray]


def blurred(images_NHWC: np.ndarray, part: int) -> np.ndarray:
    """Blur with a deviation of one in so many of the side."""
    sigma = images_NHWC.shape[1] / part
    return gaussian_filter(images_NHWC, (0, sigma, sigma, 0))


CHANGES: dict[str, Change] = {
    "inverted": lambda images_NHWC: 255 - images_NHWC,
    "blurred, side/16": functools.partial(blurred, part=16),
    "blurred, side/32": functools.partial(blurred, part=32),
    "darker by a fifth": lambda images_NHWC: (0.8 * images_NHWC).astype(np.uint8),
}


def first_alarm(detector: drift.DriftDetector, images_NHWC: np.ndarray, said_NK: np.ndarray, batch: int) -> int | None:
    """Look at images and what the model says, in batches; the number of images at the alarm, None: there is none."""
    for start in range(0, len(images_NHWC), batch):
        some = slice(start, start + batch)
        if detector.observe_batch(images_NHWC[some], said_NK[some]):
            return min(start + batch, len(images_NHWC))
    return None


def trained(job_file: Path, settings: list[str], steps: int, place: Folder) -> tuple[Classifier, np.ndarray, Folder]:
    """Prepare, train and describe; the model, the test images as it takes them, and the folder of the reference."""
    job = load_job(job_file, [*settings, f"classifier.steps={steps}", "classifier.workers=1"])
    run, version = Run(place), place / "version"
    prepare_dataset(job.data, run.dataset)
    dataset, config = str(run.dataset), job.classifier
    batches = functools.partial(open_real_feed, dataset, config.batch_size, 1.0, 0)
    train_worker.train_and_finish(
        train_worker.ClassifierTraining("real", 0, config, dataset, str(version.create()), batches, {}, parts=("val",)),
        Place(),
    )
    model = Classifier.load(version)
    write_seen_images(run, version)
    return model, np.asarray(test_images.read_split(run, "test", model).images[:]), version


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--set", action="append", default=[])
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, test_NHWC, version = trained(told.job, told.set, told.steps, Folder.from_uri(folder))
        table = version.read_table(drift.REFERENCE_FILE)
    print(f"{told.job}: {told.streams} streams of {len(test_NHWC)} test images, a reference of {len(table)}")
    orders = [np.random.default_rng(seed).permutation(len(test_NHWC)) for seed in range(told.streams)]
    said_NK = model.predict_probabilities(test_NHWC)

    def clean(detector: drift.DriftDetector, seed: int, upto: int, batch: int) -> int | None:
        some = orders[seed][:upto]
        return first_alarm(detector, test_NHWC[some], said_NK[some], batch)

    for batch in told.batches:
        fresh = [drift.DriftDetector(table, model.classes, seed) for seed in range(told.streams)]
        alarms = sum(clean(detector, seed, CLEAN, batch) is not None for seed, detector in enumerate(fresh))
        print(f"batches of {batch:>2}: {min(CLEAN, len(test_NHWC))} clean: alarm in {alarms} of {told.streams}")
        for name, change in CHANGES.items():
            for before in (0, BEFORE):
                found = []
                for seed in range(told.streams):
                    detector = drift.DriftDetector(table, model.classes, seed)
                    clean(detector, seed, before, batch)
                    changed_NHWC = change(test_NHWC[orders[seed][before : before + CHANGED]])
                    found.append(first_alarm(detector, changed_NHWC, model.predict_probabilities(changed_NHWC), batch))
                when = [one if one is not None else math.inf for one in found]
                within = sum(one <= 200 for one in when)
                said = f"median {statistics.median(when):.0f}, worst {max(when)}, within 200: {within}/{told.streams}"
                print(f"batches of {batch:>2}: {name:18} after {before:>3} clean: {said}")


if __name__ == "__main__":
    main()
