"""What 8, 64 and 512 GPUs would do: step times measured here, gradients counted, the network assumed.

    python -m tests.benchmarks.scaling [--device cuda] [--faster 100] [--steps 8] [--threads 1]

Measured on this device: a step with the batch of one GPU, and the random draws of a step, of the last rank's
rows. Counted: the bytes of gradients that the ranks exchange in a step, fp32, and in how many goes.
Assumed, and printed: GPUs a machine, what the machines' network carries, and its latency.

Of n ranks on m machines a ring carries 2 (n - 1) / n times the gradients past each of them, over the slowest link, and
takes 2 (m - 1) hops for each go (between GPUs of one machine hops count as nothing). A step then takes
    measured step + draws of n batches - draws of one + exchange,
as if nothing of the exchange were done beside the backward pass, though DDP does most of it there: so this is the
least to be expected. ``--faster 100`` does the same for a device whose steps take a hundredth of those measured.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ganaug_ray.classify import batch_augmentation, networks
from ganaug_ray.classify import training_loop as classifying
from ganaug_ray.config import ClassifierConfig, GanConfig
from ganaug_ray.core import rng
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.gan import training_loop as drawing

GPUS = (1, 8, 64, 512)
CLASSES, WARM_UP = 10, 2
BUCKET = 25 * 2**20  # bytes: DDP's, after a first one of a megabyte


@dataclass(frozen=True)
class Network:
    """What connects the GPUs: as stated, not measured.

    Attributes:
        machine: GPUs in one.
        inside: bytes a second between two of them, each way.
        between: bytes a second that a machine sends to the others.
        hop: seconds until the first byte is there.
    """

    machine: int = 8
    inside: float = 300e9
    between: float = 100e9 / 8
    hop: float = 20e-6

    def exchange(self, gradients: int, goes: int, n: int) -> float:
        """Seconds in which n ranks average so many bytes, in so many goes."""
        machines = math.ceil(n / self.machine)
        slowest = self.inside if machines == 1 else self.between
        return 2 * (n - 1) / n * gradients / slowest + goes * 2 * (machines - 1) * self.hop


@dataclass(frozen=True)
class Measured:
    """One training: its batch a GPU, seconds a step and of the draws for so many batches, and what is exchanged."""

    name: str
    batch: int
    step: float
    draws: dict[int, float]
    gradients: int
    goes: int

    def time(self, n: int, network: Network, faster: float) -> float:
        """Seconds that a step of n GPUs takes, each with its batch."""
        own = self.draws[n] - self.draws[1]  # by the CPU, whatever the device
        return self.step / faster + own + network.exchange(self.gradients, self.goes, n)


def gan(size: int, batch: int, steps: int, device: torch.device) -> Measured:
    """Measure the GAN of the preset scarce, conditional, with its default width."""
    total = WARM_UP + steps
    config = GanConfig(
        steps=total + 1, batch_size=batch, log_every=1, checkpoint_every=10**9, snapshot_every=10**9, early_end=False
    )
    shape, place = drawing.ImageShape(CLASSES, 3, size), Place(device=device)
    own = drawing.build_networks(config, shape, 0, place)
    generator = torch.Generator().manual_seed(0)
    x_BCHW = torch.rand(batch, 3, size, size, generator=generator).mul(2).sub(1).to(device)
    y_B, times = torch.arange(batch, device=device) % CLASSES, list[float]()
    given = Batch(x_BCHW.contiguous(memory_format=torch.channels_last), y_B, np.arange(batch), batch)
    hooks = drawing.Hooks(lambda row: times.append(time.perf_counter()), lambda one: None, lambda *one: {})
    drawing.train_gan(lambda step: given, config, shape, total + 1, 0, place, None, hooks)

    def draw(n: int) -> None:
        rows = Batch(x_BCHW, y_B, np.arange(batch * (n - 1), batch * n), batch * n)
        drawing.draw_step(config.latent, len(config.recipe.augment), rows, (0, "gan", 0), Place())

    return Measured(f"GAN scarce, {size} px", batch, _between(times), _draws(draw), *_gradients(own))


def classifier(arch: str, name: str, size: int, batch: int, steps: int, device: torch.device) -> Measured:
    """Measure a classifier with its default augmentation."""
    total = WARM_UP + steps
    config = ClassifierConfig(arch=arch, steps=total + 1, batch_size=batch, log_every=1, evaluate_every=10**9)
    place = Place(device=device)
    wanted = networks.choose_input(arch, size, size, False)
    network = networks.build_network(arch, 3, CLASSES, config.dropout, wanted).to(device)
    network.to(memory_format=torch.channels_last)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (batch, size, size, 3), np.uint8)
    names = [str(row) for row in range(batch)]
    rows = ResidentImages(image_store.LabelledImages(images, np.arange(batch) % CLASSES, names, names, names), device)
    x_BCHW, y_B = rows.take_rows(slice(None))
    given = Batch(x_BCHW, y_B, np.arange(batch), batch)
    val = ResidentImages(image_store.LabelledImages(images[:2], np.arange(2), names[:2], names[:2], names[:2]), device)
    times: list[float] = []
    classifying.train_classifier(
        network, lambda step: given, val, config, total + 1, 0, place,
        lambda row: times.append(time.perf_counter()),
    )  # fmt: skip

    def draw_all(n: int) -> None:
        rows = np.arange(batch * (n - 1), batch * n)
        rng.draw_uniform_rows(rows, (batch_augmentation.DRAWS_PER_ROW,), 0, "augment", 0)

    return Measured(name, batch, _between(times), _draws(draw_all), *_gradients([network]))


def _between(times: Sequence[float]) -> float:
    """The median of the seconds between reports, without the first ones and the last, before which others come."""
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return statistics.median(gaps[WARM_UP - 1 : -1])


def _draws(draw: Callable[[int], Any]) -> dict[int, float]:
    """Seconds of the draws for so many batches: medians of five."""
    found = {}
    for n in GPUS:
        taken = []
        for _ in range(5):
            started = time.perf_counter()
            draw(n)
            taken.append(time.perf_counter() - started)
        found[n] = statistics.median(taken)
    return found


def _gradients(trained: Sequence[nn.Module]) -> tuple[int, int]:
    """Bytes of gradients, and the goes in which they are exchanged."""
    sizes = [4 * sum(weight.numel() for weight in one.parameters() if weight.requires_grad) for one in trained]
    return sum(sizes), sum(1 + math.ceil(max(0, size - 2**20) / BUCKET) for size in sizes)


def main() -> None:
    """Print what was measured, what is assumed, and what follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--faster", type=float, default=100, help="times that another device's steps are shorter")
    parser.add_argument("--steps", type=int, default=8, help="timed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--large", type=int, default=32, help="batch a GPU of ResNet-50")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, network = torch.device(given.device), Network()
    steps = given.steps
    found = [
        gan(32, 64, steps, device),
        gan(64, 64, steps, device),
        classifier("cnn", "base CNN, 32 px", 32, 64, steps, device),
        classifier("cnn", "base CNN, 64 px", 64, 64, steps, device),
        classifier("timm:resnetv2_50", "ResNet-50, 224 px", 224, given.large, max(2, steps // 4), device),
    ]
    where = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {given.threads} thread(s)"
    print(f"Measured: {where}. Assumed: {network}\n")
    print("| | batch a GPU | step, measured | gradients | exchanged in | draws of 1 and 512 batches |")
    print("|---|---|---|---|---|---|")
    for one in found:
        print(
            f"| {one.name} | {one.batch} | {1e3 * one.step:.0f} ms | {one.gradients / 1e6:.2f} MB | {one.goes} goes | "
            f"{1e3 * one.draws[1]:.2f} and {1e3 * one.draws[512]:.1f} ms |"
        )
    print("\n| exchange, ms | " + " | ".join(f"{n} GPUs" for n in GPUS[1:]) + " |\n|---|---|---|---|")
    for one in found:
        cells = (f"{1e3 * network.exchange(one.gradients, one.goes, n):.2f}" for n in GPUS[1:])
        print(f"| {one.name} | {' | '.join(cells)} |")
    for faster, words in ((1.0, "as measured"), (given.faster, f"of {given.faster:g} times shorter steps, assumed")):
        print(f"\n| images a second (share of n times one), {words} | " + " | ".join(map(str, GPUS)) + " |")
        print("|---|---|---|---|---|")
        for one in found:
            alone = one.time(1, network, faster)
            cells = (
                f"{n * one.batch / one.time(n, network, faster):,.0f} ({alone / one.time(n, network, faster):.0%})"
                for n in GPUS
            )
            print(f"| {one.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
