"""What shows trainings while they run: TensorBoard's event files, and a page of curves."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import fs

from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.metrics_log import MetricsLog
from ganaug_ray.core.storage import Folder
from ganaug_ray.gan import image_grid
from ganaug_ray.tracking import follow
from ganaug_ray.tracking.follow import follow_trainings
from ganaug_ray.tracking.live_page import LivePage
from ganaug_ray.tracking.tensorboard import TensorBoardTracker
from ganaug_ray.tracking.training_log import ExperimentLogs

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="TensorBoard is not installed: pip install tensorboard"
)
MODEL = "models/real+classic/seed-0"


class LoggedExperiment:
    """An experiment whose trainings log what a test tells them to."""

    def __init__(self, root: Folder) -> None:
        self.root = root
        self.logs: dict[str, MetricsLog] = {}

    def log(self, training: str, step: int, **figures: float) -> None:
        if training not in self.logs:
            self.restart(training, 0)
        self.logs[training].append_line({"step": step, **figures})
        self.logs[training].flush()

    def restart(self, training: str, steps_done: int) -> None:
        self.logs[training] = MetricsLog((self.root / training).create(), steps_done)

    def draw_samples(self, training: str, step: int, shade: int) -> None:
        picture = np.full((4, 6, 3), shade, np.uint8)
        name = f"samples/step-{step:08d}.png"
        (self.root / training / "samples").create()
        (self.root / training).write_bytes(name, image_grid.encode_png(picture))

    def update(self, tracker: Any) -> None:
        tracker.update(ExperimentLogs(self.root).read())


@pytest.fixture
def logged(tmp_path: Path) -> LoggedExperiment:
    """An experiment with a GAN and a classifier that have begun, and a search, which has event files of its own."""
    experiment = LoggedExperiment(Folder.from_uri(tmp_path))
    experiment.log("gan", 50, images_seen=800, loss_g=1.5, loss_d=0.5)
    experiment.draw_samples("gan", 50, 100)
    experiment.log("gan", 50, val_kid_teacher_n100v200=0.25)
    experiment.log(MODEL, 25, loss=0.75)
    experiment.log("search/gan/trials/0001", 10, loss_g=9.0)
    return experiment


def read_board(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], list[tuple[int, int]]]:
    """Read an event folder with TensorBoard's own reader: the curves, and step and width of the pictures."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(folder)).Reload()
    tags = board.Tags()
    curves = {tag: [(event.step, round(event.value, 6)) for event in board.Scalars(tag)] for tag in tags["scalars"]}
    pictures = [(event.step, event.width) for tag in tags["images"] for event in board.Images(tag)]
    return curves, pictures


@needs_tensorboard
def test_tensorboard_reads_growing_event_files(logged: LoggedExperiment, tmp_path: Path) -> None:
    """TensorBoard's reader finds every logged figure and the sample grids, and later what came after."""
    tracker = TensorBoardTracker(logged.root / "tensorboard")
    logged.update(tracker)
    curves, pictures = read_board(tmp_path / "tensorboard" / "gan")
    assert curves == {"loss_g": [(50, 1.5)], "loss_d": [(50, 0.5)], "val_kid_teacher_n100v200": [(50, 0.25)]}
    assert pictures == [(50, 6)]
    assert read_board(tmp_path / "tensorboard" / MODEL)[0] == {"loss": [(25, 0.75)]}
    assert not (tmp_path / "tensorboard" / "search").exists()
    logged.log("gan", 100, loss_g=1.25, loss_d=0.75)
    logged.draw_samples("gan", 100, 200)
    logged.update(tracker)
    curves, pictures = read_board(tmp_path / "tensorboard" / "gan")
    assert curves["loss_g"] == [(50, 1.5), (100, 1.25)]
    assert [step for step, _ in pictures] == [50, 100]


@needs_tensorboard
def test_resumed_training_shows_each_step_once(logged: LoggedExperiment, tmp_path: Path) -> None:
    """A training that goes on from an earlier step, under the same command or the next one, has no step twice."""
    tracker = TensorBoardTracker(logged.root / "tensorboard")
    logged.log("gan", 100, loss_g=1.25)
    logged.update(tracker)
    logged.restart("gan", 50)
    logged.log("gan", 75, loss_g=1.0)
    logged.update(tracker)
    assert read_board(tmp_path / "tensorboard" / "gan")[0]["loss_g"] == [(50, 1.5), (75, 1.0)]
    tracker.close()
    logged.log("gan", 100, loss_g=0.5)
    for file in [*(tmp_path / "tensorboard" / "gan").iterdir(), tmp_path / "gan" / "metrics.jsonl"]:
        os.utime(file, ns=(10**18, 10**18))  # the clock of a file system may not tell them apart
    logged.update(TensorBoardTracker(logged.root / "tensorboard"))
    assert read_board(tmp_path / "tensorboard" / "gan")[0]["loss_g"] == [(50, 1.5), (75, 1.0), (100, 0.5)]


def test_finished_trainings_are_left_alone(logged: LoggedExperiment, tmp_path: Path) -> None:
    """The next command writes nothing where nothing was trained since."""
    with follow_trainings(Run(logged.root), build_trackers(logged.root), lambda text: None):
        pass
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert (tmp_path / "training.html").exists()
    with follow_trainings(Run(logged.root), build_trackers(logged.root), lambda text: None):
        pass
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == written


def build_trackers(root: Folder) -> list[Any]:
    return [TensorBoardTracker(root / "tensorboard"), LivePage(root)]


def test_object_store_receives_event_files(tmp_path: Path) -> None:
    """On an object store the event file appears while the training runs, and the page with it."""
    root = Folder(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "bucket", "s3://bucket")
    for name in ("gan", "tensorboard/gan"):
        (root / name).create()  # which a real one does not need
    experiment = LoggedExperiment(root)
    experiment.log("gan", 50, loss_g=1.5)
    for tracker in build_trackers(root):
        experiment.update(tracker)
    (name,) = (root / "tensorboard" / "gan").list_files()
    assert b"loss_g" in (root / "tensorboard" / "gan").read_bytes(name)
    assert b"<polyline" in root.read_bytes("training.html")


def test_page_shows_curves_and_newest_samples(logged: LoggedExperiment, tmp_path: Path) -> None:
    """While trainings run the page asks to be read again; it has their curves, arms and the newest samples."""
    logged.log("gan", 100, loss_g=1.25, loss_d=0.75)
    logged.draw_samples("gan", 100, 200)
    page = LivePage(logged.root, {"real+classic": "real images alone"})
    logged.update(page)
    text = (tmp_path / "training.html").read_text()
    assert 'http-equiv="refresh"' in text
    assert "gan/samples/step-00000100.png" in text
    assert "step-00000050.png" not in text
    assert "loss on training images" in text
    assert "real images alone" in text
    assert "real+classic" not in text
    assert "KID (teacher, validation images)" in text
    page.close()
    assert 'http-equiv="refresh"' not in (tmp_path / "training.html").read_text()


def test_growing_training_is_followed_and_announced(
    logged: LoggedExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is logged while the context is open is shown before it ends, and a sentence says where, once."""
    monkeypatch.setattr(follow, "LOCAL_INTERVAL_S", 0.01)
    said: list[str] = []
    with follow_trainings(Run(logged.root), build_trackers(logged.root), said.append):
        while not (tmp_path / "training.html").exists():  # what was there before is no news
            time.sleep(0.01)
        assert said == []
        logged.log("gan", 100, loss_g=1.25)
        while not said:
            time.sleep(0.01)
        logged.log("gan", 150, loss_g=1.0)
    assert "step 150" in (tmp_path / "training.html").read_text()
    assert len(said) == 1
    assert f"{tmp_path}/training.html" in said[0]


def test_failing_tracker_ends_neither_run_nor_others(logged: LoggedExperiment, tmp_path: Path) -> None:
    """A tracker that raises is left out with a sentence; the command and other trackers go on."""

    class FullDisk:
        def update(self, logs: list[Any]) -> None:
            raise OSError(28, "No space left on device")

        def close(self, status: str) -> None:
            raise AssertionError("it has ended")

    said: list[str] = []
    done = False
    with follow_trainings(Run(logged.root), [FullDisk(), LivePage(logged.root)], said.append):
        done = True
    assert done
    assert (tmp_path / "training.html").exists()
    (line,) = said
    assert "No space left on device" in line
