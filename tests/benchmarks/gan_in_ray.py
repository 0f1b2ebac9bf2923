"""Images a second of the GAN's loop inside Ray Train against the bare loop, on a preloaded tensor, same threads.

    python -m tests.benchmarks.gan_in_ray [--steps 40] [--rounds 3] [--preset scarce]

Both run in turn, each in a process of its own; a ratio is of two runs that stood next to each other.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
from dataclasses import dataclass

import ray
import torch

from ganaug_ray.config.gan_presets import PRESETS
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.runtime import worker_group
from tests.benchmarks.gan_step import images, ours


@dataclass(frozen=True)
class Run:
    """What is timed, and where its figure goes."""

    batch: int
    steps: int
    filters: int
    preset: str
    threads: int
    out: str


def work(run: Run, place: Place) -> None:
    """Time the loop on one thread and write the images a second."""
    torch.set_num_threads(run.threads)
    speed = ours(images(place.device), run.batch, run.steps, preset=run.preset, filters=run.filters)
    Folder.from_uri(run.out).write_json("speed.json", {"speed": speed})


def _bare(run: Run) -> None:
    work(run, Place())


def main() -> None:
    """Print both sides and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--steps", type=int, default=40, help="timed, after as many to warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="scarce", choices=list(PRESETS))
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    rounds = []
    with tempfile.TemporaryDirectory() as room:
        out = Folder.from_uri(room)
        run = Run(given.batch, given.steps, given.filters, given.preset, given.threads, room)
        for _ in range(given.rounds):
            alone = multiprocessing.get_context("spawn").Process(target=_bare, args=(run,))
            alone.start()
            alone.join()
            bare = out.read_json("speed.json")["speed"]
            worker_group.run_on_ranks(work, run, 1, out)
            rounds.append((bare, out.read_json("speed.json")["speed"]))
            print(f"bare {rounds[-1][0]:.0f}, in Ray Train {rounds[-1][1]:.0f} images/s", flush=True)
    ratios = [inside / bare for bare, inside in rounds]
    spread = " ".join(f"{ratio:.3f}" for ratio in (min(ratios), statistics.median(ratios), max(ratios)))
    print(f"64 × 64 × 3, {given.preset}, batch {given.batch}, {given.filters} filters, {given.threads} threads")
    print(f"ratio of Ray Train to bare, min median max over {given.rounds} rounds: {spread}")


if __name__ == "__main__":
    main()
