"""``ganaug serve`` with a candidate, as a user starts it: a shadow over HTTPS, labels that come back, a canary."""

from __future__ import annotations

import re
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from json import dumps, loads
from pathlib import Path
from typing import Any

import psutil
import pytest

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.model_registry import resolve_model
from ganaug_ray.core.storage import Folder
from tests.helpers.callers import ask
from tests.helpers.serving import LOCAL, Server, encoded, listening, promote, questions, running
from tests.unit.data.test_web import certificate

JSON = {"content-type": "application/json"}
BOUNDARY = "x-y-z"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rollout")


@pytest.fixture(scope="module")
def server(room: Path) -> Iterator[Server]:
    promote(Folder.from_uri(room / "pets"), 0)
    promote(Folder.from_uri(room / "rival"), 1)
    pem = str(certificate(room))  # it trusts itself
    options = ["--shadow", f"{room / 'rival'}:1", "--feedback", str(room / "feedback")]
    with running(room / "pets", *options, "--tls-cert", pem, "--tls-key", pem) as found:
        yield replace(found, trust=ssl.create_default_context(cafile=pem))


def status(server: Server, pairs: int) -> dict[str, Any]:
    """What is told when so many images have been answered by both; the shadow answers in its own time."""
    for _ in range(300):
        told = loads(server.get(f"{server.url}/v1/rollout"))
        if (told["feedback"]["comparison"] or {}).get("images", 0) >= pairs:
            return told
        time.sleep(0.1)
    raise AssertionError(told)


def test_shadow_is_compared_by_labels(server: Server, room: Path) -> None:
    """A shadow model answers without being returned, and labels say which model is right."""
    contents = [encoded(seed) for seed in range(10)]
    ours, theirs = (Classifier.load(resolve_model(str(room / name))).predict(contents) for name in ("pets", "rival"))
    ids = []
    for content, one in zip(contents, ours, strict=True):
        code, body = server.post("/v1/predict", content)
        assert code == 200
        (said,) = loads(body)["predictions"]
        assert said["label"] == one.label, "the champion is heard"
        ids.append(said["id"])
    told = status(server, 10)
    agreed = sum(one.label == other.label for one, other in zip(ours, theirs, strict=True))
    assert agreed < 10, "or this test compares nothing"
    assert told["feedback"]["comparison"]["agreement"] == agreed / 10
    for id_, truth in zip(ids, theirs, strict=True):
        code, body = server.post("/v1/feedback", dumps({"id": id_, "label": truth.label}).encode(), JSON)
        assert (code, loads(body)["stored"]) == (200, False)
    found = status(server, 10)["feedback"]["comparison"]
    assert found["labels"] == 10
    assert (found["accuracy"]["candidate"], found["accuracy"]["champion"]) == (1.0, agreed / 10)
    assert found["candidate_alone_right"] == 10 - agreed


def test_certificate_enables_https_only(server: Server) -> None:
    """With a certificate the server answers over HTTPS alone."""
    assert server.url.startswith("https://")
    status, body = server.post("/v1/predict", encoded())
    assert (status, loads(body)["model"]) == (200, "pets")
    with pytest.raises(OSError):
        replace(server, url=server.url.replace("https:", "http:")).post("/v1/predict", encoded())
    assert set(listening(psutil.Process(server.process.pid))) <= LOCAL


def test_labelled_image_is_stored_once(server: Server, room: Path) -> None:
    """An image that comes back with its label is stored once, in the folder of its class."""
    content = encoded(77)
    (said,) = loads(server.post("/v1/predict", content)[1])["predictions"]
    parts = [f'name="id"\r\n\r\n{said["id"]}'.encode(), b'name="label"\r\n\r\ncat']
    parts.append(b'name="image"; filename="x.png"\r\nContent-Type: image/png\r\n\r\n' + content)
    edge = f"--{BOUNDARY}".encode()
    form = b"".join(edge + b"\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts)
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    code, body = server.post("/v1/feedback", form + edge + b"--\r\n", headers)
    assert (code, loads(body)["stored"]) == (200, True), body
    (stored,) = list((room / "feedback").rglob("*.png"))
    assert stored.parent.name == "cat"
    assert stored.read_bytes() == content
    assert server.post("/v1/feedback", form + edge + b"--\r\n", headers)[0] == 409
    assert server.post("/v1/feedback", dumps({"id": "nobody", "label": "cat"}).encode(), JSON)[0] == 404
    assert server.post("/v1/feedback", dumps({"id": said["id"], "label": "cow"}).encode(), JSON)[0] == 400


def test_canary_answers_share_and_is_counted(room: Path) -> None:
    """A canary answers its share of the requests, and its answers are counted by version."""
    promote(Folder.from_uri(room / "owls"), 0)
    rival = promote(Folder.from_uri(room / "hawks"), 1)["model"]
    with running(room / "owls", "--canary", f"{room / 'hawks'}:0.3") as server:
        answers = [course.answer for course in ask(server.url, questions(200), connections=8)]
        images = Counter[str]()
        for answer in answers:
            assert answer is not None
            images[answer["version"]] += len(answer["predictions"])
        assert set(images) == {"1", rival}
        share = sum(answer["version"] == rival for answer in answers if answer) / len(answers)
        assert share == pytest.approx(0.3, abs=0.13), "four standard deviations"
        told = status(server, images[rival])
        assert (told["champion"], told["candidate"], told["mode"], told["share"]) == ("1", rival, "canary", 0.3)
        pair = told["feedback"]["comparison"]
        assert (pair["champion"], pair["candidate"], pair["images"]) == ("1", rival, images[rival])
        for _ in range(300):  # metrics are passed on every few seconds
            said = re.findall(r'ganaug_predictions\w*{.*version="(\w+)"', server.get(server.metrics).decode())
            if set(said) == {"1", rival}:
                break
            time.sleep(0.1)
        assert set(said) == {"1", rival}
