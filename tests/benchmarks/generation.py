"""Images a second of a generator's images, uint8 in memory, against its bare forward pass on latents that are there.

Both sides have the same weights, classes and numbers of images, in this process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from ganaug_ray.core import checkpoint
from ganaug_ray.core.records import GeneratorSpec
from ganaug_ray.gan import networks
from ganaug_ray.gan.sampler import BLOCK_SIZE, Generator
from tests.benchmarks.pairs import Benchmark, Pair, Side

LATENT, CLASSES, SIZE, FILTERS, BLOCKS = 100, 10, 64, 32, 8


@contextmanager
def open_sides(folder: Path) -> Iterator[Mapping[str, Side]]:
    """Both sides, warmed up."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = GeneratorSpec(
        hash="",
        classes=[str(label) for label in range(CLASSES)],
        channels=3,
        size=SIZE,
        latent=LATENT,
        filters=FILTERS,
        conditional=True,
    )
    fresh = networks.Generator(LATENT, CLASSES, 3, SIZE, FILTERS)
    generator = Generator(spec, checkpoint.pack_states({"generator": fresh}), device)
    z_BZ = torch.randn(BLOCK_SIZE, LATENT, device=device)
    y_B = torch.zeros(BLOCK_SIZE, dtype=torch.int64, device=device)

    @torch.inference_mode()
    def forward() -> None:
        for _ in range(BLOCKS):
            generator.network(z_BZ, y_B)
        if device.type == "cuda":
            torch.cuda.synchronize()

    def generate() -> None:
        generator.generate("0", BLOCKS * BLOCK_SIZE)

    def rate(work: Callable[[], None]) -> Side:
        def time_work() -> float:
            started = time.perf_counter()
            work()
            return BLOCKS * BLOCK_SIZE / (time.perf_counter() - started)

        work()
        return time_work

    yield {"generated": rate(generate), "bare forward": rate(forward)}


BENCHMARKS = (
    Benchmark(
        (
            Pair(
                "generation",
                f"{BLOCKS * BLOCK_SIZE} images of {SIZE} px, {FILTERS} filters; ours draws latents and makes uint8",
                "generated",
                "bare forward",
                "images/s",
                least=0.95,
            ),
        ),
        open_sides,
    ),
)
