"""CPU time of steps and of forward passes with memory that is used again, and as glibc has it, in turn.

    python -m tests.benchmarks.reused_memory [--rounds 5]

One process, one thread. CPU time, that of the system for this process included, since others may compute beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import statistics
from collections.abc import Callable

import numpy as np
import torch

from ganaug_ray.classify import networks, training_loop
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.heap_memory import reuse_freed_memory
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.data.loading.resident_loader import ResidentImages
from tests.benchmarks.gan_step import make_images, measure_ours

SIZE, CLASSES = 64, 10
STEPS = 12
CPU = torch.device("cpu")


def train_classifier() -> None:
    """Take steps of the base CNN with 32 images."""
    network = networks.build_network("cnn", 3, CLASSES, 0.3, networks.NetworkInput(SIZE))
    network.to(memory_format=torch.channels_last)
    x_BCHW = torch.rand(32, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    batch = Batch(x_BCHW, torch.arange(32) % CLASSES, np.arange(32), 32)
    one = LabelledImages(np.zeros((1, SIZE, SIZE, 3), np.uint8), np.zeros(1, np.int64), [""], [""], [""])
    config = ClassifierConfig(steps=STEPS, batch_size=32, evaluate_every=10**9)
    training_loop.train_classifier(
        network, lambda step: batch, ResidentImages(one, CPU), config, STEPS, 0, Place(), lambda row: None
    )


def train_gan() -> None:
    """Take steps of the scarce-data preset with 64 images."""
    measure_ours(make_images(CPU), 64, STEPS // 2, preset="scarce", filters=32)


def classify(n: int) -> None:
    """Run the base CNN on batches of ``n`` images."""
    network = networks.build_network("cnn", 3, CLASSES, 0.0, networks.NetworkInput(SIZE)).eval()
    network.to(memory_format=torch.channels_last)
    x_BCHW = torch.rand(n, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        for _ in range(6 * 256 // n):
            network(x_BCHW)


WORK: dict[str, Callable[[], None]] = {
    "classifier, batch 32": train_classifier,
    "GAN, batch 64": train_gan,
    "classifying, batch 256": lambda: classify(256),
    "classifying, batch 8": lambda: classify(8),
}


def measure_cpu_seconds(work: Callable[[], None], reuses: bool) -> float:
    """Return the CPU seconds of some work, after it was done once to warm up."""
    with reuse_freed_memory(CPU) if reuses else contextlib.nullcontext():
        work()
        before = resource.getrusage(resource.RUSAGE_SELF)
        work()
        after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a line for each kind of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for name, work in WORK.items():
        shares = []
        for _ in range(rounds):
            usual = measure_cpu_seconds(work, reuses=False)
            shares.append(measure_cpu_seconds(work, reuses=True) / usual)
        print(f"{name:24} {statistics.median(shares):.2f} times ({min(shares):.2f} to {max(shares):.2f})", flush=True)


if __name__ == "__main__":
    main()
