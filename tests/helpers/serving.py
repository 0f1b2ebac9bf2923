"""What the tests of serving share: a registry whose models need no training."""

from __future__ import annotations

import io
import random
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from ganaug_ray.classify import networks
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core import experiment_dir, model_registry
from ganaug_ray.core.checkpoint import pack_states
from ganaug_ray.core.storage import Folder
from tests.conftest import PATIENCE, environment
from tests.helpers import records
from tests.helpers.callers import Course, Question, form

LOCAL = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
CLASSES = ["bird", "cat", "dog", "Übung"]
METRICS = {"RAY_metrics_report_interval_ms": "1000"}  # of 10,000: what is counted can be read in a second
IMAGES = 24  # that ``questions`` are about
REPLICA = "ray::ServeReplica:default:ganaug"
DIRECT_PORTS = range(30_000, 31_000)  # where Serve lets replicas listen for HAProxy
LINEAGE = {
    "arm": "real+classic",
    "seed": 0,
    "reason": "the best",
    "verdict": "unclear",
    "sentence": "Whether synthetic images helped is unclear.",
    "figures": {"accuracy": 0.75},
    "inputs": {"dataset": "d" * 16, "gan": "e" * 16},
    "job": {"data": {"source": "/home/somebody/secret"}},
}


def promote(experiment: Folder, seed: int, size: int = 32, arch: str = "cnn", channels: int = 3) -> dict[str, Any]:
    """Promote a model of random weights, which depend on the seed, in an experiment's registry."""
    torch.manual_seed(seed)
    wanted = networks.choose_input(arch, size, None, False)
    network = networks.build_network(arch, channels, len(CLASSES), 0.0, wanted)
    for bias in (value for name, value in network.named_parameters() if name.startswith("head") and value.dim() == 1):
        bias.data.normal_(0, 3)  # so that versions differ in what they say
    weights = save(pack_states({"network": network}))
    folder = (experiment / "models" / str(seed)).create()
    folder.write_bytes("model.safetensors", weights)
    spec = {"hash": experiment_dir.hash_content(weights), "arch": arch, "classes": CLASSES, "channels": channels}
    records.write_model(folder, **spec, image_size=size, seed=seed, **wanted.spec)
    return model_registry.promote_model(experiment / "registry", folder, {**LINEAGE, "seed": seed})


def encoded(seed: int = 0, size: tuple[int, int] = (40, 60), kind: str = "PNG") -> bytes:
    """A file of random pixels, RGB."""
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(sink, kind)
    return sink.getvalue()


@dataclass(frozen=True)
class Server:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    metrics: str
    experiment: Folder
    trust: ssl.SSLContext | None = None

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer."""
        return post(self.url + path, body, headers, self.trust)

    def get(self, url: str) -> bytes:
        """Return an answer's body."""
        with urllib.request.urlopen(url, timeout=PATIENCE, context=self.trust) as answer:
            return answer.read()


def post(
    url: str, body: bytes, headers: dict[str, str] | None = None, trust: ssl.SSLContext | None = None
) -> tuple[int, bytes]:
    """Return status and body of an answer."""
    request = urllib.request.Request(url, body, headers or {}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE, context=trust) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def listening(process: psutil.Process) -> dict[str, list[str]]:
    """Every address that a process and its descendants listen on, with their names."""
    found: dict[str, list[str]] = {}
    for one in [process, *process.children(recursive=True)]:
        try:
            for connection in one.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.setdefault(connection.laddr.ip, []).append(f"{one.name()}:{connection.laddr.port}")
        except psutil.NoSuchProcess:
            continue
    return found


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def questions(count: int, seed: int = 0) -> Iterator[Question]:
    """Requests of one image or several, ``about`` whose seeds they are."""
    draw, images = random.Random(seed), [encoded(n, kind="JPEG") for n in range(IMAGES)]
    for _ in range(count):
        seeds = draw.sample(range(IMAGES), draw.choice((1, 1, 1, 2, 6)))
        one_body = images[seeds[0]], dict[str, str]()
        yield Question(*(one_body if len(seeds) == 1 else form(images[n] for n in seeds)), seeds)


class Expected:
    """What each version of an experiment's registry says of the images of ``questions``."""

    def __init__(self, experiment: Folder) -> None:
        images, versions = [encoded(n, kind="JPEG") for n in range(IMAGES)], experiment / "registry" / "versions"
        self._said = {name: Classifier.load(versions / name).predict(images) for name in versions.list_folders()}

    def is_of_one_version(self, course: Course) -> bool:
        """Whether each image was answered as the version does that the answer names."""
        assert course.answer is not None
        said = self._said[course.answer["version"]]
        pairs = zip(course.question.about, course.answer["predictions"], strict=True)
        return all(one["probabilities"] == pytest.approx(said[n].probabilities, abs=1e-4) for n, one in pairs)


def replicas(server: Server) -> list[psutil.Process]:
    """The processes that answer: those of the deployment that have opened their port for the proxy."""
    found = []
    for one in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            ports = [each.laddr.port for each in one.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
            if one.cmdline()[:1] == [REPLICA] and any(port in DIRECT_PORTS for port in ports):
                found.append(one)
    return found


@contextmanager
def running(folder: Path, *options: str, open_files: int | None = None) -> Iterator[Server]:
    """``ganaug serve`` with one replica, until the context ends.

    Args:
        folder: of the experiment.
        options: of the command.
        open_files: the most files that each of its processes may have open; absent: as many as this one.
    """
    command = [sys.executable, "-m", "ganaug_ray", "serve", str(folder), "--port", str(free_port()), "--replicas", "1"]
    if open_files is not None:
        command = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *command]
    process = subprocess.Popen(
        [*command, *options], env=environment(**METRICS), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line: list[str] = []
    for text in process.stdout:  # what it waits for comes before
        line = text.split()
        if line[:2] == ["serve", "ready"]:
            break
    else:
        pytest.fail(str(process.communicate()))
    try:
        yield Server(process, line[2], line[line.index("metrics:") + 1].rstrip(";"), Folder.from_uri(folder))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE)
