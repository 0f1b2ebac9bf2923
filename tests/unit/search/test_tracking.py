"""What follows a search live: event files that can be read back, and a real MLflow server."""

from __future__ import annotations

import importlib.util
import json
import socket
import struct
import urllib.request
from pathlib import Path

import pytest
from pyarrow import fs
from tensorboardX.proto.event_pb2 import Event

from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.search import tracking
from tests.conftest import PATIENCE
from tests.helpers.mlflow_server import INSTALL, ask

SETTINGS = {"gan.lr": 2e-4, "gan.preset": "scarce", "gan.betas": [0.5, 0.9]}


def events(file: bytes) -> list[Event]:
    """Each record is a length of eight bytes, a sum of four, the event, and a sum of four."""
    found, at = [], 0
    while at < len(file):
        (length,) = struct.unpack_from("<Q", file, at)
        found.append(Event.FromString(file[at + 12 : at + 12 + length]))
        at += 16 + length
    return found


def scalars(file: bytes) -> list[tuple[str, int, float]]:
    own = [(value.tag, event.step, value.simple_value) for event in events(file) for value in event.summary.value]
    return [(tag, step, round(number, 6)) for tag, step, number in own if tag in ("value", "kid_std")]


def test_running_trial_writes_event_file(tmp_path: Path) -> None:
    """The results of a trial can be read from its event file while it still runs."""
    board = tracking.TensorBoardTracker(Folder.from_uri(tmp_path))
    board.start_trial("0001", SETTINGS)
    board.start_trial("0002", SETTINGS)
    board.log_result("0001", 100, 0.5, {"kid_std": 0.1})
    (file,) = (tmp_path / "0001").iterdir()
    assert sorted(scalars(file.read_bytes())) == [("kid_std", 100, 0.1), ("value", 100, 0.5)]
    board.log_result("0002", 100, 0.7, {})
    board.log_result("0001", 200, 0.25, {})
    board.end_trial("0001", "failed", "out of memory")
    content = file.read_bytes()
    assert ("value", 200, 0.25) in scalars(content)
    assert b"gan.lr" in content
    assert b"scarce" in content
    assert b"failed: out of memory" in content
    (other,) = (tmp_path / "0002").iterdir()
    assert scalars(other.read_bytes()) == [("value", 100, 0.7)]


def test_object_store_receives_finished_event_files(tmp_path: Path) -> None:
    """On an object store, the event file of a trial appears when the trial ends."""
    folder = Folder(fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()), "bucket", "s3://bucket")
    (folder / "0001").create()  # which a real one does not need
    board = tracking.TensorBoardTracker(folder)
    board.start_trial("0001", SETTINGS)
    board.log_result("0001", 100, 0.5, {})
    assert (folder / "0001").list_files() == []
    board.end_trial("0001", "finished", None)
    (name,) = (folder / "0001").list_files()
    assert scalars((folder / "0001").read_bytes(name)) == [("value", 100, 0.5)]


@pytest.mark.parametrize("uri", ["wandb:mine", "http://localhost:5000", "mlflow:", "mlflow"])
def test_invalid_tracking_uri_is_refused(tmp_path: Path, uri: str) -> None:
    """A tracking address that is not MLflow's is refused with the form that it should have."""
    with pytest.raises(UserError, match=r"search\.tracking.*mlflow:URI"):
        tracking.build_trackers(uri, Folder.from_uri(tmp_path), "digits gan")


def test_credentials_in_uri_are_refused(tmp_path: Path) -> None:
    """Credentials in a tracking address are refused, and the error does not repeat them."""
    with pytest.raises(UserError) as caught:
        tracking.build_trackers("mlflow:http://me:hidden@host:5000", Folder.from_uri(tmp_path), "digits gan")
    assert "hidden" not in str(caught.value)


def test_missing_mlflow_names_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where MLflow is not installed, the error names the setting that needs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"search\.tracking.*not installed"):
        tracking.build_trackers("mlflow:http://localhost:5000", Folder.from_uri(tmp_path), "digits gan")
    assert [type(one) for one in tracking.build_trackers(None, Folder.from_uri(tmp_path), "digits gan")] == [
        tracking.TensorBoardTracker
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_mlflow_receives_run_per_trial(mlflow_server: str, tmp_path: Path) -> None:
    """MLflow receives one run for each trial, with its settings, results and end."""
    said: list[str] = []
    _, follow = tracking.build_trackers(f"mlflow:{mlflow_server}", Folder.from_uri(tmp_path), "digits gan", said.append)
    follow.start_trial("0001", SETTINGS)
    follow.log_result("0001", 100, 0.5, {"kid_std": 0.1})
    follow.log_result("0001", 200, 0.25, {"kid_std": 0.05})
    follow.end_trial("0001", "stopped", "worse than half of the trials")
    follow.start_trial("0002", {"gan.lr": 1e-4})
    follow.end_trial("0002", "finished", None)
    assert said == []
    experiments = ask(mlflow_server, "experiments/search", max_results=10)["experiments"]
    (number,) = [own["experiment_id"] for own in experiments if own["name"] == "digits gan"]
    found = {run["info"]["run_name"]: run for run in ask(mlflow_server, "runs/search", experiment_ids=[number])["runs"]}
    assert sorted(found) == ["0001", "0002"]
    run = found["0001"]
    pairs = {kind: {own["key"]: own["value"] for own in run["data"][kind]} for kind in ("params", "metrics", "tags")}
    assert pairs["params"] == {"gan.lr": "0.0002", "gan.preset": "scarce", "gan.betas": "[0.5, 0.9]"}
    assert pairs["metrics"] == {"value": 0.25, "kid_std": 0.05}
    assert pairs["tags"]["status"] == "stopped"
    assert pairs["tags"]["reason"] == "worse than half of the trials"
    assert run["info"]["status"] == "KILLED"
    assert found["0002"]["info"]["status"] == "FINISHED"
    query = f"{mlflow_server}/api/2.0/mlflow/metrics/get-history?run_id={run['info']['run_id']}&metric_key=value"
    with urllib.request.urlopen(query, timeout=PATIENCE) as answer:
        history = json.load(answer)["metrics"]
    assert [(own["step"], own["value"]) for own in history] == [(100, 0.5), (200, 0.25)]


def test_unreachable_mlflow_warns_once(capfd: pytest.CaptureFixture[str]) -> None:
    """A tracking server that cannot be reached stops no search and is reported once."""
    pytest.importorskip("mlflow", reason=f"MLflow is not installed: {INSTALL}")
    said: list[str] = []
    follow = tracking.MLflowTracker(f"http://127.0.0.1:{free_port()}", "digits gan", said.append)
    for trial in ("0001", "0002"):
        follow.start_trial(trial, SETTINGS)
        follow.log_result(trial, 100, 0.5, {})
        follow.end_trial(trial, "finished", None)
    (note,) = said
    assert "search.tracking" in note
    assert "goes on without it" in note
    assert capfd.readouterr() == ("", "")
