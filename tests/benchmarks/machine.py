"""The machine of a measurement, in words that hold no name and no path of it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe_machine() -> dict[str, Any]:
    """Return cores, models of CPU and GPU, and the versions that decide the figures."""
    import torch

    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _read_cpu_model(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": version("torch"),
        "ray": version("ray"),
    }


def format_machine(machine: dict[str, Any]) -> str:
    """Return a machine in one line.

    >>> format_machine({"cores": 2, "cpu": "A", "gpu": None, "python": "3.11.7", "torch": "2.15.0", "ray": "2.60.0"})
    '2 cores of A, no GPU, Python 3.11.7, torch 2.15.0, ray 2.60.0'
    """
    versions = f"Python {machine['python']}, torch {machine['torch']}, ray {machine['ray']}"
    return f"{machine['cores']} cores of {machine['cpu']}, {machine['gpu'] or 'no GPU'}, {versions}"


def _read_cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()
