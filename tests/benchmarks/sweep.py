"""Twenty trainings packed on the cores by one command, beside the same one after another in plain processes.

Both train on the same data set, as many steps with the same batch, and write the same files: weights and answers. One
after another, each has all the cores and pays for its own start; packed, each has one thread. The command also compares
them.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.ingest import time_command
from tests.benchmarks.pairs import Benchmark, Pair, Side

RATES = (2e-3, 1e-3, 5e-4, 3e-3, 4e-3)  # an arm each
SEEDS, STEPS, BATCH = 4, 60, 64
TRAININGS = len(RATES) * SEEDS


@contextmanager
def open_sides(folder: Path) -> Iterator[Mapping[str, Side]]:
    """Both, on a data set that is prepared."""
    job, prepared, out = folder / "sweep.yaml", folder / "sweep", folder / "sweep-models"
    training = {"steps": STEPS, "batch_size": BATCH, "flip": False, "evaluate_every": STEPS}
    models = {f"rate-{rate:g}": {"lr": rate} for rate in RATES}
    data = {"source": "sklearn:digits", "image_size": 32, "resize": "stretch", "train_per_class": 20}
    content = {"data": data, "gan": {"steps": 1}, "augment": {"ratio": 0}, "classifier": training, "models": models}
    job.write_text(json.dumps({**content, "compare": {"seeds": SEEDS}}))  # JSON is YAML
    shutil.rmtree(prepared, ignore_errors=True)
    time_command(_command("prepare", job, prepared))

    def train_packed() -> float:
        shutil.rmtree(prepared / "board", ignore_errors=True)
        (prepared / "board.json").unlink(missing_ok=True)
        return 60 * TRAININGS / time_command(_command("compare-models", job, prepared))["seconds"]

    def train_in_turn() -> float:
        shutil.rmtree(out, ignore_errors=True)
        started = time.perf_counter()
        for rate in RATES:
            for seed in range(SEEDS):
                process = multiprocessing.get_context("spawn").Process(
                    target=train_alone, args=({**training, "lr": rate}, seed, prepared / "dataset", out)
                )
                process.start()
                process.join()
                assert process.exitcode == 0, "it came to its end"
        return 60 * TRAININGS / (time.perf_counter() - started)

    yield {"ganaug compare-models": train_packed, "one process after another": train_in_turn}


def _command(verb: str, job: Path, out: Path) -> list[str | Path]:
    return [sys.executable, "-m", "ganaug_ray", verb, job, "--out", out]


def train_alone(settings: Mapping[str, object], seed: int, dataset: Path, out: Path) -> None:
    """Train one model without Ray, as a script of one's own would."""
    from ganaug_ray.classify import train_worker
    from ganaug_ray.config import ClassifierConfig
    from ganaug_ray.core.distributed import Place
    from ganaug_ray.core.storage import Folder
    from ganaug_ray.data.loading.resident_loader import open_real_feed

    config = ClassifierConfig.model_validate(settings)
    folder = Folder.from_uri(str(out / f"{config.lr:g}-{seed}")).create()
    batches = functools.partial(open_real_feed, str(dataset), BATCH, 1.0, seed)
    fit = train_worker.ClassifierTraining("real", seed, config, str(dataset), str(folder), batches, {})
    train_worker.train_and_finish(fit, Place())


BENCHMARKS = (
    Benchmark(
        (
            Pair(
                "sweep",
                f"{len(RATES)} arms × {SEEDS} seeds of the base CNN, 32 px, {STEPS} steps of {BATCH}",
                "ganaug compare-models",
                "one process after another",
                "models/min",
                least=1.7,
            ),
        ),
        open_sides,
        slow=True,
    ),
)
