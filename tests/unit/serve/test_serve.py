"""The serving application in this process, without Ray: what is answered, and what is refused and how."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import uvicorn
from PIL import Image, features
from starlette.testclient import TestClient

from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core.model_registry import resolve_model
from ganaug_ray.core.storage import Folder
from ganaug_ray.serve import app, middleware
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel
from ganaug_ray.serve.routes import pages
from ganaug_ray.serve.service import Service
from tests.helpers import fuzz
from tests.helpers.serving import CLASSES, LINEAGE, encoded, promote

KEY = "correct-horse"
AVIF = pytest.param("AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="Pillow lacks AVIF"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """An experiment with a promoted model."""
    folder = Folder.from_uri(tmp_path_factory.mktemp("serve") / "tiny")
    promote(folder, 0)
    return folder


@pytest.fixture(scope="module")
def service(tiny: Folder) -> Iterator[Service]:
    service = Service(LiveModel(str(tiny)), RequestLimits(bytes=300_000, pixels=1_000_000, images=4))
    yield service
    service.shut_down()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(app.build_application(service, []), "http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", AVIF])
def test_served_prediction_equals_predict(client: TestClient, tiny: Folder, kind: str) -> None:
    """A served image gets the same answer as from predict, in every image format."""
    content = encoded(3, kind=kind)
    said = client.post("/v1/predict", content=content, headers={"Content-Type": "text/plain"}).json()
    (expected,) = Classifier.load(resolve_model(str(tiny))).predict([content])
    (found,) = said["predictions"]
    assert found["label"] == expected.label
    assert found["probability"] == max(found["probabilities"].values())
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert (said["model"], said["version"]) == ("tiny", "1")
    assert said["milliseconds"] > 0


def test_form_images_are_answered_in_order(client: TestClient, tiny: Folder) -> None:
    """Several images in one form are answered in order, large ones included."""
    contents = [encoded(seed) for seed in range(3)] + [encoded(9, (200, 300))]
    assert len(contents[3]) > 65_536, "one that is decoded in a thread of its own"
    files = [("images", (f"{i}.png", content, "image/png")) for i, content in enumerate(contents)]
    said = client.post("/v1/predict", files=files).json()
    expected = Classifier.load(resolve_model(str(tiny))).predict(contents)
    for found, one in zip(said["predictions"], expected, strict=True):
        assert found["probabilities"] == pytest.approx(one.probabilities, abs=1e-5)


@pytest.mark.parametrize(
    ("path", "send", "status", "says"),
    [
        ("/v1/predict", {"content": b""}, 400, "image: empty"),
        ("/v1/predict", {"content": b"<html>"}, 415, "not an image"),
        ("/v1/predict", {"content": encoded()[:-900]}, 422, "truncated or damaged"),
        ("/v1/predict", {"content": encoded(size=(1001, 1000), kind="JPEG")[:200_000]}, 413, "too large"),
        ("/v1/predict", {"content": bytes(300_001)}, 413, "longer than 300000 bytes"),
        ("/v1/predict", {"files": [("i", ("a", encoded()))] * 5}, 413, "more than 4 images"),
        ("/v1/predict", {"files": [("i", ("a.png", encoded())), ("i", ("b.png", b"?"))]}, 415, "image 2 (b.png)"),
        ("/v1/predict", {"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        ("/v1/predict", {"content": b"x", "headers": {"Content-Encoding": "gzip"}}, 415, "Content-Encoding"),
        ("/v1/explain?class=cow", {"content": encoded()}, 400, "no class 'cow'"),
        ("/v1/nothing", {"content": b""}, 404, "no such route"),
        ("/v1/model", {"content": b""}, 405, "this route takes GET and HEAD, not POST"),
        ("/v2/models/tiny/infer", {"content": encoded()}, 400, "image files go to /v1/predict"),
    ],
)
def test_refused_requests_return_problem_details(
    client: TestClient, path: str, send: dict, status: int, says: str
) -> None:
    """A refused request gets the right status and a problem document that says why."""
    answer = client.post(path, **send)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"]) == (status, status)
    assert says in problem["detail"]
    assert "Traceback" not in answer.text


def test_head_is_answered_like_get(client: TestClient) -> None:
    """What answers GET answers HEAD with the same status and headers; what does not still refuses it."""
    described = client.get("/openapi.json").json()["paths"]
    paths = {path.replace("{name}", "tiny").replace("{version}", "1") for path in described if "get" in described[path]}
    assert {"/v1/model", "/v1/rollout", "/v2", "/v2/models/tiny/ready"} <= paths
    for path in sorted({*middleware.OPEN_PATHS, *paths, "/v2/models/cow"}):
        answer, expected = client.head(path), client.get(path)
        assert (answer.status_code, answer.headers) == (expected.status_code, expected.headers), path
    assert client.head("/v1/predict").status_code == 405
    assert client.post("/v1/model").headers["allow"] == "GET, HEAD"


def test_server_sends_no_body_for_head(service: Service) -> None:
    """Over a socket a HEAD request gets the length of the page, and not the page."""
    server = uvicorn.Server(uvicorn.Config(app.build_application(service, []), log_level="error", lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with socket.create_connection(listener.getsockname()) as connection:
            connection.sendall(b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            with connection.makefile("rb") as stream:
                head, _, body = stream.read().partition(b"\r\n\r\n")
    finally:
        server.should_exit = True
        thread.join()
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: %d\r\n" % len((pages.PAGE_FOLDER / "index.html").read_bytes()) in head
    assert body == b""


def test_explain_returns_heat_map(client: TestClient) -> None:
    """Explaining an image returns a heat map for the predicted or the requested class."""
    for query, label in (("", None), ("?class=%C3%9Cbung", "Übung")):
        answer = client.post(f"/v1/explain{query}", content=encoded())
        assert answer.headers["content-type"] == "image/png"
        assert label in (None, json.loads(answer.headers["x-class"]))
        pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert pixels.shape == (256, 256, 3)
        assert pixels.std() > 5
    assert answer.headers["x-model-version"] == "1"


def test_model_card_includes_data_lineage(client: TestClient) -> None:
    """The model card has classes, input, figures and the lineage down to the data, but no secrets."""
    card = client.get("/v1/model").json()
    assert card["classes"] == CLASSES
    assert card["input"] == {"size": 32, "channels": 3, "resize": "crop"}
    assert (card["verdict"], card["sentence"], card["metrics"]) == ("unclear", LINEAGE["sentence"], LINEAGE["figures"])
    assert card["lineage"]["inputs"] == LINEAGE["inputs"]
    assert "secret" not in json.dumps(card), "settings and paths stay inside"


def test_api_key_protects_private_paths(service: Service) -> None:
    """With an API key, everything but the page and the health checks is closed to callers without the key."""
    client = TestClient(app.build_application(service, ["another-key", KEY]), "http://example.org")
    for path in middleware.OPEN_PATHS:
        assert client.get(path).status_code == 200, path
    for path in ("/v1/model", "/v2", "/v2/models/tiny", "/nothing"):
        assert client.get(path).status_code == 401, path
    assert client.post("/v1/predict", content=encoded()).headers["www-authenticate"] == "Bearer"
    for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}):
        assert client.post("/v1/predict", content=encoded(), headers=headers).status_code == 200
    for wrong in ({"X-API-Key": KEY[:-1]}, {"X-API-Key": ""}, {"Authorization": KEY}, {"Authorization": "Bearer"}):
        assert client.post("/v1/predict", content=encoded(), headers=wrong).status_code == 401, wrong


def test_without_key_only_localhost_is_answered(service: Service) -> None:
    """Without an API key only requests to the local host are answered, so that DNS rebinding fails."""
    built = app.build_application(service, [])
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert TestClient(built).get("/v1/model", headers={"Host": host}).status_code == 200
    for host in ("rebound.example:8000", "127.0.0.1.example", "[::1].example"):
        assert TestClient(built).get("/v1/model", headers={"Host": host}).status_code == 421


def test_cross_origin_access_is_denied(client: TestClient) -> None:
    """Pages of other sites get no permission to read an answer."""
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    for answer in (client.options("/v1/predict", headers=asked), client.get("/", headers=asked)):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "default-src 'self'" in client.get("/").headers["content-security-policy"]


def test_overload_returns_retry_after(service: Service) -> None:
    """Requests beyond the limits get status 429 and the time after which to try again."""
    for tight in ({"waiting": 0}, {"memory": 10}):
        service_of = Service(service.champion, replace(service.limits, **tight))
        answer = TestClient(app.build_application(service_of, []), "http://localhost").post(
            "/v1/predict", content=encoded()
        )
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
    assert (
        TestClient(app.build_application(service, []), "http://localhost")
        .post("/v1/predict", content=encoded())
        .is_success
    )


def test_page_loads_nothing_from_other_hosts(client: TestClient) -> None:
    """The page and the description of the API load nothing from other hosts."""
    for path in ("/", "/docs", "/page.js", "/feedback.js", "/page.css", "/docs.js"):
        answer = client.get(path)
        assert answer.is_success
        assert "http://" not in answer.text
        assert "https://" not in answer.text
    assert {"/v1/predict", "/v2/models/{name}/infer", "/healthz"} <= set(client.get("/openapi.json").json()["paths"])


def test_examples_are_what_the_server_answers(client: TestClient) -> None:
    """Every JSON answer has an example in the description of the API, with the fields that the server answers."""
    document = client.get("/openapi.json").json()
    shapes = document["components"]["schemas"]
    compared = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation["responses"]["200"]["content"]
            if "application/json" not in content:
                continue
            answer = content["application/json"]
            example = answer.get("example") or shapes[answer["schema"]["$ref"].rsplit("/", 1)[1]]["examples"][0]
            if method == "get":
                filled = path.replace("{name}", "tiny").replace("{version}", "1")
                assert set(client.get(filled).json()) == set(example), path
                compared += 1
    assert compared >= 9
    said = client.post("/v1/predict", content=encoded()).json()
    example = shapes["Predictions"]["examples"][0]
    assert set(said) == set(example)
    assert set(said["predictions"][0]) == set(example["predictions"][0])


def test_described_refusals_are_the_servers_own(client: TestClient) -> None:
    """No route lists the refusal of FastAPI that is never given; those of the service itself stay."""
    document = client.get("/openapi.json").json()
    operations = {path: next(iter(methods.values())) for path, methods in document["paths"].items()}
    refused_422 = {path for path, operation in operations.items() if "422" in operation["responses"]}
    assert refused_422 == {"/v1/predict", "/v1/explain"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_random_requests_cause_no_server_error(client: TestClient) -> None:
    """Damaged images and malformed requests never cause a server error."""
    seen = set()
    for request in fuzz.requests(0, 200, "tiny"):
        headers = {name: value.encode() for name, value in request.headers.items()}
        answer = client.post(request.path, content=request.body, headers=headers)
        assert answer.status_code < 500, request
        seen.add(answer.status_code)
    assert {200, 400, 413, 415, 422} <= seen
    assert client.post("/v1/predict", content=encoded()).is_success
