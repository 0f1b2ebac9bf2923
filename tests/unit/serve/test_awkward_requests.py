"""Requests as clients send them by mistake: each is answered, or told what came and what to send."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import socket
import threading
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient
from starlette.types import Message

from ganaug_ray.serve import app
from ganaug_ray.serve.service import Service
from tests.conftest import PATIENCE
from tests.helpers.image_files import tiff
from tests.helpers.serving import encoded

PNG = encoded(1, (99, 99))
JPEG = encoded(1, (99, 99), "JPEG")
SEND = "send the image file itself, with curl --data-binary @cat.jpg or -F images=@cat.jpg"
FIELD = b'Content-Disposition: form-data; name="images"; filename="a.png"'
TEXT_FIELD = b'Content-Disposition: form-data; name="photo"'


@pytest.fixture(scope="module")
def client(service: Service) -> TestClient:
    return TestClient(
        app.build_application(service, []), "http://localhost", raise_server_exceptions=False, follow_redirects=False
    )


def make_form(head: bytes, content: bytes, line_end: bytes = b"\r\n") -> bytes:
    return line_end.join([b"--edge", head, b"", content, b"--edge--", b""])


def make_zip() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a.png", PNG)
    return sink.getvalue()


def make_array() -> bytes:
    sink = io.BytesIO()
    np.save(sink, np.zeros((32, 32, 3), np.uint8))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (gzip.compress(PNG), 415, f"image: not an image (gzip data; {SEND})"),
        (make_zip(), 415, f"image: not an image (a ZIP archive; {SEND})"),
        (make_array(), 415, f"image: not an image (a NumPy array; {SEND})"),
        (b"\0\0\0\x20ftypisom" + bytes(500), 415, f"image: not an image (a video; {SEND})"),
        (b"[object File]", 415, f"image: not an image (the name of a JavaScript object; {SEND})"),
        (repr(PNG).encode(), 415, f"image: not an image (bytes as Python shows them; {SEND})"),
        (base64.urlsafe_b64encode(JPEG), 415, f"image: not an image (JPEG in base64; {SEND})"),
        (b'{"instances": [{"b64": "aaaa"}]}', 415, f"image: not an image (JSON; {SEND})"),
        (b"undefined", 415, f"image: not an image (text; {SEND})"),
        (
            PNG.decode("latin-1").encode(),
            422,
            f"image: copied as text (each byte beyond ASCII was written as two; {SEND})",
        ),
        (
            JPEG.decode("latin-1").encode(),
            422,
            f"image: copied as text (each byte beyond ASCII was written as two; {SEND})",
        ),
        (PNG.decode(errors="replace").encode(), 422, f"image: copied as text (bytes beyond ASCII are lost; {SEND})"),
        (JPEG.decode(errors="replace").encode(), 422, f"image: copied as text (bytes beyond ASCII are lost; {SEND})"),
        (PNG.replace(b"\n", b"\r\n"), 422, f"image: copied as text (line ends were changed; {SEND})"),
        (PNG.replace(b"\r\n", b"\n"), 422, f"image: copied as text (line ends were changed; {SEND})"),
        (
            tiff(np.arange(1024, dtype=np.float32).reshape(32, 32)),
            422,
            "image: unknown value range (float samples from 0 to 1023; send plain 8 bits, or floats from 0 to 1)",
        ),
        (
            b"--edge\r\nContent-Type: image/png\r\n\r\n" + PNG + b"\r\n--edge--\r\n",
            415,
            "image: text before the image (a multipart body that is not a form; send a form with Content-Type:",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n" + JPEG, 415, "image: text before the image (a JPEG image begins at byte 19"),
    ],
)
def test_bodies_are_told_what_they_are(client: TestClient, content: bytes, status: int, says: str) -> None:
    """What is no image, or no longer one, is called by what it is, with what to send."""
    answer = client.post("/v1/predict", content=content)
    assert answer.status_code == status
    assert answer.json()["detail"].startswith(says)


@pytest.mark.parametrize(
    ("form", "status", "says"),
    [
        (make_form(TEXT_FIELD, base64.b64encode(PNG)), 400, f"its field 'photo' has PNG in base64; {SEND}"),
        (make_form(TEXT_FIELD, b"data:image/png;base64,iVBORw0K"), 400, f"its field 'photo' has a data: URI; {SEND}"),
        (make_form(TEXT_FIELD, b"[object File]"), 400, "its field 'photo' has the name of a JavaScript object; send"),
        (make_form(TEXT_FIELD, b"cat.jpg"), 400, f"its field 'photo' has the name of a file; {SEND}"),
        (make_form(TEXT_FIELD, b"https://example.org/cat.jpg"), 400, "its field 'photo' has the name of a file; send"),
        (make_form(TEXT_FIELD, b"a note"), 400, f"the form holds no image, only 'photo' without a file; {SEND}"),
        (make_form(FIELD + b"\r\nContent-Transfer-Encoding: base64", base64.b64encode(PNG)), 415, "PNG in base64"),
        (make_form(FIELD, PNG, b"\n"), 400, "the form's lines end without a carriage return; send a form with"),
        (make_form(FIELD, PNG)[:-10], 400, "the form ends too early"),
    ],
)
def test_forms_are_told_what_they_lack(client: TestClient, form: bytes, status: int, says: str) -> None:
    """A form that holds an image in another way, or none, is told which field has what."""
    answer = client.post("/v1/predict", content=form, headers={"Content-Type": "multipart/form-data; boundary=edge"})
    assert answer.status_code == status
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        (make_form(b"Content-Disposition: form-data; name=\"photo\"; filename*=UTF-8''a%CC%88.png", PNG), ""),
        (make_form(FIELD.replace(b"a.png", b"D\xfcrer.png"), PNG), ""),
        (make_form(FIELD, b"\r\n" + JPEG), ""),
        (make_form(b"Content-Type: image/png", PNG), ""),
        (make_form(FIELD, PNG) + b"an epilogue\r\n", ""),
        (b"\r\n" + make_form(FIELD, PNG), ""),
        (make_form(FIELD, PNG), 'Multipart/Form-Data; charset=utf-8; Boundary="edge"'),
    ],
)
def test_unusual_forms_are_answered(client: TestClient, form: bytes, kind: str) -> None:
    """Names in other encodings, an empty line too many, an epilogue, a quoted boundary: the image is there."""
    headers = {"Content-Type": kind or "multipart/form-data; boundary=edge"}
    answer = client.post("/v1/predict", content=form, headers=headers)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["predictions"]) == 1


def test_slash_at_the_end_changes_nothing(client: TestClient, service: Service) -> None:
    """A path with a slash at its end is answered as without, and not by a redirect, which would lose the body."""
    assert client.post("/v1/predict/", content=PNG).json()["predictions"]
    for path in ("/v1/model", "/healthz", "/docs", "/v2/models/pets"):
        for send in (client.get, client.head):
            assert (send(f"{path}/").status_code, send(f"{path}/").content) == (200, send(path).content)
    locked = TestClient(app.build_application(service, ["correct-horse"]), "http://localhost")
    assert [locked.get(path).status_code for path in ("/v1/model/", "/healthz/")] == [401, 200]


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [
        ("PUT", "/v1/predict", "this route takes POST, not PUT"),
        ("GET", "/v1/predict", "this route takes POST, not GET"),
        ("OPTIONS", "/v1/predict", "this route takes POST, not OPTIONS"),
        ("DELETE", "/v1/model", "this route takes GET and HEAD, not DELETE"),
    ],
)
def test_other_methods_are_told_the_right_one(client: TestClient, method: str, path: str, says: str) -> None:
    """A route that takes another method says which; curl -T sends PUT."""
    answer = client.request(method, path, content=b"x")
    assert (answer.status_code, answer.json()["detail"]) == (405, says)


def test_head_is_named_where_it_is_refused(service: Service) -> None:
    """A route that takes POST alone says to HEAD, which is answered as GET is, that it does not take HEAD."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "HEAD", "path": "/v1/predict", "query_string": b"", "headers": []}
    asyncio.run(app.build_application(service, [])(scope, receive, send))
    assert messages[0]["status"] == 405
    assert b"this route takes POST, not HEAD" in messages[1]["body"]


def test_empty_encoding_is_none(client: TestClient) -> None:
    """An empty Content-Encoding, as some proxies leave it, is that of a body as it is; others are refused."""
    assert client.post("/v1/predict", content=PNG, headers={"Content-Encoding": ""}).is_success
    refused = client.post("/v1/predict", content=gzip.compress(PNG), headers={"Content-Encoding": "gzip"})
    assert (refused.status_code, refused.json()["detail"]) == (415, "send the body as it is, without Content-Encoding")


def test_first_frame_of_several_is_answered(client: TestClient) -> None:
    """Of an image with frames the first is answered, as it is trained on, and the answer says so."""
    first, second = Image.fromarray(np.full((40, 40), 9, np.uint8)), Image.fromarray(np.full((40, 40), 200, np.uint8))
    answers = []
    for frames in ([], [second]):
        sink = io.BytesIO()
        first.save(sink, "GIF", save_all=True, append_images=frames)
        answers.append(client.post("/v1/predict", content=sink.getvalue()).json()["predictions"][0])
    assert answers[0]["probabilities"] == pytest.approx(answers[1]["probabilities"])
    assert "notes" not in answers[0]
    assert answers[1]["notes"] == ["frames beyond the first left out"]


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        ({"datatype": "FP32", "data": [0.5] * 3072}, "expected datatype UINT8; image files go to /v1/predict"),
        ({"datatype": "BYTES", "shape": [1], "data": ["iVBORw0K"]}, "expected datatype UINT8; image files go to"),
        ({"shape": [32, 32, 3]}, "expected shape [-1, 32, 32, 3]"),
        ({"shape": [1, 3, 32, 32]}, "expected shape [-1, 32, 32, 3]"),
        ({"shape": [-1, 32, 32, 3]}, "expected 1 to 4 images, found -1"),
        ({"data": np.zeros((32, 32, 3), int).tolist()}, "nested as [32, 32, 3], and shape is [1, 32, 32, 3]"),
        ({"data": [[0] * 3072]}, "nested as [1, 3072], and shape is [1, 32, 32, 3]"),
        ({"data": [True] * 3072}, "expected data of 3072 whole numbers from 0 to 255"),
        ({"data": ["0"] * 3072}, "expected data of 3072 whole numbers from 0 to 255"),
        ({"data": [[0] * 3000, [0] * 72]}, "expected data of 3072 whole numbers from 0 to 255"),
        ({"data": [256] * 3072}, "expected data of 3072 whole numbers from 0 to 255"),
        ({"data": "AAAA"}, "expected data of 3072 whole numbers from 0 to 255"),
        ({"data": None}, "expected data of 3072 whole numbers from 0 to 255"),
        ({"name": "input_0"}, "expected one, named image"),
    ],
)
def test_tensors_of_other_protocols_are_refused(client: TestClient, tensor: dict, says: str) -> None:
    """No tensor that is not as the model takes it is ever answered."""
    whole = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0] * 3072}
    assert client.post("/v2/models/pets/infer", json={"inputs": [whole]}).is_success
    answer = client.post("/v2/models/pets/infer", json={"inputs": [whole | tensor]})
    assert answer.status_code == 400
    assert says in answer.json()["error"]


@pytest.fixture(scope="module")
def address(service: Service) -> Iterator[tuple[str, int]]:
    """The address of a server over a socket that wants an API key."""
    application = app.build_application(service, ["correct-horse"])
    server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off"))
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()
    server.should_exit = True
    thread.join()


def test_refused_body_is_no_second_request(address: tuple[str, int]) -> None:
    """The body of a request without a key is never taken for the next request of that connection."""
    inner = b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nX-API-Key: correct-horse\r\n\r\n"
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(inner)
    last = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(head + inner + last)
        with connection.makefile("rb") as stream:
            said = stream.read()
    assert said.startswith(b"HTTP/1.1 401")
    assert b'"hash"' not in said


def test_expecting_client_is_answered_before_it_sends(address: tuple[str, int]) -> None:
    """A client that asks before it sends a body, as curl does, is refused without it, or told to go on."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n"
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(head % len(PNG) + b"\r\n")
        assert connection.recv(12) == b"HTTP/1.1 401"
    key = b"X-API-Key: correct-horse\r\nConnection: close\r\n\r\n"
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(head % len(PNG) + key)
        with connection.makefile("rb") as stream:
            assert stream.readline() == b"HTTP/1.1 100 Continue\r\n"
            connection.sendall(PNG)
            assert b"HTTP/1.1 200" in stream.read()
