"""How long it takes to get images ready for training, and to read them, against the usual ways of torch.

Both sides of ``ingest`` are whole processes from their start to their end, with two workers, on the same files. The
usual way reads and decodes in every epoch; here it is done once, and epochs are read from the store.
"""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tests.benchmarks.pairs import Benchmark, Pair, Side
from tests.helpers.dirty import PHOTOGRAPHS

if TYPE_CHECKING:
    from ganaug_ray.data.loading.batch import BatchFeed  # it imports torch, which is in the time of some sides

QUALITIES = (95, 90, 85, 80, 75, 70, 65, 60, 55, 50)
IMAGES, SIZE, BATCH, WORKERS = 17_000, 128, 64, 2
EPOCHS = 5  # of an epoch from memory, which takes a fraction of a second


def save_photographs(folder: Path, images: int) -> Path:
    """Fill a folder with JPEG files of natural size: the photographs, saved again in up to ten qualities.

    Those that are there already are left alone.
    """
    pictures = folder / f"photographs-{images}"
    if sum(1 for _ in pictures.rglob("*.jpg")) == images:
        return pictures
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
    copies, more = divmod(images, len(names))
    work = [(pictures, name, copies + (number < more)) for number, name in enumerate(names)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_save_again, work, chunksize=50))
    return pictures


def _save_again(work: tuple[Path, str, int]) -> None:
    folder, name, copies = work
    animal, stem = Path(name).parent.name, Path(name).stem
    (folder / animal).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        photograph = Image.open(io.BytesIO(archive.read(name)))
        for quality in QUALITIES[:copies]:
            file = folder / animal / f"{stem}.q{quality}.jpg"
            if not file.exists():
                photograph.save(file, "JPEG", quality=quality)


def write_job(file: Path, pictures: Path) -> Path:
    """Write a job to prepare the pictures."""
    data = {"source": str(pictures), "image_size": SIZE}
    file.write_text(json.dumps({"data": data, "gan": {"steps": 1}, "classifier": {"steps": 1}}))  # JSON is YAML
    return file


def prepare_photographs(folder: Path, images: int, name: str = "prepared") -> list[str | Path]:
    """Return the command that prepares the photographs anew; what an earlier call prepared is deleted."""
    pictures = save_photographs(folder, images)
    out = folder / f"{name}-{images}"
    shutil.rmtree(out, ignore_errors=True)
    job = write_job(folder / f"{name}-{images}.yaml", pictures)
    return [sys.executable, "-m", "ganaug_ray", "prepare", job, "--out", out]


def time_command(command: Iterable[str | Path]) -> dict[str, float]:
    """Run a command; return the JSON object that it prints last, if it does, with its seconds from start to end."""
    alone = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    started = time.perf_counter()
    result = subprocess.run(list(map(str, command)), env=alone, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    last = result.stdout.strip().rpartition("\n")[2]
    return {**(json.loads(last) if last.startswith("{") else {}), "seconds": seconds}


@contextmanager
def open_ingest(folder: Path) -> Iterator[Mapping[str, Side]]:
    """Both sides of ``ingest``."""
    pictures = save_photographs(folder, IMAGES)
    for file in pictures.rglob("*.jpg"):  # so that nobody reads from the disk
        file.read_bytes()

    def prepare() -> float:
        return IMAGES / time_command(prepare_photographs(folder, IMAGES))["seconds"]

    def read_folder() -> float:
        figures = time_command(_read_in_process("folder", pictures))
        assert figures["images"] == IMAGES, "it read them all"
        return IMAGES / figures["seconds"]

    yield {"ganaug prepare": prepare, "ImageFolder + DataLoader(2)": read_folder}


@contextmanager
def open_stream(folder: Path) -> Iterator[Mapping[str, Side]]:
    """Both sides of ``first-streamed-epoch``, each in a new process; its imports and Ray's start do not count."""
    pictures, dataset = save_photographs(folder, IMAGES), _provide_dataset(folder)

    def read(way: str, path: Path) -> Side:
        def read_epoch() -> float:
            figures = time_command(_read_in_process(way, path))
            return figures["images"] / figures["epoch"]

        return read_epoch

    yield {"streamed from the store": read("stream", dataset), "ImageFolder + DataLoader(2)": read("folder", pictures)}


@contextmanager
def open_epoch(folder: Path) -> Iterator[Mapping[str, Side]]:
    """Both sides of ``epoch``: the prepared training images in memory, as uint8, in this process."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from ganaug_ray.data.loading.resident_loader import ResidentFeed

    feed = _open_feed(_provide_dataset(folder), "resident")
    assert isinstance(feed, ResidentFeed)
    images = len(feed.rows)
    tensors = TensorDataset(feed.rows.images_NHWC.permute(0, 3, 1, 2).contiguous(), feed.rows.labels_N)
    loader = DataLoader(tensors, batch_size=BATCH, shuffle=True)

    def read_store() -> None:
        for step in range(-(-images // BATCH)):
            feed(step)

    def read_loader() -> None:
        for x_BCHW, _ in loader:
            x_BCHW.to(torch.float32).div_(127.5).sub_(1)

    def rate(read: Callable[[], None]) -> Side:
        def read_epochs() -> float:
            started = time.perf_counter()
            for _ in range(EPOCHS):
                read()
            return EPOCHS * images / (time.perf_counter() - started)

        read()
        return read_epochs

    yield {"from the store": rate(read_store), "DataLoader of a TensorDataset": rate(read_loader)}


BENCHMARKS = (
    Benchmark(
        (
            Pair(
                "ingest",
                f"{IMAGES} JPEG files: audit, near-duplicates, decode, {SIZE} px, store, card; beside decoding alone",
                "ganaug prepare", "ImageFolder + DataLoader(2)", "images/s", least=1.6,
            ),
        ),
        open_ingest,
    ),
    Benchmark(
        (
            Pair(
                "first-streamed-epoch",
                f"the first epoch of {SIZE} px from a new process that trains nothing, its imports left out",
                "streamed from the store", "ImageFolder + DataLoader(2)", "images/s", least=4,
            ),
        ),
        open_stream,
    ),
    Benchmark(
        (
            Pair(
                "epoch",
                f"{EPOCHS} epochs of {SIZE} px from memory, without training, one process",
                "from the store", "DataLoader of a TensorDataset", "images/s", least=1.0,
            ),
        ),
        open_epoch,
    ),
)  # fmt: skip


def _provide_dataset(folder: Path) -> Path:
    """Return the data set of the photographs; they are prepared unless ``ingest`` has done so."""
    dataset = folder / f"prepared-{IMAGES}" / "dataset"
    if not (dataset / "dataset.json").exists():
        time_command(prepare_photographs(folder, IMAGES))
    return dataset


def _read_in_process(way: str, path: Path) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.ingest", way, str(path)]


def _read_folder(pictures: str) -> dict[str, float]:
    """Decode, scale and batch all images once, the way of torchvision's tutorials."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    started = time.perf_counter()
    steps = [transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.ToTensor()]
    loader = DataLoader(ImageFolder(pictures, transforms.Compose(steps)), batch_size=BATCH, num_workers=WORKERS)
    return {"images": sum(len(labels) for _, labels in loader), "epoch": time.perf_counter() - started}


def _open_feed(dataset: str | Path, loader: str) -> BatchFeed:
    from ganaug_ray.core.distributed import Place
    from ganaug_ray.data.loading.resident_loader import open_real_feed

    return open_real_feed(str(dataset), BATCH, float("inf") if loader == "resident" else 0.0, 0, Place())


def _stream(dataset: str) -> dict[str, float]:
    """Read one epoch of the prepared training images."""
    import ray

    from ganaug_ray.data.loading import streaming_loader  # noqa: F401  # imported before the clock starts

    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    images = sum(json.loads(Path(dataset, "dataset.json").read_text())["counts"]["train"].values())
    started = time.perf_counter()
    feed = _open_feed(dataset, "stream")
    read = sum(len(feed(step).y_B) for step in range(-(-images // BATCH)))
    return {"images": read, "epoch": time.perf_counter() - started}


if __name__ == "__main__":  # one side of a pair, in a process of its own
    print(json.dumps({"folder": _read_folder, "stream": _stream}[sys.argv[1]](sys.argv[2])))
    gc.collect()  # iterators of Ray Data that outlive Ray would start another at the very end
