"""A classifier whose loss stops being a number ends the run, and what was good before that is kept."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.conftest import DIGITS, TINY, environment

WILD = ["optimizer=sgd", "lr=1.0", "weight_decay=1", "steps=60", "evaluate_every=4"]


def test_divergence_keeps_last_good_weights(finished: tuple[Path, str], tmp_path: Path) -> None:
    """A loss that is not finite ends with exit code 1, advice, and the last good weights on disk."""
    settings = [*TINY, "augment.ratio=0", "compare.seeds=1", *(f"classifier.{one}" for one in WILD)]
    arguments = [str(DIGITS), "--out", str(tmp_path / "out"), *(f"--set={one}" for one in settings)]
    shutil.copytree(finished[0] / "dataset", tmp_path / "out" / "dataset")
    shutil.copy(finished[0] / "job.yaml", tmp_path / "out")
    command = [sys.executable, "-m", "ganaug_ray", "train", *arguments]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    model = tmp_path / "out" / "models" / "real+classic" / "seed-0"
    (message,) = ended.stderr.strip().splitlines()
    assert "real+classic, seed 0: " in message
    assert f"{model}/last_good.safetensors" in message
    assert re.search(r"not finite.* lower classifier\.lr than 1$", message)
    kept = load_file(model / "last_good.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in kept.values())
    assert not (model / "model.json").exists()
