"""What the driver itself does as images and workers grow: no image is read, and no network trained.

    python -m tests.benchmarks.driver rows [--rows 10000 100000 1000000 10000000]
    python -m tests.benchmarks.driver workers [--workers 1 4 16 64 256] [--rows 10000000]

rows:    `prepare` of a CSV manifest of so many rows, as it is, but for the workers: their tables of findings are made
         up here, one image in a hundred is an exact copy of another and one in a hundred nearly one, and all hashes
         else are as far apart as chance has it. Then the look at the store that it would have written, and the plan of
         an epoch for one rank of 256.
workers: what there is to do for each of so many logical workers: the plan of an epoch for every rank, the verdict
         on what the nodes report, a look at the logs of as many models that train side by side, and run.json of them.

Each size has a process of its own, whose peak of memory is told, and which is asked for CPU time: of one thread or
several, and without waiting for others on the machine. Time that the system spends for the process is told apart: most
of it goes into giving it fresh memory, which takes a virtual machine ten times as long as a real one. The exponent is
the slope between the last two sizes on logarithmic axes: 1 is linear.
"""

from __future__ import annotations

import argparse
import csv
import functools
import itertools
import json
import math
import multiprocessing
import os
import pickle
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa

from ganaug_ray.config import DataConfig, Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import RunRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import prepare, sources
from ganaug_ray.data.ingest import audit, exact_duplicates, near_duplicates, scan, shard_writer
from ganaug_ray.data.loading import image_store, stream_plan
from ganaug_ray.pipeline import progress
from ganaug_ray.runtime import preflight
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.preflight import Node, NodeReport
from tests.conftest import DIGITS
from tests.helpers import records

Seconds = Counter[str]
SYSTEM = " (system)"

CLASSES = 10
SIDE = 32  # pixels
RANKS = 256
LINES = 200  # that a model has logged


def rows_of(n: int, room: Path) -> Seconds:
    """Take the CPU time of each part of preparing ``n`` images, and of planning an epoch of them."""
    manifest = room / "list.csv"
    with manifest.open("w") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label"])
        writer.writerows((f"pictures/{row:08d}.jpg", f"class {row % CLASSES}") for row in range(n))
    spent: Seconds = Counter()
    workers = Workers(n)
    config = DataConfig(source=[str(manifest)], image_size=SIDE)
    parts = {
        "list the source": (sources, "list_parts"),
        "leave out copies": (exact_duplicates, "reject_copies"),
        "near-duplicates": (near_duplicates, "find_groups"),
        "deal out": (scan, "_assign_splits"),
        "plan the shards": (shard_writer, "plan_shards"),
        "hash and counts": (prepare, "_build_record"),
        "tables and card": (prepare, "_write_description"),
    }
    with ExitStack() as stack:
        for name, (place, function) in parts.items():
            stack.enter_context(_timed(spent, workers, name, place, function))
        stack.enter_context(mock.patch.object(shard_writer, "read_pixels", _black))
        stack.enter_context(mock.patch.object(shard_writer, "read_thumbnails", _same_thumbs))
        with _taking(spent, "all of prepare", workers, system=True):
            prepare.prepare_dataset(config, Folder.from_uri(room / "dataset").create(), workers.each)
    spent["merge and sort what workers found"] = spent["all of prepare"] - sum(spent[name] for name in parts)
    spent["(workers: search near-duplicates)"] = workers.searching[0]
    shards = _shards(n, room / "store")
    with _taking(spent, "look at the store"):
        found = image_store.list_shards(Folder.from_uri(shards))
    with _taking(spent, f"plan an epoch, a rank of {RANKS}"):
        stream_plan.plan_epoch(found.row_counts, 0, (0,), RANKS, RANKS - 1, RANKS)
    return spent


class Workers:
    """Stand-ins for those who read: what each says of its part is made up, and costs the driver its unpacking."""

    def __init__(self, images: int) -> None:
        self.seconds = np.zeros(2)
        self.searching = np.zeros(2)
        draw = np.random.default_rng(0)
        self._hashes = draw.integers(0, 2**64, images, np.uint64)
        again = np.arange(100, images, 100)
        self._hashes[again] = self._hashes[again - 1] ^ np.uint64(0b101)
        self._images = itertools.count()

    def each(self, function: Any, things: Sequence[Any]) -> Iterator[Any]:
        """Do what spread.Each does."""
        name = function.func.__name__
        for thing in things:
            started = _now()
            if name == "audit_part":
                result = pickle.dumps(self._findings(*thing))
            elif name == "write_shard":
                result = pickle.dumps(np.ones((1, 3)))
            else:  # the search for near-duplicates, which is real
                result = pickle.dumps(function(thing))
                self.searching += _now() - started
            self.seconds += _now() - started
            yield pickle.loads(result)  # noqa: S301  # its own, four lines above

    def _findings(self, name: str, part: Any) -> pa.Table:
        listed = part.read.args[2].args[1]  # sources._read_part(…, manifests._read_listed(source, rows))
        numbers = list(itertools.islice(self._images, len(listed)))
        alike = [number - 1 if number % 100 == 50 else number for number in numbers]
        columns: dict[str, Any] = {}
        for field in fields(audit.ImageRecord):
            columns[field.name] = [None if field.default is MISSING else field.default] * len(listed)
        columns |= {
            "path": [row.image for row in listed],
            "provenance": ["list.csv"] * len(listed),
            "label": [row.label.name if number % 100 != 50 else f"class {(number - 1) % CLASSES}"
                      for number, row in zip(numbers, listed, strict=True)],
            "reason": [None] * len(listed),
            "detail": [""] * len(listed),
            "id": [f"{(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for number in alike],
            "given": [None] * len(listed),
            "width": [SIDE] * len(listed),
            "height": [SIDE] * len(listed),
            "format": ["JPEG"] * len(listed),
            "note": [""] * len(listed),
            "dtype": [""] * len(listed),
            "channels": [1] * len(listed),
            "hash": self._hashes[numbers],
            "file": [name] * len(listed),
            "rank": range(len(listed)),
            "offset": range(0, len(listed) * SIDE**2, SIDE**2),
        }  # fmt: skip
        return pa.Table.from_pydict({key: list(values) for key, values in columns.items()}, schema=audit.RECORD_SCHEMA)


def _black(staged: Folder, rows: pa.Table, size: int, channels: int) -> np.ndarray:
    return np.zeros((len(rows), size, size, channels), np.uint8)


def _same_thumbs(staged: Folder, rows: pa.Table) -> np.ndarray:
    return np.zeros((len(rows), near_duplicates.THUMB_BYTES), np.uint8)


def _shards(n: int, folder: Path) -> Path:
    """A store of so many rows, each of one pixel: one file, under many names."""
    most = image_store.count_shard_rows(SIDE**2)
    first = image_store.LabelledImages(
        np.zeros((most, 1, 1, 1), np.uint8), np.zeros(most, np.int64), *([["x" * 32] * most] * 3)
    )
    image_store.write_shard(Folder.from_uri(folder).create(), 0, first, "real")
    for number in range(1, math.ceil(n / most)):
        os.link(folder / "part-00000.parquet", folder / f"part-{number:05d}.parquet")
    return folder


def workers_of(n: int, rows: int, room: Path) -> Seconds:
    """Take the CPU time of what there is to do for each of ``n`` workers."""
    spent: Seconds = Counter()
    shards = np.full(math.ceil(rows / image_store.count_shard_rows(SIDE**2)), image_store.count_shard_rows(SIDE**2))
    with _taking(spent, "plan an epoch, all ranks"):
        for rank in range(n):
            stream_plan.plan_epoch(shards, 0, (0,), n * 64, rank, n)
    job, here = load_job(DIGITS, [f"gan.workers={n}", "gan.batch_size=256"]), preflight.collect_versions()
    nodes = [Node(f"10.0.{node // 250}.{node % 250}", NodeReport(here), {"CPU": 4, "GPU": 1}) for node in range(n)]
    with _taking(spent, "judge the nodes"):
        assert not preflight.find_node_faults(nodes, here)
        assert not preflight.find_shortages(job, Hardware.from_ray([node.resources for node in nodes], {}), str(n))
    run = _logged(job, n, Folder.from_uri(room / "experiment"))
    folders = [run.locate_model("real", seed) for seed in range(n)]
    with _taking(spent, "how far all models are, a look"):
        progress.read_fit_progress([(folder, LINES) for folder in folders])
    for folder in folders:
        records.write_model(folder)
    with _taking(spent, "run.json"):
        RunRecord.write(run)
    return spent


def _logged(job: Job, n: int, root: Folder) -> experiment_dir.Run:
    """An experiment of so many models that train, each with its log."""
    run = experiment_dir.Run(root.create())
    run.claim_folder(job)
    line = {"loss": 0.123456, "lr": 0.001, "images_per_second": 1234.5}
    text = "".join(json.dumps({"step": step, **line}) + "\n" for step in range(1, LINES + 1))
    for seed in range(n):
        run.locate_model("real", seed).write_bytes("metrics.jsonl", text.encode())
    return run


def _now() -> np.ndarray:
    """CPU time of this process, its own and the system's for it, in seconds: float64 [2]."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return np.array([used.ru_utime, used.ru_stime])


@contextmanager
def _taking(spent: Seconds, name: str, workers: Workers | None = None, system: bool = False) -> Iterator[None]:
    """Add the CPU time of a block, without that of the workers in it; the system's too, under a name of its own."""
    before, theirs = _now(), workers.seconds.copy() if workers else 0.0
    yield
    own, systems = _now() - before - ((workers.seconds if workers else 0.0) - theirs)
    spent[name] += own
    if system:
        spent[name + SYSTEM] += systems


def _timed(spent: Seconds, workers: Workers, name: str, place: Any, function: str) -> Any:
    whole = getattr(place, function)

    @functools.wraps(whole)
    def timed(*arguments: Any, **named: Any) -> Any:
        with _taking(spent, name, workers):
            found = whole(*arguments, **named)
            return iter(list(found)) if isinstance(found, Iterator) else found

    return mock.patch.object(place, function, timed)


def _in_a_process(work: Callable[[Path], Seconds], answer: Any) -> None:
    with tempfile.TemporaryDirectory() as room:
        spent = work(Path(room))
    answer.send((spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measured(work: Callable[[Path], Seconds]) -> tuple[Seconds, float]:
    """Return what a fresh process says, and the peak of its memory in MiB."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_in_a_process, args=(work, theirs))
    process.start()
    theirs.close()
    found = ours.recv()
    process.join()
    return found


def main() -> None:
    """Print a table: a line a part, a column a size, and how the last two compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rows", "workers"])
    parser.add_argument("--rows", type=int, nargs="+", default=[])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    given = parser.parse_args()
    if given.what == "rows":
        sizes = given.rows or [10**4, 10**5, 10**6, 10**7]
        work = {n: functools.partial(rows_of, n) for n in sizes}
    else:
        sizes = given.workers
        work = {n: functools.partial(workers_of, n, (given.rows or [10**7])[0]) for n in sizes}
    columns: dict[int, Mapping[str, float]] = {}
    for n, one in work.items():
        started = time.monotonic()
        spent, peak = measured(one)
        columns[n] = {**spent, "(peak of memory, MiB)": peak}
        print(f"{n:,} {given.what}: {time.monotonic() - started:.0f} s", flush=True)
    print(f"\n{'CPU seconds':36}" + "".join(f"{n:>12,}" for n in sizes) + f"{'exponent':>10}")
    for name in columns[sizes[-1]]:
        values = [columns[n][name] for n in sizes]
        slope = ""
        if len(sizes) > 1 and min(values[-2:]) > 0:
            slope = f"{math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2]):.2f}"
        print(f"{name:36}" + "".join(f"{value:12.3f}" for value in values) + f"{slope:>10}")


if __name__ == "__main__":
    main()
