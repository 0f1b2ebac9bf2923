"""An object store that now and then fails: requests are tried again, and nothing is lost or doubled."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from ganaug_ray import logs
from ganaug_ray.storage import Folder

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


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Flaky, Folder]]:
    """The server, and a folder in its bucket."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    app = Flaky()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    where = f"endpoint_override=http://127.0.0.1:{server.server_port}&scheme=http&allow_bucket_creation=true"
    try:
        yield app, Folder.at(f"s3://flaky?{where}").make() / "run"
    finally:
        server.shutdown()
        thread.join()


def test_errors_and_lost_connections_are_tried_again(flaky: tuple[Flaky, Folder]) -> None:
    server, folder = flaky
    server.failing = True
    names = [f"{number}.json" for number in range(5)]
    for number, name in enumerate(names):
        folder.write_json(name, {"number": number})
    table = pa.table({"n": range(1000)})
    folder.write_table("rows.parquet", table)
    log = logs.MetricsLog(folder / "model", 0)
    for step in range(1, 5):
        log.add({"step": step})
        log.flush()
    assert folder.files(".json") == sorted(names)
    assert [folder.read_json(name)["number"] for name in names] == list(range(5))
    assert folder.read_table("rows.parquet") == table
    assert [row["step"] for row in logs.read_metrics(folder / "model")] == [1, 2, 3, 4]
    assert logs.read_newest(folder / "model")[-1] == {"step": 4}
    folder.delete("0.json")
    assert not folder.has("0.json")
    assert set(server.failed) == set(SPELLS) - {None}
