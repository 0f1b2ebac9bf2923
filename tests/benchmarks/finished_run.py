"""Two figures of a finished experiment: what a step with live images costs, and how far bfloat16 moves probabilities.

    python -m tests.benchmarks.finished_run runs/digits_alone [--rounds 5] [--steps 40]

Nothing in its folder is changed. One thread; CPU time, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import ganaug_ray
from ganaug_ray.augment.arm_batches import build_training
from ganaug_ray.classify import networks, training_loop
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import shared_memory
from ganaug_ray.data.loading.resident_loader import ResidentImages


def measure_step(job: Job, run: Run, arm: str, steps: int) -> float:
    """Return the CPU seconds of a classifier's step with the batches of an arm, after a few steps to warm up."""
    training = build_training(job, run, arm, 0)
    facts = DatasetRecord.read(run.dataset)
    config = training.config.model_copy(update={"evaluate_every": steps})
    network_input = networks.choose_input(config.arch, facts.image_size, config.input_size, False)
    classes = len(facts.classes)
    network = networks.build_network(config.arch, facts.channels, classes, config.dropout, network_input)
    network.to(memory_format=torch.channels_last)
    place = Place()
    batches = training.batches(place)
    val = ResidentImages.load(run.dataset / "val", place.device)
    started = 0.0
    for timed_steps in (5, steps):
        started = time.process_time()
        training_loop.train_classifier(network, batches, val, config, timed_steps, 0, place, lambda row: None)
    return (time.process_time() - started) / steps


def compare_precisions(experiment: str, run: Run) -> tuple[int, float, int]:
    """Return the number of test images, the largest difference of a probability, and how many classes change."""
    images = shared_memory.read_images(run.dataset / "test", None).images
    model = ganaug_ray.load(experiment)
    exact = model.predict_probabilities(images)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.predict_probabilities(images)
    return len(images), float(np.abs(exact - rounded).max()), int((exact.argmax(1) != rounded.argmax(1)).sum())


def main() -> None:
    """Measure both and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", help="folder of a finished run with a GAN of its own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = Folder.from_uri(given.experiment)
    run = Run(folder)
    arms = "arms={stored: {kind: synthetic}, live: {kind: live}}"
    planned = ["compare.planned_seeds=null", "compare.planned_splits=null"]
    job = load_job(Path(given.experiment) / "job.yaml", [arms, *planned])
    ratios = []
    for _ in range(given.rounds):
        stored, live = (measure_step(job, run, arm, given.steps) for arm in ("stored", "live"))
        ratios.append(live / stored)
        print(f"stored {1000 * stored:.0f} ms, live {1000 * live:.0f} ms, ratio {ratios[-1]:.2f}", flush=True)
    print(f"live over stored: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    tested, difference, changed = compare_precisions(given.experiment, run)
    print(f"bfloat16, {tested} test images: probabilities within {difference:.3f}, {changed} classes changed")


if __name__ == "__main__":
    main()
