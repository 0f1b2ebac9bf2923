"""Snapshots measured beside the training: what is written is what it would be if training had waited for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from ganaug_ray.augment.arms import locate_teacher
from ganaug_ray.config import GanConfig
from ganaug_ray.core import heap_memory, metrics_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.finite_guard import DivergenceError, FiniteGuard
from ganaug_ray.core.storage import Folder
from ganaug_ray.gan import early_stopping, train_worker, training_loop
from ganaug_ray.gan.metrics.evaluator import GanEvaluator
from ganaug_ray.gan.snapshot_meter import MeasuredSnapshot, Snapshot
from ganaug_ray.gan.snapshot_queue import MeasureSnapshot, OpenExecutor, SnapshotQueue
from ganaug_ray.gan.training_spec import GanTraining


class Lazy:
    """A measurement that has never ended when it is asked for, and is made when it is waited for."""

    def __init__(self, measure: Callable[[], MeasuredSnapshot]) -> None:
        self.measure = measure
        self.is_done = False

    def done(self) -> bool:
        return self.is_done

    def result(self) -> MeasuredSnapshot:
        return self.measure()


class LateExecutor:
    def __init__(self, measure: MeasureSnapshot) -> None:
        self.measure = measure
        self.submitted: list[Lazy] = []

    def submit(self, item: Snapshot, /) -> Lazy | None:
        self.submitted.append(Lazy(lambda: self.measure(item)))
        return self.submitted[-1]


class AbsentExecutor:
    def submit(self, item: Snapshot, /) -> None:
        return None


def measure_nothing(snapshot: Snapshot) -> MeasuredSnapshot:
    return MeasuredSnapshot(snapshot, {}, b"")


class Written:
    """A queue and what is written by it, in order; the training ends with the snapshot of step ``end``."""

    def __init__(self, executor: Any, end: int = 0, measure: MeasureSnapshot = measure_nothing) -> None:
        self.lines: list[str] = []
        self.queue = SnapshotQueue(measure, executor, self.record)
        self.end = end

    def record(self, measured: MeasuredSnapshot) -> bool:
        self.lines.append(f"figures {measured.snapshot.step}")
        return measured.snapshot.step == self.end

    def train(self, steps: range, every: int = 4) -> None:
        """A row each step, and a snapshot and a checkpoint each few."""
        for step in steps:
            self.write("row", step)
            if step % every == 0:
                self.queue.add(Snapshot(step, {}))
            if step % (every - 1) == 0 or step % every == 0:
                self.write("checkpoint", step)

    def write(self, what: str, step: int) -> None:
        self.queue.write(step, lambda: self.lines.append(f"{what} {step}"), is_checkpoint=what == "checkpoint")


@pytest.mark.parametrize("end", [0, 4, 8])
def test_late_figures_keep_the_order(end: int) -> None:
    """Whether each snapshot is waited for or not, the same is written in the same order, up to the end."""
    at_once, late = Written(None, end), Written(LateExecutor(measure_nothing), end)
    for written in (at_once, late):
        written.train(range(1, 10))
        assert written.queue.wait() == (end > 0)
    assert late.lines == at_once.lines
    assert late.lines[-1] == (f"checkpoint {end}" if end else "checkpoint 9")


def test_writes_wait_for_figures() -> None:
    """What is written after a snapshot is held back until its figures are there, and then written without a wait."""
    executor = LateExecutor(measure_nothing)
    written = Written(executor)
    written.train(range(1, 6))
    assert written.lines[-2:] == ["checkpoint 3", "row 4"]
    executor.submitted[0].is_done = True
    written.write("row", 6)
    assert written.lines[-4:] == ["figures 4", "checkpoint 4", "row 5", "row 6"]


def test_one_snapshot_is_measured_at_a_time() -> None:
    """The next snapshot waits for the one before, and none is measured after the end."""
    executor = LateExecutor(measure_nothing)
    written = Written(executor, end=8)
    written.train(range(1, 9))
    assert len(executor.submitted) == 2
    assert "figures 4" in written.lines
    written.train(range(9, 13))
    assert len(executor.submitted) == 2


def test_few_checkpoints_are_held() -> None:
    """While one snapshot is measured, no more checkpoints are in memory than would be kept on disk, and its own."""
    written = Written(LateExecutor(measure_nothing))
    written.train(range(4, 5))
    for step in range(5, 10):
        written.write("checkpoint", step)
    written.queue.wait()
    assert written.lines == ["row 4", "figures 4", "checkpoint 4", "checkpoint 8", "checkpoint 9"]


@pytest.mark.parametrize("loss", [BrokenExecutor("the actor died"), torch.OutOfMemoryError("CUDA out of memory")])
def test_lost_process_leaves_training_to_measure(loss: Exception) -> None:
    """If the other process is lost, has no room on the GPU or has not started, the training measures by itself."""

    def lose(snapshot: Snapshot) -> MeasuredSnapshot:
        raise loss

    executor = LateExecutor(lose)
    lost, absent, at_once = Written(executor), Written(AbsentExecutor()), Written(None)
    for written in (lost, absent, at_once):
        written.train(range(1, 10))
        written.queue.wait()
    assert len(executor.submitted) == 1
    assert lost.lines == absent.lines == at_once.lines


@contextmanager
def open_late(build: Callable[[str], MeasureSnapshot]) -> Iterator[LateExecutor]:
    yield LateExecutor(build("cpu"))


@contextmanager
def open_thread(build: Callable[[str], MeasureSnapshot]) -> Iterator[Any]:
    measure = build("cpu")
    with ThreadPoolExecutor(1) as pool:

        class Threaded:
            def submit(self, item: Snapshot, /) -> Any:
                return pool.submit(measure, item)

        yield Threaded()


def train(experiment: Run, out: Path, open_executor: OpenExecutor | None = None, **settings: Any) -> dict[str, bytes]:
    """Train a GAN of 9 steps with a snapshot at 3, 6 and 9; return the files that do not tell the time."""
    record = experiment.gan.read_json("gan.json")
    update = {"steps": 9, "log_every": 1, "snapshot_every": 3, "checkpoint_every": 2, "cas_every": 6, **settings}
    config = GanConfig(**record["config"]).model_copy(update=update)
    teacher = str(locate_teacher(experiment))
    training = GanTraining(config, 32, 0, str(experiment.dataset), teacher, str(out), 1.0, {})
    train_worker.train_and_finish(training, Place(), open_executor)
    names = [
        path for path in sorted(out.rglob("*")) if path.is_file() and path.name not in ("gan.json", "attempts.json")
    ]
    files = {str(path.relative_to(out)): path.read_bytes() for path in names}
    gan = Folder.from_uri(out).read_json("gan.json")
    for key in ("steps", "ended_early", "images_seen", "chosen", "quality", "hash"):
        files[key] = str(gan[key]).encode()
    return files


def end_at_second_snapshot(measurements: list[Any]) -> str | None:
    return "it is said" if len(measurements) >= 2 else None


@pytest.fixture(scope="module")
def undisturbed(experiment: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return train(experiment, tmp_path_factory.mktemp("at_once"))


@pytest.mark.parametrize("open_executor", [open_late, open_thread])
def test_measuring_beside_changes_no_file(
    experiment: Run, undisturbed: dict[str, bytes], tmp_path: Path, open_executor: OpenExecutor
) -> None:
    """Log, checkpoints, pictures and the chosen generator are the same bytes as if training had waited."""
    assert train(experiment, tmp_path, open_executor) == undisturbed
    assert {"metrics.jsonl", "gan.safetensors", "samples/step-00000009.png"} < undisturbed.keys()
    assert b"cas_cnn" in undisturbed["metrics.jsonl"]


def test_steps_and_snapshots_reuse_freed_memory(
    experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of a GAN, and the measurement of a snapshot, take the memory of those before."""
    seen: list[tuple[str, int]] = []
    draw, measure = training_loop.draw_step, GanEvaluator.measure_overfitting

    def draw_step(*arguments: Any) -> Any:
        seen.append(("step", heap_memory._uses))
        return draw(*arguments)

    def measure_overfitting(self: GanEvaluator, generator: Any, discriminator: Any) -> dict[str, float]:
        seen.append(("snapshot", heap_memory._uses))
        return measure(self, generator, discriminator)

    monkeypatch.setattr(heap_memory, "_load_libc", lambda device: Mock())
    monkeypatch.setattr(training_loop, "draw_step", draw_step)
    monkeypatch.setattr(GanEvaluator, "measure_overfitting", measure_overfitting)
    train(experiment, tmp_path, steps=1, cas_every=100)
    assert seen == [("step", 1), ("snapshot", 2)], "of the training, and of the measurement wherever it is made"
    assert heap_memory._uses == 0


def test_early_end_leaves_the_same_files(experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures that come late end the training at their own snapshot: nothing is left of the steps since."""
    monkeypatch.setattr(early_stopping, "find_stop_reason", end_at_second_snapshot)
    ended = train(experiment, tmp_path / "at_once")
    assert (ended["steps"], ended["ended_early"]) == (b"6", b"it is said")
    assert train(experiment, tmp_path / "beside", open_late) == ended
    assert [row["step"] for row in metrics_log.read_metrics(Folder.from_uri(tmp_path / "beside"))][-1] == 6
    assert train(experiment, tmp_path / "beside", open_late) == ended, "it ends at once when it is started again"


def test_divergence_after_the_end_is_none(experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that diverges while the figures that end it are measured has ended before; any other fails."""

    def trip(self: FiniteGuard, step: int) -> None:
        if step >= 7:
            raise DivergenceError(step)

    monkeypatch.setattr(FiniteGuard, "raise_if_tripped", trip)
    with pytest.raises(DivergenceError):
        train(experiment, tmp_path / "diverged", open_late)
    rows = metrics_log.read_metrics(Folder.from_uri(tmp_path / "diverged"))
    assert [row["step"] for row in rows if "val_gap" in row] == [3, 6], "all that came before is in the log"
    monkeypatch.setattr(early_stopping, "find_stop_reason", end_at_second_snapshot)
    assert train(experiment, tmp_path / "beside", open_late) == train(experiment, tmp_path / "at_once")


def test_killed_training_measures_again(experiment: Run, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """A training killed while a snapshot is measured has no checkpoint after it, and ends like an undisturbed one."""

    @contextmanager
    def open_killed(build: Callable[[str], MeasureSnapshot]) -> Iterator[LateExecutor]:
        measure = build("cpu")

        def measure_or_die(snapshot: Snapshot) -> MeasuredSnapshot:
            if snapshot.step == 6:
                raise KeyboardInterrupt
            return measure(snapshot)

        yield LateExecutor(measure_or_die)

    with pytest.raises(KeyboardInterrupt):
        train(experiment, tmp_path, open_killed)
    assert Folder.from_uri(tmp_path / "checkpoints").list_files(".json")[-1] == "step-00000004.json"
    assert train(experiment, tmp_path, open_late) == undisturbed


def test_failed_measurement_fails_the_training(
    experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of a measurement ends the training with the same words, wherever it was made."""

    def fail(self: GanEvaluator, generator: Any, by_class: bool = False) -> dict[str, float]:
        raise RuntimeError("no memory for features")

    monkeypatch.setattr(GanEvaluator, "measure_quality", fail)
    for name, open_executor in (("at_once", None), ("thread", open_thread)):
        with pytest.raises(RuntimeError, match="no memory for features"):
            train(experiment, tmp_path / name, open_executor)
