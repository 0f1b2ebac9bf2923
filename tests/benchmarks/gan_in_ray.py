"""Images a second of the GAN's loop inside Ray Train, without Ray, and beside PyTorch's DCGAN tutorial under DDP.

All train on a tensor that is there, with one thread a rank; what is timed are steps after as many to warm up. In the
first seconds of a training Ray still starts processes of its own, which a training of thousands of steps does not feel;
so there are enough to outlast that. Beside the bare loop it is the scarce-data preset on one rank; beside the tutorial,
its networks and losses on two.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ganaug_ray.core.distributed import Place
from ganaug_ray.core.heap_memory import reuse_freed_memory
from ganaug_ray.core.storage import Folder
from ganaug_ray.runtime import worker_group
from tests.benchmarks.gan_step import LATENT, SIZE, make_images, measure_ours, measure_tutorial
from tests.benchmarks.pairs import Benchmark, Pair, Side
from tests.benchmarks.ranks import run_without_ray, start_ray

FILTERS = 16


@dataclass(frozen=True)
class Run:
    """What is timed, and where its figure goes."""

    preset: str
    ranks: int
    steps: int
    room: str
    batch: int = 16
    """Of each rank."""

    def train(self, place: Place) -> float:
        """Train with our loop; return the images a second of all ranks."""
        torch.set_num_threads(1)
        published = {"conditional": False, "latent": LATENT} if self.preset == "dcgan" else {}
        with reuse_freed_memory(place.device):
            return measure_ours(
                make_images(place.device), self.batch * self.ranks, self.steps, place,
                preset=self.preset, filters=FILTERS, **published,
            )  # fmt: skip

    def train_tutorial(self, place: Place) -> float:
        """Train as the tutorial does."""
        torch.set_num_threads(1)
        speed = measure_tutorial(make_images(place.device), self.batch, self.steps, FILTERS, place.world_size > 1)
        return speed * self.ranks


def ours(run: Run, place: Place) -> None:
    """Train with our loop and write the images a second."""
    _write_speed(run, place, run.train(place))


def tutorial(run: Run, place: Place) -> None:
    """Train as the tutorial does and write the images a second."""
    _write_speed(run, place, run.train_tutorial(place))


def _write_speed(run: Run, place: Place, speed: float) -> None:
    if place.is_first:
        Folder.from_uri(run.room).write_json("speed.json", {"speed": speed})


@contextmanager
def open_sides(preset: str, ranks: int, steps: int, peer: str, folder: Path) -> Iterator[Mapping[str, Side]]:
    """The loop in Ray Train, and its peer in plain processes."""
    with start_ray(2), tempfile.TemporaryDirectory(dir=folder) as room:
        run, out = Run(preset, ranks, steps, room), Folder.from_uri(room)

        def rate(train: Callable[[], None]) -> Side:
            def train_and_read() -> float:
                train()
                return float(out.read_json("speed.json")["speed"])

            return train_and_read

        work = tutorial if peer == "tutorial under DDP" else ours
        yield {
            "in Ray Train": rate(functools.partial(worker_group.run_on_ranks, ours, run, ranks, out)),
            peer: rate(functools.partial(run_without_ray, work, run, ranks)),
        }


def _benchmark(name: str, preset: str, ranks: int, steps: int, peer: str, least: float) -> Benchmark:
    question = f"GAN {preset}, {SIZE} px, {FILTERS} filters, batch 16 on each of {ranks} rank(s), beside the {peer}"
    pair = Pair(name, question, "in Ray Train", peer, "images/s", least)
    return Benchmark((pair,), functools.partial(open_sides, preset, ranks, steps, peer))


BENCHMARKS = (
    _benchmark("gan-loop", "scarce", 1, 100, "bare loop", 0.98),
    _benchmark("gan-ddp", "dcgan", 2, 120, "tutorial under DDP", 1.3),
)
