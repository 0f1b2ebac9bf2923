"""What a refused request is advised, followed in the next request: then it is answered."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from ganaug_ray.errors import UserError
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.serve import app
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.problem_details import ProblemError
from ganaug_ray.serve.request_body import read_body
from ganaug_ray.serve.rollout_config import Rollout
from ganaug_ray.serve.serve_config import check_gpus, choose_gpus, choose_replicas
from ganaug_ray.serve.service import Service
from tests.helpers.serving import encoded

PNG = encoded(1, (32, 32))
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
TENSOR = {"name": "image", "datatype": "UINT8", "shape": [2, 32, 32, 3], "data": PIXELS.ravel().tolist()}
BINARY = {key: value for key, value in TENSOR.items() if key != "data"}
INFER = "/v2/models/pets/infer"
HEAD = 'Content-Disposition: form-data; name="images"; filename="a.png"'


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return TestClient(app.build_application(service, []), "http://localhost", raise_server_exceptions=False)


def tensors(request: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Return a request of the Open Inference Protocol, with changes to its tensor."""
    return {"json": {"inputs": [TENSOR | changes]} | (request or {})}


def binary(size: int, pixels: bytes = PIXELS.tobytes(), length: str | None = None) -> dict[str, Any]:
    text = json.dumps({"inputs": [BINARY | {"parameters": {"binary_data_size": size}}]}).encode()
    return {"content": text + pixels, "headers": {"Inference-Header-Content-Length": length or str(len(text))}}


def form(content: str, kind: str = "multipart/form-data; boundary=edge") -> dict[str, Any]:
    return {"content": content.encode("latin-1"), "headers": {"Content-Type": kind}}


def images(*contents: bytes) -> dict[str, Any]:
    return {"files": [("images", (f"{number}.png", content)) for number, content in enumerate(contents)]}


FORM = "\r\n".join(["--edge", HEAD, "", PNG.decode("latin-1"), "--edge--", ""])
WHOLE = tensors()
IMAGE = {"content": PNG, "headers": {"Content-Type": "image/png"}}
REQUESTS = [
    (INFER, {"content": PNG}, "image files go to /v1/predict", IMAGE),
    (INFER, {"json": [1]}, "expected a JSON object", WHOLE),
    (INFER, {"json": {}}, "inputs: expected one, named image", WHOLE),
    (INFER, tensors(name="picture"), "inputs: expected one, named image", WHOLE),
    (INFER, tensors({"id": 7}), "id: expected a string", tensors({"id": "7"})),
    (INFER, tensors(datatype="FP32"), "expected datatype UINT8", WHOLE),
    (INFER, tensors(shape=[2, 3, 32, 32]), r"expected shape \[-1, 32, 32, 3\]", WHOLE),
    (INFER, tensors(shape=[9, 32, 32, 3]), "expected 1 to 4 images", WHOLE),
    (INFER, tensors(data=PIXELS.reshape(2, 3, 32, 32).tolist()), "nest them so", tensors(data=PIXELS.tolist())),
    (INFER, tensors(data=PIXELS.reshape(2, 3, 32, 32).tolist()), "or send them flat", WHOLE),
    (INFER, tensors(data=(PIXELS / 255).ravel().tolist()), "whole numbers from 0 to 255", WHOLE),
    (INFER, binary(7), f"expected binary_data_size {PIXELS.size} and as many bytes", binary(PIXELS.size)),
    (INFER, binary(PIXELS.size, b"x"), "as many bytes after the JSON", binary(PIXELS.size)),
    (INFER, binary(PIXELS.size, length="x"), "Inference-Header-Content-Length: expected a number", binary(PIXELS.size)),
    (INFER, binary(PIXELS.size, length="999999999"), "is more than the body's", binary(PIXELS.size)),
    (INFER, tensors({"outputs": ["label"]}), "expected a list of objects", tensors({"outputs": [{"name": "label"}]})),
    (
        INFER,
        tensors({"outputs": [{"name": "scores"}]}),
        "outputs: there are probabilities and label",
        tensors({"outputs": [{"name": "probabilities"}]}),
    ),
    (
        INFER,
        tensors({"outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]}),
        "ask for label",
        tensors({"outputs": [{"name": "label"}]}),
    ),
    (
        INFER,
        tensors({"parameters": {"binary_data_output": "yes"}}),
        "binary_data_output: expected true or false",
        tensors({"parameters": {"binary_data_output": True}}),
    ),
    ("/v1/explain", images(PNG, PNG), "expected one image", images(PNG)),
    (
        "/v1/predict",
        {"content": PNG, "headers": {"Content-Type": "image/png", "Content-Encoding": "gzip"}},
        "send the body as it is, without Content-Encoding",
        IMAGE,
    ),
    ("/v1/predict", form(FORM, "multipart/form-data"), "names no boundary in its Content-Type", form(FORM)),
    (
        "/v1/predict",
        form(FORM, "multipart/form-data; boundary=other"),
        "does not begin with the boundary that its Content-Type names",
        form(FORM),
    ),
    ("/v1/predict", form(FORM.replace("\r\n", "\n")), "lines end without a carriage return", form(FORM)),
    ("/v1/predict", form(FORM[:-10]), "the form ends too early; send a form with", form(FORM)),
    ("/v1/predict", form(FORM.replace(HEAD, "(:")), "the form is damaged; send a form with", form(FORM)),
    ("/v1/predict", images(*[PNG] * 5), "more than 4 images in a request; send the rest in another", images(PNG)),
    (
        "/v1/predict",
        images(PNG) | {"data": {str(number): "x" for number in range(104)}},
        "more than 104 parts in a form; send the rest in another",
        images(PNG) | {"data": {str(number): "x" for number in range(103)}},
    ),
    ("/v1/predict", {"content": bytes(20_000_001)}, "longer than 20000000 bytes; send fewer or smaller images", IMAGE),
]


@pytest.mark.parametrize(("route", "sent", "advice", "mended"), REQUESTS)
def test_request_is_answered_once_mended(
    client: TestClient, route: str, sent: dict[str, Any], advice: str, mended: dict[str, Any]
) -> None:
    """A request is refused with advice, and answered in the form that this names."""
    refusal = client.post(route, **sent)
    assert 400 <= refusal.status_code < 500
    assert re.search(advice, refusal.json()["detail"]), refusal.json()["detail"]
    route = "/v1/predict" if "go to /v1/predict" in advice else route
    answer = client.post(route, **mended)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("way", ["call it as localhost", "start it with --key-file"])
def test_server_without_key_is_called_as_advised(way: str, client: TestClient, service: Service) -> None:
    """By another name a server without an API key refuses; as localhost it answers, and with a key by any name."""

    def call(built: Any, host: str, headers: dict[str, str] | None = None) -> Any:
        return TestClient(built, host).get("/v1/model", headers=headers)

    refusal = call(client.app, "http://models.example.com")
    assert (refusal.status_code, way in refusal.json()["detail"]) == (421, True)
    if way == "call it as localhost":
        assert call(client.app, "http://localhost").status_code == 200
        return
    key = "long-enough-a-key"
    with_key = app.build_application(service, [key])
    refusal = call(with_key, "http://models.example.com")
    advised = re.findall(r"`(\S+): (.*?)`", refusal.json()["detail"])
    assert (refusal.status_code, len(advised)) == (401, 2)
    for name, value in advised:
        headers = {name: value.replace("KEY", key)}
        assert call(with_key, "http://models.example.com", headers).status_code == 200


def test_request_is_sent_in_time_once_smaller() -> None:
    """A request that does not arrive in time is told to send less, and one that is there at once is read."""

    class SlowRequest:
        has_rest = False

        async def stream(self) -> AsyncIterator[bytes]:
            yield PNG
            if not self.has_rest:
                await asyncio.Event().wait()

    request: Any = SlowRequest()
    limits = RequestLimits(seconds=0.01)
    with pytest.raises(ProblemError) as caught:
        asyncio.run(read_body(request, limits))
    assert caught.value.status == 408
    assert caught.value.detail.endswith("within 0.01 seconds; send fewer or smaller images")
    request.has_rest = True
    assert asyncio.run(read_body(request, limits)) == PNG


@pytest.mark.parametrize(
    ("call", "error", "advice", "mended"),
    [
        (lambda text: RequestLimits.from_settings([text]), "images=many", "expected a positive number", "images=2"),
        (lambda text: RequestLimits.from_settings([text]), "pictures=2", "they are .*images", "images=2"),
        (lambda text: check_gpus(float(text)), "1.5", "a share of one, such as 0.5", "0.5"),
        (lambda text: check_gpus(float(text)), "1.5", "or a whole number", "2"),
        (lambda text: choose_gpus(float(text), Hardware.of_one_machine(4, 1)), "2", "give --gpus 1", "1"),
        (
            lambda text: choose_replicas((int(text), 8), Hardware.of_one_machine(8, 2), gpus=1),
            "3",
            "give --replicas 2",
            "2",
        ),
        (
            lambda text: choose_replicas((3, 3), Hardware.of_one_machine(8, 2), gpus=float(text)),
            "1",
            "or --gpus 0",
            "0",
        ),
        (lambda text: Rollout.from_options(text, None), "pets:2", "a number above 0 and up to 1", "pets:1"),
    ],
)
def test_option_is_taken_once_mended(call: Callable[[str], Any], error: str, advice: str, mended: str) -> None:
    """An option of ganaug serve is refused with advice, and taken as this says."""
    with pytest.raises(UserError, match=advice):
        call(error)
    call(mended)
