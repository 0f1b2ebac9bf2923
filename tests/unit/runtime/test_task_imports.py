"""A task of one process waits for no library that it has no use for."""

from __future__ import annotations

import subprocess
import sys

SLOW = {"matplotlib", "pandas", "ray.data", "ray.train", "torch._dynamo", "torchmetrics", "torchvision"}


def test_training_tasks_import_little() -> None:
    """The modules of the tasks that train a GAN or a classifier load neither Ray Train nor what a few trainings use."""
    code = "import sys; from ganaug_ray.classify import launch; from ganaug_ray.gan import launch; print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "torch" in printed.split()
    assert not SLOW & set(printed.split())
