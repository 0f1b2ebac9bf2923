"""Images a second of our GAN step against the step as PyTorch's DCGAN tutorial writes it: fp32, two backward passes.

    python -m tests.benchmarks.gan_step [--device cuda] [--batch 128] [--filters 64] [--compile]

Both sides have the tutorial's networks, 64 × 64 RGB, and take their images from a tensor on the device. They run in
turn; a ratio is of two runs that stood next to each other. How busy our steps keep the device is measured afterwards,
in a run of its own, since torch's profiler takes time.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ganaug_ray.config import GanConfig
from ganaug_ray.config.gan_presets import PRESETS
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.gan import training_loop
from tests.benchmarks.step_rates import Contest, Mark, build_parser, measure_rate, print_contests

SIZE, LATENT, IMAGES = 64, 100, 1024


def make_images(device: torch.device) -> torch.Tensor:
    """Something to train on: uniform noise [-1, 1] [IMAGES, 3, SIZE, SIZE]."""
    return torch.rand(IMAGES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).mul(2).sub(1).to(device)


def measure_ours(x_NCHW: torch.Tensor, batch: int, steps: int, place: Place | None = None, **settings: Any) -> float:
    """Return the images a second of our loop; arguments as for ``train_ours``."""
    return measure_rate(functools.partial(train_ours, x_NCHW, batch, steps, place=place, **settings), batch * steps)


def train_ours(
    x_NCHW: torch.Tensor, batch: int, steps: int, mark: Mark, place: Place | None = None, **settings: Any
) -> None:
    """Train with our loop for twice ``steps``; the second half is measured.

    Args:
        x_NCHW: the images; each rank takes its share of a batch from them.
        batch: of all ranks together.
        steps: that are measured.
        mark: called at both ends of them.
        place: of this rank; absent: there is one alone.
        settings: of the GAN.
    """
    config = GanConfig(
        steps=2 * steps, batch_size=batch, log_every=steps, checkpoint_every=10**9, snapshot_every=10**9, **settings
    )
    place = place or Place(device=x_NCHW.device)
    rows = np.arange(batch)[place.slice_rows(batch)]
    y_B = torch.zeros(len(rows), dtype=torch.int64, device=place.device)
    parts = x_NCHW.contiguous(memory_format=torch.channels_last).split(len(rows))
    parts = [part for part in parts if len(part) == len(rows)]

    def next_batch(step: int) -> Batch:
        return Batch(parts[step % len(parts)], y_B, rows, batch)

    def note(row: dict[str, Any]) -> None:
        mark()  # the loop has just waited for the device to give it the row

    hooks = training_loop.Hooks(note, lambda checkpoint: None, lambda step, average, discriminator: None)
    training_loop.train_gan(next_batch, config, training_loop.ImageShape(1, 3, SIZE), 2 * steps, 0, place, None, hooks)


def measure_tutorial(x_NCHW: torch.Tensor, batch: int, steps: int, filters: int, ddp: bool = False) -> float:
    """Return the tutorial's images a second; arguments as for ``train_tutorial``, and with ``ddp`` of this rank."""
    return measure_rate(functools.partial(train_tutorial, x_NCHW, batch, steps, filters, ddp=ddp), batch * steps)


def train_tutorial(x_NCHW: torch.Tensor, batch: int, steps: int, filters: int, mark: Mark, ddp: bool = False) -> None:
    """Train with the tutorial's step, its way of speaking, for twice ``steps``; the second half is measured.

    With ``ddp``, the networks are wrapped as PyTorch's DDP tutorial does it.
    """
    device = x_NCHW.device
    net_g, net_d = _tutorial_networks(filters)
    net_g.to(device).apply(_tutorial_weights)
    net_d.to(device).apply(_tutorial_weights)
    if ddp:
        net_g, net_d = DistributedDataParallel(net_g), DistributedDataParallel(net_d)
    criterion = nn.BCELoss()
    optimizer_d = torch.optim.Adam(net_d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizer_g = torch.optim.Adam(net_g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    parts = [part for part in x_NCHW.split(batch) if len(part) == batch]
    for step in range(2 * steps):
        if step == steps:
            mark()  # the step before has ended with its losses
        label = torch.full((batch,), 1.0, device=device)
        net_d.zero_grad()
        err_real = criterion(net_d(parts[step % len(parts)]).view(-1), label)
        err_real.backward()
        fake = net_g(torch.randn(batch, LATENT, 1, 1, device=device))
        label.fill_(0.0)
        err_fake = criterion(net_d(fake.detach()).view(-1), label)
        err_fake.backward()
        optimizer_d.step()
        net_g.zero_grad()
        label.fill_(1.0)
        err_g = criterion(net_d(fake).view(-1), label)
        err_g.backward()
        optimizer_g.step()
        [err.item() for err in (err_real, err_fake, err_g)]  # it keeps its losses in lists, step by step
    mark()


def _tutorial_networks(filters: int) -> tuple[nn.Module, nn.Module]:
    widths = [filters * 2**level for level in range(4)]
    up: list[nn.Module] = []
    inputs = LATENT
    for level, width in enumerate(reversed(widths)):
        stride, padding = (2, 1) if level else (1, 0)
        up += [nn.ConvTranspose2d(inputs, width, 4, stride, padding, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)]
        inputs = width
    down: list[nn.Module] = [nn.Conv2d(3, filters, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    for outer, inner in itertools.pairwise(widths):
        down += [nn.Conv2d(outer, inner, 4, 2, 1, bias=False), nn.BatchNorm2d(inner), nn.LeakyReLU(0.2, inplace=True)]
    return (
        nn.Sequential(*up, nn.ConvTranspose2d(filters, 3, 4, 2, 1, bias=False), nn.Tanh()),
        nn.Sequential(*down, nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=False), nn.Sigmoid()),
    )


def _tutorial_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def main() -> None:
    """Print a table: each of ours beside the tutorial's step."""
    parser = build_parser(__doc__, batch=(128, 16), steps=(200, 10))
    parser.add_argument("--filters", type=int, default=64 if torch.cuda.is_available() else 16)
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--compile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    x_NCHW = make_images(torch.device(given.device))
    tutorial = functools.partial(train_tutorial, x_NCHW, given.batch, given.steps, given.filters)
    settings = {"conditional": False, "filters": given.filters, "latent": LATENT, "compile": given.compile}
    contests = {}
    for preset, precision in itertools.product(given.presets, given.precision):
        ours = functools.partial(
            train_ours, x_NCHW, given.batch, given.steps, preset=preset, precision=precision, **settings
        )
        name = f"{preset}, {precision}{', compiled' * given.compile}"
        contests[name] = Contest(ours, tutorial, given.batch * given.steps)
    print(f"64 × 64 × 3, {given.filters} filters, ", end="")
    print_contests(contests, "tutorial", given)


if __name__ == "__main__":
    main()
