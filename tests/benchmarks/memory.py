"""How much memory the preparation of images takes, and whether it grows with their number.

    python -m tests.benchmarks.memory [--images 1700 17000] [--folder KEEP]
    python -m tests.benchmarks.memory -- ANY COMMAND

Measured is the peak over time of what a command and all its descendants take together, five times a second.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.benchmarks.ingest import photographs, write_job

EVERY = 0.2  # seconds
MIB = 1024**2
SHARED = Path("/dev/shm")


def peak(command: Sequence[str | Path]) -> float:
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
        raise SystemExit(f"{' '.join(map(str, command))} ended with {child.returncode}")
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


def main() -> None:
    """Measure prepare on more and more images, or any command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1700, 17_000])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="keep the files here, for the next time")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="instead, behind --")
    chosen = parser.parse_args()
    if chosen.command:
        print(f"{peak(chosen.command[chosen.command[0] == '--' :]):.0f} MiB at most")
        return
    peaks = []
    with tempfile.TemporaryDirectory() as room:
        for images in chosen.images:
            pictures = photographs((chosen.folder or Path(room)) / f"photographs-{images}", images)
            job = write_job(Path(room, "job.yaml"), pictures, chosen.size)
            out = Path(room, f"out-{images}")
            peaks.append(peak([sys.executable, "-m", "ganaug_ray", "prepare", job, "--out", out]))
            more = f"{100 * (peaks[-1] / peaks[0] - 1):+7.1f} %" if len(peaks) > 1 else ""
            print(f"prepare {images:8} images: {peaks[-1]:8.0f} MiB at most {more}", flush=True)


if __name__ == "__main__":
    main()
