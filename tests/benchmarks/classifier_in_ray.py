"""Images a second of classifier training on two workers: inside Ray Train, without Ray, and as a plain DDP script.

ray:   the train stage's own path, on batches of a prepared data set.
bare:  the same loop in two processes without Ray, gloo between them, batches cut from a tensor that is there.
plain: two processes as one writes them without us: ImageFolder, torchvision's transforms (the same flip, rotation,
       zoom and shift), a DataLoader with a worker process for each rank, DDP over gloo.

All have the same network, optimizer, batch and one thread a rank, each in processes of its own. What is timed are
steps after a warm-up: no start of Ray, of processes or of workers, no preparing, no look at validation. The images are
crops of the two photographs that come with scikit-learn, as JPEG files of 256 pixels a side. A plain script decodes and
shrinks them each time that it sees them.
"""

from __future__ import annotations

import functools
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

from ganaug_ray.classify import networks, train_worker, training_loop
from ganaug_ray.config import ClassifierConfig, DataConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.heap_memory import reuse_freed_memory
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.resident_loader import ResidentImages, open_real_feed
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.runtime import worker_group
from tests.benchmarks.pairs import Benchmark, Pair, Side
from tests.benchmarks.ranks import run_without_ray, start_ray

WORKERS, CLASSES = 2, 2
WARM_UP, STEPS = 30, 60  # in the first seconds of a training Ray still starts processes of its own
SIZE, FILE_SIZE, BATCH, IMAGES = 64, 256, 64, 1000  # images of each class
MOST_GB = 1.0


@dataclass(frozen=True)
class Run:
    """What is timed, and where: ``room`` has the images in ``images`` and ``dataset``, and takes the figure."""

    room: str
    size: int = SIZE
    file_size: int = FILE_SIZE
    batch: int = BATCH
    steps: int = STEPS

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
    with reuse_freed_memory(place.device):
        training_loop.train_classifier(
            _network(run), batches, val, run.config, run.config.count_steps(0), 0, place, lambda row: None
        )


def plain(run: Run, place: Place) -> None:
    """Train as a script does that knows nothing of us, but for the network."""
    from torchvision import datasets, transforms

    config = run.config
    transform = transforms.Compose(
        [
            *([transforms.Resize(run.size)] if run.file_size != run.size else []),
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


def save_crops(folder: Path, size: int, n: int) -> None:
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


@contextmanager
def open_sides(folder: Path) -> Iterator[Mapping[str, Side]]:
    """All three, on the same images."""
    with start_ray(WORKERS), tempfile.TemporaryDirectory(dir=folder) as room:
        run = Run(room)
        save_crops(Path(room) / "images", FILE_SIZE, IMAGES)
        prepare_dataset(DataConfig(source=[f"{room}/images"], image_size=SIZE), Folder.from_uri(room) / "dataset")

        def rate(train: Callable[[], None]) -> Side:
            def train_and_read() -> float:
                train()
                return float(Folder.from_uri(room).read_json("speed.json")["speed"])

            return train_and_read

        yield {
            "in Ray Train": rate(functools.partial(in_ray, run)),
            "bare loop": rate(functools.partial(run_without_ray, bare, run, WORKERS)),
            "plain DDP script": rate(functools.partial(run_without_ray, plain, run, WORKERS)),
        }


def _pair(name: str, peer: str, least: float) -> Pair:
    question = f"training the base CNN, {SIZE} px, batch {BATCH}, {WORKERS} ranks of one thread, beside the {peer}"
    return Pair(name, question, "in Ray Train", peer, "images/s", least)


BENCHMARKS = (
    Benchmark(
        (_pair("classifier-loop", "bare loop", 1.05), _pair("classifier-ddp", "plain DDP script", 1.5)), open_sides
    ),
)
