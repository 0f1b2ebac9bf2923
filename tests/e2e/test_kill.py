"""kill -9 in the middle of the GAN's training, and the same command again: the same weights to the bit."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from ganaug_ray import logs
from ganaug_ray.storage import Folder
from tests.conftest import DIGITS, TINY, environment

STEPS, EVERY, KILL_AFTER = 240, 60, 90


def command(out: Path) -> list[str]:
    settings = [*TINY, f"gan.steps={STEPS}", f"gan.checkpoint_every={EVERY}", "gan.workers=2", "gan.log_every=1"]
    arguments = [f"--set={one}" for one in [*settings, "gan.snapshot_every=150"]]
    return [sys.executable, "-m", "ganaug_ray", "train-gan", str(DIGITS), "--out", str(out), *arguments]


def logged(out: Path) -> list[int]:
    return [row["step"] for row in logs.read_metrics(Folder.at(out / "gan")) if "loss_g" in row]


def kill_in_the_middle(out: Path) -> list[int]:
    """Start the command, kill it and nothing else, wait until its ranks are gone; return the steps it logged."""
    child = subprocess.Popen(command(out), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    while max(logged(out), default=0) < KILL_AFTER:
        assert child.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    ranks = [p for p in psutil.Process(child.pid).children(recursive=True) if "RayTrainWorker" in p.name()]
    assert len(ranks) == 2
    child.send_signal(signal.SIGKILL)
    child.wait()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive, "the ranks end with the command that started them"
    return logged(out)


def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for verb in ("prepare", "train-gan"):
        line = command(undisturbed)
        line[3] = verb
        subprocess.run(line, env=environment(), check=True, capture_output=True)
    shutil.copytree(undisturbed, killed, ignore=shutil.ignore_patterns("gan", "run.json", "log.txt"))

    first_attempt = kill_in_the_middle(killed)
    assert not (killed / "gan" / "gan.json").exists()
    again = subprocess.run(command(killed), env=environment(), check=True, capture_output=True, text=True)

    weights = [(out / "gan" / "gan.safetensors").read_bytes() for out in (undisturbed, killed)]
    assert weights[0] == weights[1]
    start = json.loads((killed / "gan" / "attempts.json").read_text())["from_step"]
    assert start[0] == 0
    assert start[1] >= KILL_AFTER // EVERY * EVERY
    assert f"resuming at step {start[1]}" in again.stdout
    executed = max(first_attempt) + STEPS - start[1]
    assert executed <= STEPS + EVERY
    assert logged(killed) == list(range(1, STEPS + 1))
    metrics = [(out / "gan" / "metrics.jsonl").read_bytes() for out in (undisturbed, killed)]
    assert metrics[0] == metrics[1]
