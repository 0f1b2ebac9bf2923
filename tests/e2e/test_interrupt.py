"""Ctrl-C in the middle of a stage."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import DIGITS, TINY, environment


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_without_traceback(tmp_path: Path, number: signal.Signals) -> None:
    """As does SIGTERM, which machines send that are shut down."""
    out = tmp_path / "out"
    settings = [f"--set={one}" for one in [*TINY, "classifier.steps=100000"]]
    command = [sys.executable, "-m", "ganaug_ray", "run", str(DIGITS), "--out", str(out), *settings]
    child = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "models" / "teacher" / "seed-0" / "metrics.jsonl").exists():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.send_signal(number)
    printed, complaint = child.communicate(timeout=60)
    assert child.returncode == 128 + number
    assert complaint.strip() == "interrupted; the same command goes on from here"
    assert "prepare    done" in printed
    assert "teach      failed" in printed
