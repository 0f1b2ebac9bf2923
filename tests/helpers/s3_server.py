"""An S3 server in a process of its own, with handwritten digits in its bucket."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ganaug_ray.core.storage import Folder
from tests.conftest import PATIENCE

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
CLASSES, IMAGES = 4, 30  # a class


@dataclass(frozen=True)
class Store:
    """An S3 server with one bucket."""

    endpoint: str

    def uri(self, path: str, *settings: str) -> str:
        """The address of something in the bucket that also says where the server is."""
        return f"s3://bucket/{path}?" + "&".join([f"endpoint_override={self.endpoint}", "scheme=http", *settings])


def make_pngs() -> dict[str, bytes]:
    """Handwritten digits as files, a folder a class."""
    digits = load_digits()
    files = {}
    for label in range(CLASSES):
        for index in np.flatnonzero(digits.target == label)[:IMAGES]:
            sink = io.BytesIO()
            Image.fromarray((digits.images[index] * 15).astype(np.uint8)).save(sink, "PNG")
            files[f"{label}/{index}.png"] = sink.getvalue()
    return files


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


@contextmanager
def serve_digits() -> Iterator[Store]:
    """Start a server with the images in its bucket, as files and as a zip; this process has its credentials."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(port):
            assert server.poll() is None, "the server ended; is moto[server] installed?"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in CREDENTIALS.items():
                patch.setenv(name, value)
            found = Store(f"http://127.0.0.1:{port}")
            bucket = Folder.from_uri(found.uri("", "allow_bucket_creation=true")).create()
            files = make_pngs()
            for name, content in files.items():
                bucket.write_bytes(f"pictures/{name}", content)
            bucket.write_bytes("pictures.zip", zipped(files))
            yield found
    finally:
        server.kill()
        server.wait()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
