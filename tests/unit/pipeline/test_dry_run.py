"""What a dry run prints: all of it at one look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.pipeline import run_time, training_time
from ganaug_ray.pipeline.training_time import StepTime
from tests.conftest import JOBS

MAX_LINES = 20


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of two cores on which every step takes a tenth of a second."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(training_time, "measure_step_time", lambda job, images: StepTime(0.1, 0.0004, 0.1))
    monkeypatch.setattr(run_time.hardware.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)


def dry_run(*words: str) -> list[str]:
    """Return the lines of a dry run."""
    result = CliRunner().invoke(cli.app, ["run", *words, "--dry-run"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def write_photographs(folder: Path, counts: dict[str, int]) -> Path:
    draw = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 256, (40, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_quickstart_fits_twenty_lines(two_cores: None, tmp_path: Path) -> None:
    """The first job of the README, with its four arms; every stage that trains has its minutes, and so have all."""
    lines = dry_run(str(JOBS / "digits.yaml"), "--out", str(tmp_path))
    assert len(lines) <= MAX_LINES, "\n".join(lines)
    stages = [line.split()[0] for line in lines if line.startswith("  ")]
    assert stages == ["prepare", "teach", "label", "train-gan", "generate", "train", "the"]
    assert lines[-1].endswith("compare, evaluate, report, promote")
    assert any(line.startswith("time  ") and " in all on this machine" in line for line in lines)


@pytest.mark.parametrize("counts", [{"cat": 120, "dog": 120}, {"cat": 200, "dog": 150, "owl": 12}], ids=str)
@pytest.mark.parametrize("minutes", ["3", "10", "60"])
def test_folder_fits_twenty_lines(two_cores: None, tmp_path: Path, counts: dict[str, int], minutes: str) -> None:
    """Images without a job file, with the reasons for the settings that were chosen."""
    photographs = write_photographs(tmp_path / "pets", counts)
    lines = dry_run(str(photographs), "--minutes", minutes, "--out", str(tmp_path / "out"))
    assert len(lines) <= MAX_LINES, "\n".join(lines)
    assert any(line.startswith("time  ") for line in lines)
