"""Images a second of a generator's images, uint8 in memory, against its bare forward pass on latents that are there.

    python -m tests.benchmarks.generation [--size 64] [--filters 32] [--blocks 20] [--rounds 5]

Both run in turn in this process, with the same weights, classes and numbers of images.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from ganaug_ray.core import checkpoint
from ganaug_ray.core.records import GeneratorSpec
from ganaug_ray.gan import networks
from ganaug_ray.gan.sampler import BLOCK_SIZE, Generator

LATENT = 100
CLASSES = 10


def main() -> None:
    """Print both sides and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--filters", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spec = GeneratorSpec(
        hash="",
        classes=[str(label) for label in range(CLASSES)],
        channels=3,
        size=given.size,
        latent=LATENT,
        filters=given.filters,
        conditional=True,
    )
    fresh = networks.Generator(LATENT, CLASSES, 3, given.size, given.filters)
    generator = Generator(spec, checkpoint.pack_states({"generator": fresh}), device)
    z_BZ = torch.randn(BLOCK_SIZE, LATENT, device=device)
    y_B = torch.zeros(BLOCK_SIZE, dtype=torch.int64, device=device)

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(given.blocks):
            generator.network(z_BZ, y_B)
        wait()

    def ours() -> None:
        generator.generate("0", given.blocks * BLOCK_SIZE)

    def speed(work: Callable[[], None]) -> float:
        started = time.perf_counter()
        work()
        return given.blocks * BLOCK_SIZE / (time.perf_counter() - started)

    for work in (bare, ours):  # warm up
        work()
    rounds = [(speed(bare), speed(ours)) for _ in range(given.rounds)]
    for one, other in rounds:
        print(f"bare {one:.0f}, generated {other:.0f} images/s")
    ratios = sorted(other / one for one, other in rounds)
    low, middle, high = ratios[0], statistics.median(ratios), ratios[-1]
    print(f"{given.size} × {given.size} × 3, {given.filters} filters, {torch.get_num_threads()} threads, {device.type}")
    print(f"ratio, min median max over {given.rounds} rounds: {low:.3f} {middle:.3f} {high:.3f}")


if __name__ == "__main__":
    main()
