"""Ctrl-C and SIGTERM in the middle of a stage, and a Ray that does not end; Ctrl-C while Ray trains is in test_run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import DIGITS, PATIENCE, TINY, environment


def test_termination_ends_without_traceback(tmp_path: Path) -> None:
    """SIGTERM, which machines send that are shut down, ends every process that was started, as Ctrl-C does."""
    out = tmp_path / "out"
    settings = [f"--set={one}" for one in [*TINY, "classifier.steps=100000"]]
    command = [sys.executable, "-m", "ganaug_ray", "run", str(DIGITS), "--out", str(out), *settings]
    child = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while not (out / "models" / "teacher" / "seed-0" / "metrics.jsonl").exists():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes = psutil.Process(child.pid).children(recursive=True)
    child.terminate()
    printed, complaint = child.communicate(timeout=PATIENCE)
    assert child.returncode == 128 + signal.SIGTERM
    (line,) = complaint.strip().splitlines()
    assert line.startswith("interrupted; ")
    assert "prepare    done" in printed
    assert re.search(r"teach +interrupted", printed)
    assert len(processes) > 3
    assert not psutil.wait_procs(processes, timeout=PATIENCE)[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_a_listing(tmp_path: Path, number: signal.Signals) -> None:
    """While the files of a large folder are listed, too; nothing half-written stays."""
    pictures = tmp_path / "pictures"
    for folder in range(30):
        (pictures / ("cat" if folder % 2 else "dog") / str(folder)).mkdir(parents=True)
        for file in range(1000):
            (pictures / ("cat" if folder % 2 else "dog") / str(folder) / f"{file}.png").touch()
    job = tmp_path / "job.yaml"
    job.write_text(f"data: {{source: {pictures}, image_size: 32}}\ngan: {{steps: 5}}\nclassifier: {{steps: 5}}\n")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ganaug_ray", "prepare", str(job), "--out", str(out)]
    child = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not is_reading(child.pid, pictures):
        assert child.poll() is None, child.communicate()
    child.send_signal(number)
    printed, complaint = child.communicate(timeout=PATIENCE)
    assert child.returncode == 128 + number
    assert "Traceback" not in printed + complaint
    assert not (out / "dataset").exists()


STUCK = """
import psutil
from ganaug_ray.runtime import cluster

cluster.STOP_PATIENCE_S = 1
cluster.start_private(1)
raylet = next(child for child in psutil.Process().children() if child.name() == "raylet")
raylet.suspend()
cluster.disconnect()
print("disconnected", raylet.is_running() and raylet.status())
"""


def test_stuck_ray_is_killed() -> None:
    """A Ray that does not end when it is asked to is killed, so that Ctrl-C ends a command all the same."""
    ended = subprocess.run(
        [sys.executable, "-c", STUCK], env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert "disconnected False" in ended.stdout


def is_reading(process: int, folder: Path) -> bool:
    """Whether a process has a folder below this one open, as while its files are listed."""
    for link in Path(f"/proc/{process}/fd").glob("*"):
        with suppress(OSError):
            if link.readlink().is_relative_to(folder):
                return True
    return False
