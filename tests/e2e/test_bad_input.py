"""A user's mistake ends with exit code 2 and a few lines that say what to do, and nothing half-written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.conftest import DIGITS, environment


def ganaug(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ganaug_ray", *arguments], env=environment(), capture_output=True, text=True, check=False
    )


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert 1 <= len(result.stderr.strip().splitlines()) <= 6, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


def images(root: Path, counts: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    root.mkdir(exist_ok=True)
    for name, n in counts.items():
        (root / name).mkdir()
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (20, 20), np.uint8)).save(root / name / f"{i}.png")
    return root


def test_missing_job_file_is_refused(tmp_path: Path) -> None:
    """A missing job file is refused by its name."""
    refused(ganaug("run", str(tmp_path / "none.yaml")), "none.yaml", "no such job file")


def test_malformed_yaml_is_refused(tmp_path: Path) -> None:
    """A job file that is not valid YAML is refused with the line of the mistake."""
    job = tmp_path / "job.yaml"
    job.write_text("data:\n  source: [unclosed\n")
    refused(ganaug("run", str(job)), "job.yaml", "not valid YAML", "line 3")


def test_unknown_keys_and_types_are_refused(tmp_path: Path) -> None:
    """Unknown keys and values of a wrong type are refused with the nearest key or the value."""
    text = DIGITS.read_text().replace("seed: 0", "sead: 0")
    text = re.sub(r"arch: cnn, steps: \d+", "arch: cnn, steps: many", text)
    job = tmp_path / "job.yaml"
    job.write_text(text)
    out = tmp_path / "out"
    refused(
        ganaug("run", str(job), "--out", str(out)), "job.yaml: sead", "did you mean seed?", "classifier.steps", "'many'"
    )
    refused(ganaug("run", str(DIGITS), "--out", str(out), "--set", "gan.lr=fast"), "--set gan.lr", "'fast'")
    refused(ganaug("run", str(DIGITS), "--out", str(out), "--set", "gan.workers=3"), "batch_size 64", "workers 3")
    assert not out.exists()


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (None, ["no such folder"]),
        ({}, ["is empty"]),
        ({"cat": 9}, ["single class 'cat'"]),
        ({"cat": 9, "dog": 4}, ["class 'dog' has 4 usable images", "at least 6"]),
    ],
)
def test_unusable_source_is_refused(tmp_path: Path, counts: dict[str, int] | None, words: list[str]) -> None:
    """A source that is missing, empty, or has too few classes or images is refused."""
    source = tmp_path / "pictures"
    if counts is not None:
        images(source, counts)
    out = tmp_path / "out"
    refused(ganaug("run", str(DIGITS), "--out", str(out), "--set", f"data.source={source}"), str(source), *words)
    assert not (out / "dataset").exists()


def test_unreadable_images_are_refused(tmp_path: Path) -> None:
    """A source without a readable image is refused with the reasons."""
    source = images(tmp_path / "pictures", {"cat": 0, "dog": 0})
    (source / "cat" / "a.jpg").write_text("<html>")
    (source / "dog" / "b.jpg").write_bytes(b"")
    result = ganaug("run", str(DIGITS), "--out", str(tmp_path / "out"), "--set", f"data.source={source}")
    refused(result, str(source), "no readable image", "not an image", "empty")


def test_unwritable_output_folder_is_refused(tmp_path: Path) -> None:
    """An output folder that is a file or cannot be written is refused."""
    refused(ganaug("run", str(DIGITS), "--out", "/proc/ganaug/run"), "/proc/ganaug/run", "cannot be written")
    (tmp_path / "file").write_text("x")
    refused(ganaug("run", str(DIGITS), "--out", str(tmp_path / "file")), "is a file")
    if os.getuid() != 0:  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        refused(ganaug("run", str(DIGITS), "--out", str(tmp_path / "locked" / "run")), "cannot be written")


@pytest.mark.parametrize(("verb", "needed"), [("train", "prepare"), ("generate", "prepare"), ("promote", "compare")])
def test_missing_stage_is_named(tmp_path: Path, verb: str, needed: str) -> None:
    """A command that comes too early names the one that has to run before."""
    result = ganaug(verb, str(DIGITS), "--out", str(tmp_path / "out"))
    refused(result, f"`ganaug {needed} {DIGITS} --out ", "not been run")


def test_unknown_commands_and_options_are_refused(tmp_path: Path) -> None:
    """Unknown commands and options end with exit code 2."""
    assert ganaug("trian", str(DIGITS)).returncode == 2
    assert ganaug("run", str(DIGITS), "--ouch").returncode == 2


def test_dry_run_writes_nothing(tmp_path: Path) -> None:
    """A dry run prints settings, data and budget, and writes nothing."""
    out = tmp_path / "out"
    result = ganaug(
        "run",
        str(DIGITS),
        "--out",
        str(out),
        "--dry-run",
        "--settings",
        "--set",
        "gan.epochs=100",
        "--set",
        "gan.lr=3e-4",
    )
    assert result.returncode == 0
    for words in (
        "lr: 0.0003",
        "10: 0, 1, 2",
        "200 train",
        "313 generator steps",
        "20,032 images seen",
        "gan.epochs=320",
        "mix: 32 a batch",
    ):
        assert words in result.stdout, result.stdout
    assert not out.exists()


def test_mismatched_weights_stop_before_training(tmp_path: Path) -> None:
    """Weights that do not fit the network end the run before any training."""
    weights = tmp_path / "other.safetensors"
    save_file({"features.0.weight": torch.zeros(3)}, weights)
    changes = ["classifier.arch=torchvision:squeezenet1_0", f"classifier.weights={weights}", "augment.ratio=0"]
    overrides = [word for change in changes for word in ("--set", change)]
    out = tmp_path / "out"
    refused(ganaug("run", str(DIGITS), "--out", str(out), *overrides), str(weights), "49 missing", "of another shape")
    assert not (out / "models").exists()
