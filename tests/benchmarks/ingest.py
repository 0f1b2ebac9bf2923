"""How long it takes to get images ready for training, against the usual way: torchvision's ImageFolder and DataLoader.

    python -m tests.benchmarks.ingest [--images 17000] [--rounds 3] [--loaders resident stream] [--folder KEEP]

Both sides run in turn on the same files, each time as a fresh process from its start to its end, with two workers.
The usual way reads and decodes in every epoch; here it is done once, and epochs are read from the store.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

from tests.helpers.dirty import PHOTOGRAPHS

QUALITIES = (95, 90, 85, 80, 75, 70, 65, 60, 55, 50)
BATCH, WORKERS = 64, 2


def photographs(folder: Path, images: int) -> Path:
    """Fill a folder with so many JPEG files of natural size: the photographs, saved again in ten qualities.

    Files that are there already are left alone.
    """
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
    copies, more = divmod(images, len(names))
    work = [(folder, name, copies + (number < more)) for number, name in enumerate(names)]
    with ProcessPoolExecutor() as pool:
        list(pool.map(_save_again, work, chunksize=50))
    return folder


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


def write_job(file: Path, pictures: Path, size: int) -> Path:
    """Write a job to prepare the pictures."""
    data = {"source": str(pictures), "image_size": size}
    file.write_text(json.dumps({"data": data, "gan": {"steps": 1}, "classifier": {"steps": 1}}))  # JSON is YAML
    return file


def usual_way(pictures: str, size: int) -> dict[str, float]:
    """Decode, scale and batch all images once, the way of torchvision's tutorials; returns how many."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
    loader = DataLoader(ImageFolder(pictures, transforms.Compose(steps)), batch_size=BATCH, num_workers=WORKERS)
    return {"images": sum(len(labels) for _, labels in loader)}


def batches(dataset: str, loader: str) -> Callable[[int], object]:
    """Open a loader of the prepared training images; it returns the batch of a step."""
    from ganaug_ray.core.distributed import Place
    from ganaug_ray.data.loading.resident_loader import open_real_feed

    if loader == "stream":
        import ray

        ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    limit = float("inf") if loader == "resident" else 0.0
    return open_real_feed(dataset, BATCH, limit, 0, Place())


def epoch(dataset: str, loader: str) -> dict[str, float]:
    """Read one epoch of the prepared training images; returns how many, and what took how long."""
    started = time.perf_counter()
    counts = json.loads(Path(dataset, "dataset.json").read_text())["counts"]["train"]
    feed = batches(dataset, loader)
    loaded = time.perf_counter()
    images = sum(len(feed(step).y_B) for step in range(-(-sum(counts.values()) // BATCH)))
    return {"images": images, "load": loaded - started, "epoch": time.perf_counter() - loaded}


def timed(command: Iterable[str | Path]) -> dict[str, float]:
    """Run a command; return the JSON object that it prints last, if it does, with its seconds from start to end."""
    alone = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    started = time.perf_counter()
    result = subprocess.run(list(map(str, command)), env=alone, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    last = result.stdout.strip().rpartition("\n")[2]
    return {**(json.loads(last) if last.startswith("{") else {}), "seconds": seconds}


def this(*arguments: object) -> list[str]:
    """Return the command that does one part of this benchmark."""
    return [sys.executable, "-m", "tests.benchmarks.ingest", *map(str, arguments)]


def spread(times: list[float]) -> str:
    """Return lowest, median and highest.

    >>> spread([3, 1, 2.5])
    '    1.00     2.50     3.00'
    """
    return "".join(f"{time:9.2f}" for time in (min(times), statistics.median(times), max(times)))[1:]


def column(rounds: list[dict[str, float]], name: str) -> list[float]:
    """Return one figure of every round."""
    return [figures[name] for figures in rounds]


def compare(room: Path, pictures: Path, rounds: int, size: int, loaders: list[str]) -> Iterator[str]:
    """Run both sides in turn; yield the lines of a report."""
    files = list(pictures.rglob("*.jpg"))
    for file in files:  # so that nobody reads from the disk
        file.read_bytes()
    job, out = write_job(room / "job.yaml", pictures, size), room / "out"
    usual, ours = [], []
    for _ in range(rounds):
        usual.append(timed(this("--part", "usual", pictures, "--size", size)))
        shutil.rmtree(out, ignore_errors=True)
        ours.append(timed([sys.executable, "-m", "ganaug_ray", "prepare", job, "--out", out]))
    assert {int(figures["images"]) for figures in usual} == {len(files)}, "the usual way read them all"
    yield f"{len(files)} JPEG files to {size} × {size}, {rounds} rounds, {os.cpu_count()} cores, page cache warm"
    yield ""
    yield f"{'seconds, with start-up':30}{'min':>8} {'median':>8} {'max':>8}   images/s"
    medians = []
    for name, figures in (("ImageFolder + DataLoader(2)", usual), ("ganaug prepare", ours)):
        medians.append(statistics.median(column(figures, "seconds")))
        yield f"{name:30}{spread(column(figures, 'seconds'))}   {len(files) / medians[-1]:8.0f}"
    yield f"ratio of medians, prepare to the usual way: {medians[1] / medians[0]:.2f}"
    for loader in loaders:
        found = [timed(this("--part", loader, out / "dataset")) for _ in range(rounds)]
        n = found[0]["images"]
        scaled = medians[0] * n / len(files)
        yield ""
        yield f"one epoch of {n:.0f} training images from the store, {loader}; the usual way's share is {scaled:.2f} s"
        for name, figure in (("  loading", "load"), ("  reading", "epoch"), ("  both, with start-up", "seconds")):
            times = column(found, figure)
            middle = statistics.median(times)
            yield f"{name:30}{spread(times)}   {n / middle:8.0f}   ratio {middle / scaled:.3f}"


def main() -> None:
    """Compare, or do one part in this process and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=17_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--loaders", nargs="*", choices=("resident", "stream"), default=["resident"])
    parser.add_argument("--folder", type=Path, help="keep the files here, for the next time")
    parser.add_argument("--part", nargs=2, metavar=("WHICH", "PATH"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part:
        which, path = chosen.part
        figures = usual_way(path, chosen.size) if which == "usual" else epoch(path, which)
        gc.collect()  # iterators of Ray Data that outlive Ray would start another at the very end
        print(json.dumps(figures))
        return
    with tempfile.TemporaryDirectory() as room:
        pictures = photographs((chosen.folder or Path(room)) / f"photographs-{chosen.images}", chosen.images)
        for line in compare(Path(room), pictures, chosen.rounds, chosen.size, chosen.loaders):
            print(line, flush=True)


if __name__ == "__main__":
    main()
