"""How much memory the preparation of images takes, and whether it grows with their number.

    python -m tests.benchmarks.memory ANY COMMAND

Measured is the peak over time of what a command and all its descendants take together, five times a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.benchmarks.ingest import prepare_photographs
from tests.benchmarks.pairs import Benchmark, Pair, Side

EVERY = 0.2  # seconds
MIB = 1024**2
SHARED = Path("/dev/shm")
FEW, MANY = 1700, 17_000  # images


def measure_peak(command: Sequence[str | Path]) -> float:
    """Run a command; return the peak of its memory and its descendants', in MiB.

    A page that several processes share counts once: each has its part of it (PSS). Shared memory is what they have
    mapped, or what /dev/shm has grown by if that is more: an object store need not be mapped by anyone.
    """
    before = shared_files()
    alone = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    child = psutil.Popen(list(map(str, command)), env=alone, stdout=subprocess.DEVNULL)
    known: set[psutil.Process] = {child}
    highest = 0.0
    while child.poll() is None:
        started = time.monotonic()
        for process in list(known):  # also of those whose own parent has gone
            known |= set(descendants(process))
        total: Counter[str] = Counter()
        for process in known:
            total.update(proportional(process.pid))
        shared = total["Pss_Shmem"]
        highest = max(highest, total["Pss"] - shared + max(shared, shared_files() - before))
        time.sleep(max(0.0, EVERY - (time.monotonic() - started)))
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args)
    return highest / MIB


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Return the processes below one; none where it has ended."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def proportional(pid: int) -> dict[str, int]:
    """Return a process's Pss and Pss_Shmem in bytes; nothing where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    sizes = {name: int(rest.split()[0]) * 1024 for name, rest in (line.split(":") for line in lines)}
    return {name: sizes[name] for name in ("Pss", "Pss_Shmem")}


def shared_files() -> int:
    """Return the bytes of all files in shared memory."""
    room = os.statvfs(SHARED)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


@contextmanager
def open_sides(folder: Path) -> Iterator[Mapping[str, Side]]:
    """Preparation of many images and of few."""
    yield {
        f"{images:,} images": lambda images=images: measure_peak(prepare_photographs(folder, images, "memory"))
        for images in (MANY, FEW)
    }


BENCHMARKS = (
    Benchmark(
        (
            Pair(
                "memory",
                "the peak of ganaug prepare and all its processes, for ten times as many images",
                f"{MANY:,} images",
                f"{FEW:,} images",
                "MiB",
                most=1.15,
            ),
        ),
        open_sides,
    ),
)


if __name__ == "__main__":
    print(f"{measure_peak(sys.argv[1:]):.0f} MiB at most")
