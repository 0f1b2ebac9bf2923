"""A classifier that is compiled with all of torch.compile, on the CPU: generating the code takes a minute or more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ganaug_ray.core.storage import Folder
from tests.unit.classify.test_compiling import train


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU, such as g++")
def test_generated_code_trains_alike(digits: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the generated code, the loss of each step is the plain one up to rounding."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    _, plain_rows, _ = train(digits, False, dropout=0.0)
    _, rows, _ = train(digits, True, dropout=0.0)
    torch.compiler.reset()
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in plain_rows], rel=1e-3)
