"""The quickstart from its start to its end, beside what its stages compute.

Bare compute is what the stages of the finished run say they took. Classifiers train two at a time on two cores, so
their seconds are divided by as many as train at once. What lies between is the start of Ray and of its processes, and
what no stage counts.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.ingest import time_command
from tests.benchmarks.pairs import Benchmark, Pair, Side
from tests.conftest import DIGITS


@contextmanager
def open_sides(folder: Path) -> Iterator[Mapping[str, Side]]:
    """The run, and the sum of its stages."""
    out = folder / "quickstart"

    def run() -> float:
        shutil.rmtree(out, ignore_errors=True)
        return time_command([sys.executable, "-m", "ganaug_ray", "run", DIGITS, "--out", out])["seconds"]

    yield {"ganaug run digits.yaml": run, "sum of its bare compute": lambda: sum_compute(out)}


def sum_compute(run: Path) -> float:
    """Return the seconds that the stages of a finished run computed, those side by side counted once."""
    stages = json.loads((run / "run.json").read_text())["stages"]
    models = {  # without the teacher, which trains alone
        name: run / name / "model.json"
        for name in stages
        if name.startswith("models/") and not name.startswith("models/teacher/")
    }
    trained = sum(json.loads(file.read_text())["train_seconds"] for file in models.values())
    at_once = min(os.cpu_count() or 1, len(models))
    return trained / at_once + sum(stage["seconds"] for name, stage in stages.items() if name not in models)


BENCHMARKS = (
    Benchmark(
        (
            Pair(
                "quickstart",
                "the digits of scikit-learn, all stages, beside the seconds of the stages themselves",
                "ganaug run digits.yaml",
                "sum of its bare compute",
                "s",
                most=1.3,
            ),
        ),
        open_sides,
        slow=True,
    ),
)
