"""Requests after public reports of other people's trouble with servers, one a name: answered, or told what to send.

Those of callers at one time are in test_serve_books.py, inputs from files in tests/unit/data/test_reported_cases.py.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, features
from starlette.testclient import TestClient

from ganaug_ray.serve import app
from ganaug_ray.serve.service import Service
from tests.helpers.serving import encoded

PNG = encoded(1, (32, 32))
TENSOR = np.asarray(Image.open(io.BytesIO(PNG)).convert("RGB"))  # [32, 32, 3]
SEND = "send the image file itself"


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return TestClient(app.build_application(service, []), "http://localhost", raise_server_exceptions=False)


def make_tensor_request(data: np.ndarray) -> dict[str, Any]:
    tensor = {"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": data.tolist()}
    return {"json": {"inputs": [tensor]}}


def make_avif() -> bytes:
    sink = io.BytesIO()
    if features.check("avif"):
        Image.open(io.BytesIO(PNG)).save(sink, "AVIF")
    return sink.getvalue()


REQUESTS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "nested-in-its-shape": ("/v2/models/pets/infer", make_tensor_request(TENSOR[None]), 200, ""),
    "flat": ("/v2/models/pets/infer", make_tensor_request(TENSOR.ravel()), 200, ""),
    "nested-in-another-shape": (
        "/v2/models/pets/infer", make_tensor_request(TENSOR.transpose(2, 0, 1)[None]), 400, r"1, 3, 32, 32"
    ),
    "text-field-beside-the-image": (
        "/v1/predict", {"files": {"images": ("a.png", PNG)}, "data": {"note": "my cat"}}, 200, ""
    ),
    "empty-file-field-beside-the-image": (
        "/v1/predict", {"files": [("images", ("a.png", PNG)), ("other", ("", b""))]}, 200, ""
    ),
    "heic": ("/v1/predict", {"content": b"\0\0\0\x18ftypheic" + bytes(40)}, 415, "HEIC; save it as PNG or JPEG"),
    "base64-in-json": ("/v1/predict", {"json": {"image": base64.b64encode(PNG).decode()}}, 415, SEND),
    "form-encoded": ("/v1/predict", {"data": {"image": base64.b64encode(PNG).decode()}}, 415, SEND),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_reported_request_is_answered_right(name: str, client: TestClient) -> None:
    """Each request is answered, or refused with what it is and what to send."""
    path, request, status, says = REQUESTS[name]
    answer = client.post(path, **request)
    assert answer.status_code == status, answer.text
    assert says in answer.text


def test_nested_data_give_the_flat_answer(client: TestClient) -> None:
    """Data that are nested in their shape are read in its order."""
    answers = [
        client.post("/v2/models/pets/infer", **make_tensor_request(data)).json()["outputs"]
        for data in (TENSOR[None], TENSOR.ravel())
    ]
    assert answers[0] == answers[1]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_answered(client: TestClient) -> None:
    """AVIF is read where Pillow can."""
    assert client.post("/v1/predict", content=make_avif()).status_code == 200


@pytest.mark.parametrize("path", ["/healthz", "/v2/health/live", "/v2/health/ready", "/"])
def test_watchers_may_ask_with_head(path: str, client: TestClient) -> None:
    """Health routes and the page answer HEAD."""
    assert client.head(path).status_code == 200
