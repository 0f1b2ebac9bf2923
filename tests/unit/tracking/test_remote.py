"""Whole runs on tracking servers: what they are sent, once, and that a server that is away stops nothing."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganaug_ray.config import Job, TrackingConfig
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.followed import follow_pipeline
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.tracking import remote, servers
from ganaug_ray.tracking.follow import follow_trainings
from ganaug_ray.tracking.remote import Figures, RemoteTracker
from ganaug_ray.tracking.results import Results, flatten_settings
from ganaug_ray.tracking.training_log import ExperimentLogs
from tests.helpers.mlflow_server import INSTALL, PACKAGES
from tests.unit.tracking.test_following import MODEL, LoggedExperiment, logged

__all__ = ["logged"]  # a fixture


class RecordingServer:
    """Remembers what it is sent; with ``is_away`` it answers nothing."""

    name = "mlflow"
    address = "http://host:5000"

    def __init__(self) -> None:
        self.is_away = False
        self.runs: list[str | None] = []
        self.settings: list[dict[str, str]] = []
        self.rows: list[tuple[str, int]] = []
        self.pictures: list[tuple[str, int]] = []
        self.results: list[Results] = []
        self.ends: list[str] = []

    def open_run(self, run_id: str | None, settings: dict[str, str]) -> str:
        self._answer()
        self.runs.append(run_id)
        self.settings.append(settings)
        return run_id or "r1"

    def log_figures(self, training: str, figures: Figures) -> None:
        self._answer()
        self.rows += [(training, step) for step, _ in figures]

    def log_picture(self, training: str, step: int, png: bytes) -> None:
        self._answer()
        self.pictures.append((training, step))

    def log_results(self, results: Results) -> None:
        self._answer()
        self.results.append(results)

    def register_champion(self, version: Folder) -> None:
        raise AssertionError("there is none")

    def end_run(self, status: str) -> None:
        self.ends.append(status)

    def _answer(self) -> None:
        if self.is_away:
            raise ConnectionError("connection refused")


@pytest.fixture
def follow(logged: LoggedExperiment, tiny_job: Job, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens a tracker of the logged experiment, as each command does; a server is tried again at once."""
    monkeypatch.setattr(remote, "RETRY_S", 0.0)
    logged.root.write_bytes("job.yaml", b"about: x\n")

    def open_tracker(server: RecordingServer, said: list[str]) -> RemoteTracker:
        return RemoteTracker(server, Run(logged.root), tiny_job, said.append)

    return open_tracker


def test_next_command_continues_same_run(logged: LoggedExperiment, follow: Any) -> None:
    """A resumed run goes on in the same run of the server, and sends no row and no picture again."""
    server = RecordingServer()
    first = follow(server, [])
    logged.update(first)
    first.close("interrupted")
    assert server.rows == [("gan", 50), ("gan", 50), (MODEL, 25)]
    assert server.pictures == [("gan", 50)]
    logged.restart("gan", 0)  # no checkpoint was there yet: it logs the same again, and more
    second = follow(server, [])
    logged.log("gan", 50, images_seen=800, loss_g=1.5, loss_d=0.5)
    logged.update(second)
    logged.log("gan", 50, val_kid_teacher_n100v200=0.25)
    logged.log("gan", 100, loss_g=1.25)
    logged.update(second)
    second.close("done")
    assert server.runs == [None, "r1"]
    assert server.rows[3:] == [("gan", 100)]
    assert server.pictures == [("gan", 50)]
    assert server.ends == ["interrupted", "done"]
    assert len(server.results) == 1


def test_other_training_in_same_folder_is_sent(logged: LoggedExperiment, follow: Any) -> None:
    """A training that began anew with another setting, and so other figures, is sent from its first row."""
    server = RecordingServer()
    logged.update(follow(server, []))
    logged.restart("gan", 0)
    logged.log("gan", 50, loss_g=3.5)
    logged.update(follow(server, []))
    assert server.rows[3:] == [("gan", 50)]


def test_server_that_is_away_gets_everything_later(logged: LoggedExperiment, follow: Any) -> None:
    """A server that does not answer is a sentence, once; when it is back it is sent what it missed."""
    server = RecordingServer()
    said: list[str] = []
    tracker = follow(server, said)
    server.is_away = True
    with follow_trainings(Run(logged.root), [tracker], said.append):
        logged.log("gan", 100, loss_g=1.25)
    (line,) = said
    assert "tracking.mlflow http://host:5000" in line
    assert "connection refused" in line
    server.is_away = False
    with follow_trainings(Run(logged.root), [follow(server, said)], said.append):
        pass
    assert server.rows == [("gan", 50), ("gan", 50), ("gan", 100), (MODEL, 25)]
    assert server.ends == ["done"]
    assert len(said) == 1


def test_another_server_is_sent_whole_run(logged: LoggedExperiment, follow: Any) -> None:
    """Where the address changes between two commands, the new server gets all of the run."""
    logged.update(follow(RecordingServer(), []))
    other = RecordingServer()
    other.address = "http://other:5000"
    logged.update(follow(other, []))
    assert other.runs == [None]
    assert len(other.rows) == 3


def test_tracking_is_no_part_of_identity(tiny_job: Job, tmp_path: Path) -> None:
    """A finished experiment takes another tracking setting, and its parameters do not name it."""
    run = Run(Folder.from_uri(tmp_path / "x"))
    run.claim_folder(tiny_job)
    (run.dataset.create()).write_json("dataset.json", {})
    tracked = tiny_job.model_copy(update={"tracking": TrackingConfig(mlflow="http://host:5000")})
    said: list[str] = []
    run.claim_folder(tracked, said.append)
    assert said == []
    assert flatten_settings(tracked) == flatten_settings(tiny_job)


def test_missing_package_names_setting(tiny_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose package is not installed is refused before anything begins."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("mlflow", "wandb"):
        job = tiny_job.model_copy(update={"tracking": TrackingConfig(**{name: "x"})})
        with pytest.raises(UserError, match=rf"tracking\.{name}: .*not installed; pip install"):
            servers.open_servers(job, Run(Folder.from_uri(tmp_path)))
    left_out = tiny_job.model_copy(update={"tracking": TrackingConfig()})
    assert servers.open_servers(left_out, Run(Folder.from_uri(tmp_path))) == []


@pytest.fixture
def finished(experiment: Run, tmp_path: Path) -> Run:
    """A finished experiment that a test may write to."""
    shutil.copytree(str(experiment.root), tmp_path / "tiny", symlinks=True)
    return Run(Folder.from_uri(tmp_path / "tiny"))


@pytest.fixture(params=["server", "store"])
def mlflow_address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an MLflow server, or of a store in a file."""
    if request.param == "server":
        return request.getfixturevalue("mlflow_server")
    for name in PACKAGES:
        pytest.importorskip(name, reason=INSTALL)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.chdir(tmp_path)  # the store's artifacts are beside it
    return f"sqlite:///{tmp_path}/mlflow.db"


class SayingTerminal(Terminal):
    """Remembers what it is told to print."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def print_stage_line(self, stage: str, status: str, text: str, seconds: float | None = None) -> None:
        self.said.append(f"{stage} {status} {text}")


def send(run: Run, job: Job, **address: str) -> list[str]:
    """Send a run as a command does; return what was said."""
    terminal = SayingTerminal()
    tracked = job.model_copy(update={"tracking": TrackingConfig(**address)})
    with follow_pipeline(Pipeline(tracked, run, terminal)):
        pass
    return terminal.said


def test_mlflow_has_whole_run(finished: Run, tiny_job: Job, mlflow_address: str) -> None:
    """MLflow has parameters, curves, pictures, the page, and the champion as a model that answers alike."""
    from mlflow import MlflowClient, artifacts, pyfunc

    assert send(finished, tiny_job, mlflow=mlflow_address) == []
    client = MlflowClient(mlflow_address)
    (found,) = client.search_runs([client.get_experiment_by_name("ganaug").experiment_id])
    number = found.info.run_id
    assert found.info.status == "FINISHED"
    assert found.data.params["gan.steps"] == str(tiny_job.gan.steps)
    logs = {log.name: log for log in ExperimentLogs(finished.root).read()}
    curve = [(row["step"], round(row["loss_g"], 6)) for row in logs["gan"].rows if "loss_g" in row]
    assert [(m.step, round(m.value, 6)) for m in client.get_metric_history(number, "gan/loss_g")] == curve
    assert client.get_metric_history(number, "models/real_classic/seed-0/val_accuracy")
    images = [artifact.path for artifact in client.list_artifacts(number, "images")]
    assert sum(path.endswith(".png") for path in images) == len(logs["gan"].pictures)
    paths = {artifact.path for artifact in client.list_artifacts(number)}
    assert {"report.html", "verdict.json", "job.yaml", "model"} <= paths
    verdict = finished.root.read_json("verdict.json")
    assert verdict["sentence"] in found.data.tags["answer"]
    version = client.get_model_version_by_alias("tiny", "champion")
    assert version.run_id == number
    registered = client.get_model_version_download_uri("tiny", version.version)
    local = Path(artifacts.download_artifacts(registered, tracking_uri=mlflow_address))
    model = pyfunc.load_model(str(local))
    champion = finished.registry / "versions" / "1"
    pictures = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 1), np.uint8)
    expected = load_probabilities(champion, pictures)
    assert np.allclose(model.predict(pictures), expected, atol=1e-5)
    files = {path.name for path in local.rglob("*") if path.is_file()}
    assert {"MLmodel", "model.safetensors"} <= files  # and nothing pickled, and nothing of what it has seen
    assert not [name for name in files if name.endswith((".pkl", ".parquet"))]
    send(finished, tiny_job, mlflow=mlflow_address)  # a finished run, once more
    assert len(client.search_runs([found.info.experiment_id])) == 1
    assert len(client.get_metric_history(number, "gan/loss_g")) == len(curve)
    assert [one.version for one in client.search_model_versions("name='tiny'")] == [version.version]


def load_probabilities(folder: Folder, pictures: np.ndarray) -> np.ndarray:
    from ganaug_ray.classify.predict import Classifier

    return np.array([list(one.probabilities.values()) for one in Classifier.load(folder).predict(list(pictures))])


def test_run_is_followed_without_settings(finished: Run, tiny_job: Job) -> None:
    """A run of any job has TensorBoard's event files of each training, and a page of their curves."""
    assert send(finished, tiny_job) == []
    assert finished.root.has_file("training.html")
    for training in ("gan", "models/real+classic/seed-0"):
        (name,) = (finished.root / "tensorboard" / training).list_files()
        assert name.startswith("events.out.tfevents."), training


def join_blocks(log: bytes) -> bytes:
    """What a log in LevelDB's format holds: behind its first 7 bytes, blocks of 32 KiB of records with headers."""
    content = b""
    place = 7
    while place + 7 <= len(log):
        length = int.from_bytes(log[place + 4 : place + 6], "little")
        content += log[place + 7 : place + 7 + length]
        place += 7 + length
        room = -place % 2**15
        place += room if room < 7 else 0  # too little for another header
    return content


def test_wandb_has_whole_run(finished: Run, tiny_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's own library takes the run, here without a network, and the next command sends nothing again."""
    wandb = pytest.importorskip("wandb", reason="Weights & Biases is not installed: pip install wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert send(finished, tiny_job, wandb="ganaug") == []
    wandb.teardown()  # as at the end of the process: its service writes the rest
    (file,) = (tmp_path / "tiny" / "tracking").rglob("*.wandb")
    content = join_blocks(file.read_bytes())
    for name in (b"gan/loss_g", b"gan/samples", b"report.html", b"model.safetensors"):
        assert name in content, name
    aliases = rb"\x06latest.\x08champion|\x08champion.\x06latest"
    assert re.search(aliases, content), "the aliases of the model, with their lengths, in any order"
    assert ModelRecord.read(finished.registry / "versions" / "1").hash
    stored = json.loads((tmp_path / "tiny" / "tracking" / "wandb.json").read_text())
    assert stored["model"]
    assert send(finished, tiny_job, wandb="ganaug") == []
    assert len(list((tmp_path / "tiny" / "tracking").rglob("*.wandb"))) == 1
