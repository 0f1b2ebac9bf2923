"""Images a second of classifier training on two workers: inside Ray Train, without Ray, and as a plain DDP script.

    python -m tests.benchmarks.classifier_in_ray [--size 64] [--found 256] [--steps 60] [--rounds 3]

ray:   the train stage's own path: ranks.run, worker.work, batches of a prepared data set.
bare:  the same loop in two processes without Ray, gloo between them, batches cut from a tensor that is there.
plain: two processes as one writes them without us: ImageFolder, torchvision's transforms (the same flip, rotation,
       zoom and shift), a DataLoader with a worker process for each rank, DDP over gloo.

All have the same network, optimizer, batch and one thread a rank. They run in turn, each in processes of its own; a
ratio is of two runs that stood next to each other. What is timed are steps after a warm-up: no start of Ray, of
processes or of workers, no preparing, no look at validation. The images are crops of the two photographs that come
with scikit-learn, as JPEG files of --found pixels a side. A plain script decodes and shrinks them each time that it
sees them; --found 64 spares it most of that.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import distributed as dist
from torch import multiprocessing as mp
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from ganaug_ray.classify import networks, train_worker, training_loop
from ganaug_ray.config import ClassifierConfig, DataConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.resident_loader import ResidentImages, open_real_feed
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.runtime import worker_group

WORKERS, CLASSES = 2, 2
WARM_UP = 20  # steps
MOST_GB = 1.0


@dataclass(frozen=True)
class Run:
    """What is timed, and where: ``room`` has the images in ``images`` and ``dataset``, and takes the figure."""

    size: int
    found: int
    batch: int
    steps: int
    room: str

    @property
    def config(self) -> ClassifierConfig:
        """A step more than is timed, since the last one's end is nowhere told."""
        steps = WARM_UP + self.steps + 1
        return ClassifierConfig(steps=steps, batch_size=self.batch, workers=WORKERS, evaluate_every=10**9)


class Clock:
    """Told of the beginning of each step, it writes the images a second of those after the warm-up."""

    def __init__(self, run: Run, place: Place) -> None:
        assert torch.get_num_threads() == 1, "one thread a rank on every side"
        self._run, self._place, self._started = run, place, 0.0

    def begins(self, step: int) -> None:
        """Note that a step begins, on this rank."""
        if step == WARM_UP:
            self._started = time.perf_counter()
        if step == WARM_UP + self._run.steps and self._place.is_first:
            speed = self._run.batch * self._run.steps / (time.perf_counter() - self._started)
            Folder.from_uri(self._run.room).write_json("speed.json", {"speed": speed})


@dataclass(frozen=True)
class Timed(BatchFeed):
    """Another feed's batches, and a clock that is told of them."""

    feed: BatchFeed
    clock: Clock

    def count_rows(self, step: int) -> int:
        """Rows of the global batch of a step."""
        return self.feed.count_rows(step)

    def __call__(self, step: int) -> Batch:
        """Return this rank's part of a step's global batch."""
        self.clock.begins(step)
        return self.feed(step)


def timed_batches(run: Run, place: Place) -> BatchFeed:
    """Batches as the train stage has them, with a clock."""
    return Timed(open_real_feed(f"{run.room}/dataset", run.batch, MOST_GB, 0, place), Clock(run, place))


def in_ray(run: Run) -> None:
    """Train as the train stage does."""
    out = Folder.from_uri(run.room) / "model"
    fit = train_worker.ClassifierTraining(
        "real", 0, run.config, f"{run.room}/dataset", str(out.create()), functools.partial(timed_batches, run), {}
    )
    worker_group.run_on_ranks(train_worker.train_and_finish, fit, WORKERS, out)


def bare(run: Run, place: Place) -> None:
    """Train with the loop alone, on a tensor."""
    rows = ResidentImages.load(Folder.from_uri(run.room) / "dataset" / "train", place.device)
    x_NCHW, y_N = rows.take_rows(slice(None))
    share = place.slice_rows(run.batch)
    parts = [
        Batch(x_BCHW, y_B, np.arange(run.batch)[share], run.batch)
        for x_BCHW, y_B in zip(x_NCHW.split(share.stop - share.start), y_N.split(share.stop - share.start), strict=True)
    ][:-1]
    clock = Clock(run, place)

    def batches(step: int) -> Batch:
        clock.begins(step)
        return parts[step % len(parts)]

    val = ResidentImages.load(Folder.from_uri(run.room) / "dataset" / "val", place.device)
    training_loop.train_classifier(
        _network(run), batches, val, run.config, run.config.count_steps(0), 0, place, lambda row: None
    )


def plain(run: Run, place: Place) -> None:
    """Train as a script does that knows nothing of us, but for the network."""
    from torchvision import datasets, transforms

    config = run.config
    transform = transforms.Compose(
        [
            *([transforms.Resize(run.size)] if run.found != run.size else []),
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(
                config.rotate,
                (config.shift, config.shift),
                (1 - config.zoom, 1 + config.zoom),
                interpolation=transforms.InterpolationMode.BILINEAR,
            ),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    folder = datasets.ImageFolder(f"{run.room}/images", transform)
    sampler: DistributedSampler = DistributedSampler(folder)
    loader = DataLoader(
        folder, run.batch // WORKERS, sampler=sampler, num_workers=1, drop_last=True, persistent_workers=True
    )
    model = DistributedDataParallel(_network(run)).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.peak_lr, weight_decay=config.effective_weight_decay, fused=True
    )
    clock, step = Clock(run, place), 0
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        batches = iter(loader)
        for _ in range(len(loader)):
            clock.begins(step)
            step += 1
            if step == config.steps:
                return
            x_BCHW, y_B = next(batches)
            optimizer.zero_grad()
            F.cross_entropy(model(x_BCHW.to(memory_format=torch.channels_last)), y_B).backward()
            optimizer.step()


def _network(run: Run) -> networks.Network:
    torch.manual_seed(0)
    network = networks.build_network("cnn", 3, CLASSES, run.config.dropout, networks.NetworkInput(run.size))
    return network.to(memory_format=torch.channels_last)


def without_ray(work: Callable[[Run, Place], None], run: Run) -> None:
    """Do the work on as many ranks as Ray Train does, in processes of their own."""
    with tempfile.TemporaryDirectory() as meeting:
        mp.spawn(_rank, args=(work, run, f"{meeting}/rendezvous"), nprocs=WORKERS)


def _rank(rank: int, work: Callable[[Run, Place], None], run: Run, rendezvous: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # a name of this machine may lead nowhere
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=WORKERS)
    work(run, Place(rank, WORKERS))
    dist.barrier()
    os._exit(0)  # torch's own threads were once seen to abort an interpreter that was taking itself down


def photographs(folder: Path, size: int, n: int) -> None:
    """Write so many crops of each of two photographs, a class each."""
    rng = np.random.default_rng(0)
    sample: Any = load_sample_images()
    for name, photograph in zip(sample.filenames, sample.images, strict=True):
        own = folder / Path(name).stem
        own.mkdir(parents=True)
        for number in range(n):
            top, left = (int(rng.integers(0, side - size)) for side in photograph.shape[:2])
            crop = Image.fromarray(photograph[top : top + size, left : left + size])
            crop.save(own / f"{number}.jpg", quality=90)


def main() -> None:
    """Print every side and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--found", type=int, default=256, help="side of the images in the folder")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--images", type=int, default=1000, help="of each class")
    parser.add_argument("--steps", type=int, default=60, help=f"timed, after {WARM_UP} to warm up")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    ray.init(
        address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False,
        # Else 15: where others compute too, all but Ray's workers would get the cores.
        _system_config={"worker_niceness": 0},
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as room:
        run = Run(given.size, given.found, given.batch, given.steps, room)
        photographs(Path(room) / "images", given.found, given.images)
        prepare_dataset(DataConfig(source=[f"{room}/images"], image_size=given.size), Folder.from_uri(room) / "dataset")
        sides: dict[str, Callable[[Run], None]] = {
            "bare": functools.partial(without_ray, bare),
            "ray": in_ray,
            "plain": functools.partial(without_ray, plain),
        }
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(given.rounds):
            for name, side in sides.items():
                side(run)
                speeds[name].append(Folder.from_uri(room).read_json("speed.json")["speed"])
            print(", ".join(f"{name} {own[-1]:.0f}" for name, own in speeds.items()), "images/s", flush=True)
    facts = f"{given.size} × {given.size} × 3 from files of {given.found} × {given.found}"
    print(f"{facts}, base CNN, batch {given.batch}, {WORKERS} ranks of one thread each")
    print(
        "min median max over the rounds, images/s: " + "; ".join(f"{k} {_spread(v, '.0f')}" for k, v in speeds.items())
    )
    for other in ("bare", "plain"):
        ratios = [ours / theirs for ours, theirs in zip(speeds["ray"], speeds[other], strict=True)]
        print(f"ratio of ray to {other}: {_spread(ratios, '.3f')}")


def _spread(values: list[float], form: str) -> str:
    return " ".join(format(value, form) for value in (min(values), statistics.median(values), max(values)))


if __name__ == "__main__":
    main()
