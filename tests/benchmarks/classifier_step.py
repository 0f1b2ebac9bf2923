"""Images a second of our classifier's steps against a plain loop over a tensor on the same device.

    python -m tests.benchmarks.classifier_step [--device cuda] [--batch 128] [--archs cnn torchvision:resnet18]

No Ray and no files. Network, optimizer (fused AdamW), memory format (channels last), precision and the amounts of
classic augmentation are the same. The plain loop takes shuffled rows of a float tensor, and draws on the device. Ours
runs as the train stage does: rows of bytes looked up step by step, counted draws, a learning rate that changes, an
average of the weights. How busy our steps keep the device is measured afterwards, in a run of its own.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ganaug_ray.classify import networks, training_loop
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.data.loading.resident_loader import ResidentFeed, ResidentImages
from tests.benchmarks.step_rates import Contest, Mark, build_parser, print_contests

SIZE, CLASSES, IMAGES, VAL_IMAGES = 64, 10, 2048, 64
NEVER = 10**9


def make_images(n: int, device: torch.device) -> ResidentImages:
    """Something to train on: uniform noise, uint8 [n, SIZE, SIZE, 3] on the device, in ten classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, SIZE, SIZE, 3), np.uint8)
    texts = [""] * n
    return ResidentImages(LabelledImages(pixels, np.arange(n) % CLASSES, texts, texts, texts), device)


def build_network(arch: str, device: torch.device) -> networks.Network:
    """Build the network of both sides."""
    torch.manual_seed(0)
    network = networks.build_network(arch, 3, CLASSES, 0.3, networks.choose_input(arch, SIZE, None, False))
    return network.to(device).to(memory_format=torch.channels_last)


def train_ours(images: ResidentImages, arch: str, batch: int, steps: int, mark: Mark, **settings: Any) -> None:
    """Train with our loop for twice ``steps``; the second half is measured.

    Args:
        images: on the device.
        arch: of the network.
        batch: rows of a step.
        steps: that are measured.
        mark: called at both ends of them.
        settings: of the classifier.
    """
    device = images.labels_N.device
    place = Place(device=device)
    # The last step has an evaluation, so there is one more.
    config = ClassifierConfig(
        arch=arch, steps=2 * steps + 1, batch_size=batch, log_every=steps, evaluate_every=NEVER, **settings
    )
    feed = ResidentFeed(images, lambda step: batch * step, place, (0,))

    def note(row: dict[str, Any]) -> None:
        if "val_loss" not in row:
            mark()  # the loop has just waited for the device to give it the row

    network, val = build_network(arch, device), make_images(VAL_IMAGES, device)
    training_loop.train_classifier(network, feed, val, config, 2 * steps + 1, 0, place, note)


def train_plainly(images: ResidentImages, arch: str, batch: int, steps: int, mark: Mark, precision: str) -> None:
    """Train as a plain loop does whose images are a tensor on the device; arguments as for ``train_ours``."""
    x_NCHW, y_N = images.take_rows(slice(None))
    x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
    network = build_network(arch, x_NCHW.device).train()
    config = ClassifierConfig(arch=arch)
    optimizer = torch.optim.AdamW(network.parameters(), config.peak_lr, weight_decay=0.01, fused=True)
    epoch = len(x_NCHW) // batch
    for step in range(2 * steps):
        if step == steps:
            _wait(x_NCHW.device)
            mark()
        if step % epoch == 0:
            order = torch.randperm(len(x_NCHW), device=x_NCHW.device)[: epoch * batch].view(epoch, batch)
        rows_B = order[step % epoch]
        optimizer.zero_grad()
        x_BCHW = augment_plainly(x_NCHW[rows_B], config)
        with torch.autocast(x_NCHW.device.type, torch.bfloat16, enabled=precision == "bf16"):
            logits_BK = network(x_BCHW)
        F.cross_entropy(logits_BK.float(), y_N[rows_B]).backward()
        optimizer.step()
    _wait(x_NCHW.device)
    mark()


def augment_plainly(x_BCHW: torch.Tensor, config: ClassifierConfig) -> torch.Tensor:
    """Flip, rotate, zoom and shift float images [B, C, H, W] at random, as much as our own augmentation does."""
    flip_B, angle_B, zoom_B, across_B, down_B = torch.rand(5, len(x_BCHW), device=x_BCHW.device) * 2 - 1
    angle_B = angle_B * math.radians(config.rotate)
    zoom_B = 1 + zoom_B * config.zoom
    cos_B, sin_B = angle_B.cos() / zoom_B, angle_B.sin() / zoom_B
    across_row = torch.stack([cos_B * flip_B.sign(), -sin_B, 2 * config.shift * across_B], 1)
    down_row = torch.stack([sin_B * flip_B.sign(), cos_B, 2 * config.shift * down_B], 1)
    grid = F.affine_grid(torch.stack([across_row, down_row], 1), list(x_BCHW.shape), align_corners=False)
    return F.grid_sample(x_BCHW, grid, padding_mode="border", align_corners=False)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Print a table: each of ours beside the plain loop."""
    parser = build_parser(__doc__, batch=(128, 64), steps=(200, 20))
    parser.add_argument("--archs", nargs="+", default=["cnn"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    images = make_images(IMAGES, torch.device(given.device))
    contests = {}
    for arch, precision in itertools.product(given.archs, given.precision):
        ours, peer = (
            functools.partial(train, images, arch, given.batch, given.steps, precision=precision)
            for train in (train_ours, train_plainly)
        )
        contests[f"{arch}, {precision}"] = Contest(ours, peer, given.batch * given.steps)
    print(f"{SIZE} × {SIZE} × 3, ", end="")
    print_contests(contests, "tensor", given)


if __name__ == "__main__":
    main()
