"""Folders in a bucket of a server that speaks the protocol of Google's store."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pyarrow as pa
import pytest

from ganaug_ray.core import model_registry
from ganaug_ray.core.storage import Folder
from tests.conftest import PATIENCE
from tests.helpers.serving import promote


@pytest.fixture(scope="module")
def bucket() -> Iterator[Folder]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}"]
    server = subprocess.Popen(
        [*command, "--in-memory", "--default-bucket=bucket"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert server.poll() is None, "the server ended; is gcp-storage-emulator installed?"
            assert time.monotonic() < deadline
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield Folder.from_uri(
            f"gs://anonymous@bucket?endpoint_override=127.0.0.1:{port}&scheme=http&retry_limit_seconds=20"
        )
    finally:
        server.kill()
        server.wait()


def test_google_store_lists_its_files(bucket: Folder) -> None:
    """Files, tables and folders written to Google's store are listed and read again."""
    root, table = bucket / "run", pa.table({"n": range(1000)})
    assert (root.list_files(), root.list_folders(), root.has_file("a.json")) == ([], [], False)
    root.write_json("a.json", {"one": 1})
    (root / "models" / "real+classic").write_table("rows.parquet", table)
    (root / "empty").create()
    assert Folder.from_uri(str(root)).read_json("a.json") == {"one": 1}
    assert (root / "models" / "real+classic").read_table("rows.parquet") == table
    assert root.list_files() == ["a.json"]
    assert root.list_folders() == ["empty", "models"], "also one that nobody made, and that only its files make"
    root.delete_file("a.json")
    assert not root.has_file("a.json")


def test_registry_counts_google_store_versions(bucket: Folder) -> None:
    """A registry in Google's store counts its versions."""
    versions = [promote(bucket / "pets", seed)["version"] for seed in range(3)]
    assert versions == [1, 2, 3]
    assert model_registry.resolve_model(str(bucket / "pets")).name == "3"
