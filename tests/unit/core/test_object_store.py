"""What is written to an object store equals what is written to disk; where it now and then fails, it is asked again."""

from __future__ import annotations

import itertools
import json
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from pyarrow import fs as pafs

from ganaug_ray.config import Job
from ganaug_ray.core import metrics_log
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.prepare import prepare_dataset
from tests.conftest import finish
from tests.helpers.wsgi import serve

SPELLS = [None, None, None, "500 Internal Server Error", "503 Slow Down", None, None, "dropped"]


class Flaky:
    """An S3 server whose requests fail in turn as SPELLS say."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._spells = itertools.cycle(SPELLS)
        self._lock = threading.Lock()
        self.failing = False
        self.failed: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        with self._lock:
            spell = next(self._spells) if self.failing else None
        if spell is None:
            return self._app(environ, start_response)
        self.failed.append(spell)
        if spell == "dropped":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionAbortedError
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start_response(spell, [("Content-Length", "0")])
        return []


@pytest.fixture(scope="module")
def flaky() -> Iterator[tuple[Flaky, Folder]]:
    """The server, and a folder in its bucket."""
    app = Flaky()
    with pytest.MonkeyPatch.context() as patch, serve(app) as port:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        where = f"endpoint_override=http://127.0.0.1:{port}&scheme=http&allow_bucket_creation=true"
        yield app, Folder.from_uri(f"s3://flaky?{where}").create() / "run"


def contents(root: Folder) -> dict[str, bytes]:
    """Every file of an experiment; of a log in parts, its whole. Without those that keep others out of it, and without
    Ray's chatter, which another test's command may have left in the experiment that the tests share."""
    infos = root.fs.get_file_info(pafs.FileSelector(root.path, recursive=True))
    names = sorted(info.path.removeprefix(f"{root.path}/") for info in infos if info.type == pafs.FileType.File)
    found: dict[str, bytes] = {}
    for name in names:
        if not re.search(r"claims/|\.lock$|^log\.txt$", name):
            whole = re.sub(r"metrics-\d+\.jsonl$", "metrics.jsonl", name)
            found[whole] = found.get(whole, b"") + root.read_bytes(name)
    return found


def timeless(files: dict[str, bytes]) -> dict[str, bytes]:
    """What files say, but for where they lie, when and in what time they were made, and the hash over all that."""
    space = r"(?: |\xc2\xa0)"
    duration = rf"(?:&lt;{space})?[\d.]+{space}(?:s|min|h|seconds?|minutes?|hours?|(?:core|GPU)-hours)\b"
    texts = r'"model": "[^"]*/[^"]*"|"(?:advice|made|answered)": "[^"]*"'
    changing = {
        ".json": rf'"(?:(?:train_)?seconds|at|answered_at|cores|gpus)": [^,\n]+|{texts}',
        ".html": rf"{duration}|--out</span> <span>[^<]+|width: [\d.]+%|\d\d? [A-Z][a-z]+ 20\d\d",
    }
    own = json.loads(files["report.json"])["hash"].encode()
    timeless_files = {}
    for name, content in files.items():
        pattern = changing.get(Path(name).suffix)
        timeless_files[name] = re.sub(pattern.encode(), b"", content).replace(own, b"") if pattern else content
    return timeless_files


def test_object_store_experiment_equals_disk(flaky: tuple[Flaky, Folder], tiny_job: Job, experiment: Run) -> None:
    """An experiment on an object store has the same files as one on disk."""
    run = Run(flaky[1] / experiment.root.name)
    run.claim_folder(tiny_job)
    prepare_dataset(tiny_job.data, run.dataset)
    finish(tiny_job, run)
    there, here = contents(run.root), contents(experiment.root)
    here |= {f"dataset/{name}": content for name, content in contents(experiment.dataset).items()}
    assert there.keys() == here.keys()
    assert {"report.html", "registry/versions/1/model.onnx", "gan/checkpoints/step-00000006.json"} <= there.keys()
    there, here = timeless(there), timeless(here)
    assert [name for name in here if there[name] != here[name]] == []


def test_failed_requests_are_retried(flaky: tuple[Flaky, Folder]) -> None:
    """Requests that end in a server error or a lost connection are retried."""
    server, folder = flaky
    server.failing = True
    names = [f"{number}.json" for number in range(5)]
    for number, name in enumerate(names):
        folder.write_json(name, {"number": number})
    table = pa.table({"n": range(1000)})
    folder.write_table("rows.parquet", table)
    log = metrics_log.MetricsLog(folder / "model", 0)
    for step in range(1, 5):
        log.append_line({"step": step})
        log.flush()
    assert folder.list_files(".json") == sorted(names)
    assert [folder.read_json(name)["number"] for name in names] == list(range(5))
    assert folder.read_table("rows.parquet") == table
    assert [row["step"] for row in metrics_log.read_metrics(folder / "model")] == [1, 2, 3, 4]
    assert metrics_log.read_newest_lines(folder / "model")[-1] == {"step": 4}
    folder.delete_file("0.json")
    assert not folder.has_file("0.json")
    assert set(server.failed) == set(SPELLS) - {None}
