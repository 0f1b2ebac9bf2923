"""Two processes that are the ranks of a training, without Ray, and small trainings for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing as mp

from ganaug_ray.classify import networks
from ganaug_ray.classify import training_loop as classify_loop
from ganaug_ray.config import ClassifierConfig, GanConfig
from ganaug_ray.core import checkpoint
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import BatchFeed
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.gan import training_loop

GAN = GanConfig(steps=6, batch_size=16, filters=8, latent=16, log_every=2, checkpoint_every=3, snapshot_every=100)
PROCESSES: list[ProcessPoolExecutor] = []


def _rank(rank: int, function: Any, args: tuple[Any, ...], rendezvous: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    networks = training_loop.build_networks
    try:
        function(Place(rank, 2), *args)
        dist.barrier()
    finally:
        training_loop.build_networks = networks
        dist.destroy_process_group()


def _quiet() -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # Past the work, torch's own threads were once seen to abort an interpreter that was taking itself down.
    Finalize(None, os._exit, (0,), exitpriority=0)


@pytest.fixture(scope="module", autouse=True)
def ranks() -> Iterator[None]:
    """Two processes for all of these tests: torch takes longer to import than a test to run."""
    PROCESSES[:] = [ProcessPoolExecutor(1, mp.get_context("spawn"), _quiet) for _ in range(2)]
    yield
    for process in PROCESSES:
        process.shutdown()


def on_two_ranks(function: Any, tmp_path: Path, *args: Any) -> None:
    rendezvous = str(tmp_path / "rendezvous")
    futures = [process.submit(_rank, rank, function, args, rendezvous) for rank, process in enumerate(PROCESSES)]
    for future in futures:
        future.result()


def build_cnn() -> networks.CNN:
    torch.manual_seed(0)
    return networks.CNN(1, 10, 0.0)


def train_cnn(
    network: networks.CNN, feed: BatchFeed, config: ClassifierConfig, place: Place, digits: str
) -> tuple[classify_loop.KeptEvaluation, list[dict[str, Any]]]:
    """What was kept, and the rows that were reported."""
    assert config.steps
    rows: list[dict[str, Any]] = []
    val = ResidentImages.load(Folder.from_uri(digits) / "val", place.device)
    return classify_loop.train_classifier(network, feed, val, config, config.steps, 0, place, rows.append), rows


def make_hooks(
    saved: list[checkpoint.Checkpoint], report: Callable[[dict[str, Any]], None] = lambda row: None
) -> training_loop.Hooks:
    """What the GAN's loop calls: its checkpoints are gathered, its snapshots are not wanted."""
    return training_loop.Hooks(report, saved.append, lambda step, average, discriminator: None)
