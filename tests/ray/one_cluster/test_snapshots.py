"""A GAN's snapshots measured by a Ray actor while it trains."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.augment.arms import locate_teacher
from ganaug_ray.config import GanConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.gan.launch import train_gans
from ganaug_ray.gan.snapshot_meter import Snapshot
from ganaug_ray.gan.snapshot_queue import MeasureSnapshot
from ganaug_ray.gan.train_worker import train_and_finish
from ganaug_ray.gan.training_spec import GanTraining
from ganaug_ray.runtime.background_worker import BackgroundWorker, PendingCall, open_background_worker
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.resources import StageResources
from tests.conftest import PATIENCE

pytestmark = pytest.mark.usefixtures("cluster")

ONE_CPU = StageResources(1, 1, 0)


def submit_when_started(worker: BackgroundWorker[Any, Any], item: Any) -> PendingCall[Any]:
    """Submit an item as soon as the worker has started, a minute later at most."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if (pending := worker.submit(item)) is not None:
            return pending
        time.sleep(0.05)
    raise AssertionError("the worker has not started")


def test_worker_calls_its_function_elsewhere() -> None:
    """A worker builds its function once in another process; errors pass as they are, and a lost process is named."""

    def build(device: str) -> Callable[[Any], Any]:
        calls: list[Any] = []

        def call(item: Any) -> Any:
            calls.append(item)
            if item == "die":
                os._exit(1)
            return os.getpid(), device, 12 // item, len(calls)

        return call

    with open_background_worker(ONE_CPU, build) as worker:
        process, device, quotient, calls = submit_when_started(worker, 4).result()
        assert (device, quotient, calls) == ("cpu", 3, 1)
        assert process != os.getpid()
        with pytest.raises(ZeroDivisionError):
            submit_when_started(worker, 0).result()
        assert submit_when_started(worker, 6).result() == (process, "cpu", 2, 3)
        with pytest.raises(BrokenExecutor):
            submit_when_started(worker, "die").result()


def test_worker_without_room_is_not_waited_for() -> None:
    """A worker for which there is no room takes nothing, and its context ends."""
    with open_background_worker(StageResources(1, 99, 0), lambda device: print) as worker:
        assert worker.submit(1) is None


def test_actor_measures_what_the_training_would(experiment: Run, tmp_path: Path) -> None:
    """Files are the same bytes: measured by an actor, by the training itself, and in a stage with a CPU to spare."""
    config = GanConfig(**experiment.gan.read_json("gan.json")["config"])
    config = config.model_copy(update={"steps": 8, "snapshot_every": 2, "cas_every": 4})
    teacher = str(locate_teacher(experiment))

    def describe(name: str) -> GanTraining:
        return GanTraining(config, 32, 0, str(experiment.dataset), teacher, str(tmp_path / name), 1.0, {})

    measured: list[int] = []

    @contextmanager
    def open_started(build: Callable[[str], MeasureSnapshot]) -> Iterator[Any]:
        with open_background_worker(ONE_CPU, build) as worker:

            class Started:
                def submit(self, snapshot: Snapshot, /) -> Any:
                    measured.append(snapshot.step)
                    return submit_when_started(worker, snapshot)

            yield Started()

    train_and_finish(describe("inline"), Place())
    train_and_finish(describe("actor"), Place(), open_started)
    train_gans([describe("stage")], Hardware.of_one_machine(4))
    assert measured == [2, 4, 6, 8]
    inline, *others = (Folder.from_uri(tmp_path / name) for name in ("inline", "actor", "stage"))
    for other in others:
        for name in ("metrics.jsonl", "gan.safetensors", "best.json", "discriminator.safetensors", "film.gif"):
            assert other.read_bytes(name) == inline.read_bytes(name), (str(other), name)
        assert other.read_json("gan.json")["quality"] == inline.read_json("gan.json")["quality"]
