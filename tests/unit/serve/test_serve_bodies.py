"""What bodies are taken as: forms with other fields, and what is no image, of which an answer says what it is."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from starlette.testclient import TestClient

from ganaug_ray.core.storage import Folder
from ganaug_ray.serve import app
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.live_model import LiveModel
from ganaug_ray.serve.service import Service
from tests.helpers.serving import encoded, promote

IMAGE = encoded(1)
TEXT = base64.b64encode(IMAGE).decode()
URL_ENCODED = {"Content-Type": "application/x-www-form-urlencoded"}
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = Folder.from_uri(tmp_path_factory.mktemp("serve") / "pets")
    promote(folder, 0)
    service = Service(LiveModel(str(folder)), RequestLimits(images=4))
    yield TestClient(app.build_application(service, []), "http://localhost", raise_server_exceptions=False)
    service.shut_down()


def send_form(client: TestClient, *parts: tuple[str, str | None, bytes]) -> tuple[int, dict]:
    """Post a form of (field, file name if any, content); an empty file name is that of a field without a file."""
    body = b""
    for field, file, content in parts:
        name = f'; filename="{file}"' if file is not None else ""
        body += f'--edge\r\nContent-Disposition: form-data; name="{field}"{name}\r\n\r\n'.encode() + content + b"\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    answer = client.post("/v1/predict", content=body + b"--edge--\r\n", headers=headers)
    return answer.status_code, answer.json()


def test_other_form_fields_change_nothing(client: TestClient) -> None:
    """Text fields and empty file fields beside images change nothing; they do not count as images either."""
    expected = client.post("/v1/predict", content=IMAGE).json()["predictions"][0]["probabilities"]
    others = [(f"note {number}", None, b"a text") for number in range(20)]
    status, said = send_form(client, *others, ("second", "", b""), ("images", "a.png", IMAGE), ("cat", None, b""))
    assert status == 200
    assert [one["probabilities"] for one in said["predictions"]] == [pytest.approx(expected, abs=1e-5)]
    status, said = send_form(client, ("images", None, IMAGE), ("photo", None, IMAGE), ("note", None, b"a text"))
    assert len(said["predictions"]) == 2, "images without a file's name are images, whatever their field"


@pytest.mark.parametrize("blob", [b'{"camera": 3}', "größer".encode("latin-1")])
def test_text_blobs_beside_images_are_passed_over(client: TestClient, blob: bytes) -> None:
    """Text with a file's name is skipped beside a field of images, in which every part is answered."""
    status, said = send_form(client, ("meta", "blob", blob), ("images", "a.png", IMAGE), ("images", "b.png", IMAGE))
    assert (status, len(said["predictions"])) == (200, 2)
    status, said = send_form(client, ("photo", "blob", IMAGE), ("images", "a.png", IMAGE))
    assert (status, len(said["predictions"])) == (200, 2), "an image is one, whatever its field"
    status, said = send_form(client, ("file", "a.png", IMAGE), ("meta", "blob", blob))
    assert (status, len(said["predictions"])) == (200, 1)
    status, said = send_form(client, ("images", "a.png", IMAGE), ("report", "a.pdf", b"%PDF-1.7\n\0\xff"))
    assert (status, len(said["predictions"])) == (200, 1), "a file of another kind is skipped in another field"
    assert send_form(client, ("file", "a.png", IMAGE), ("file", "b.png", blob))[0] == 415, "it was sent as an image"
    for parts in ([("images", "", b""), ("meta", "blob", blob)], [("images", "a.png", IMAGE), ("images", "b", blob)]):
        assert send_form(client, *parts)[0] == 415, "nothing else was sent, or it was sent as an image"


@pytest.mark.parametrize("note", ["größer".encode("latin-1"), "猫".encode("shift_jis"), "猫".encode("iso2022_jp")])
def test_text_fields_need_no_utf8(client: TestClient, note: bytes) -> None:
    """A field of text in another encoding is skipped like one in UTF-8."""
    status, said = send_form(client, ("note", None, note), ("images", "a.png", IMAGE))
    assert (status, len(said["predictions"])) == (200, 1)
    status, said = send_form(client, ("note", None, note))
    assert (status, said["detail"].split("; ")[0]) == (400, "the form holds no image, only 'note' without a file")


def test_images_written_as_text_count(client: TestClient) -> None:
    """A plain PPM file is an image without a file's name, too, and a text that begins like one is not."""
    plain = b"P2\n# by hand\n32 32\n255\n" + b"7 " * 1024
    status, said = send_form(client, ("scan", None, plain), ("note", None, b"P2 is 2 doors on"))
    assert (status, len(said["predictions"])) == (200, 1)
    expected = client.post("/v1/predict", content=plain).json()
    assert said["predictions"][0]["probabilities"] == pytest.approx(expected["predictions"][0]["probabilities"])


@pytest.mark.parametrize(
    ("kind", "status", "says"),
    [
        ("application/octet-stream", 415, "image: text before the image (a form; send a form with Content-Type: "),
        ("image/png", 415, "image: text before the image (a form; send a form with Content-Type: "),
        ("multipart/form-data", 400, "the form names no boundary in its Content-Type; send a form with Content-Type"),
        ("multipart/form-data; boundary=x", 400, "the form does not begin with the boundary that its Content-Type na"),
    ],
)
def test_forms_need_their_content_type(client: TestClient, kind: str, status: int, says: str) -> None:
    """A form under another Content-Type is called a form, and the answer says how one is sent."""
    for header in ("Content-Disposition: form-data", "content-type: image/png\r\nContent-Disposition: form-data"):
        body = f'--edge\r\n{header}; name="images"; filename="a.png"\r\n\r\n'.encode() + IMAGE + b"\r\n--edge--\r\n"
        answer = client.post("/v1/predict", content=body, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["detail"][: len(says)]) == (status, says)
        assert "curl -F images=@cat.jpg" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("parts", "status", "says"),
    [
        ([], 400, "the form holds no image; send the image file itself"),
        ([("note", None, b"x"), ("images", "", b"")], 400, "no image, only 'note', 'images' without a file; send"),
        ([("a", "a.png", IMAGE), ("b", "b.png", b"")], 400, "image 2 (b.png): empty"),
        ([("images", "a.png", IMAGE), ("b", "b.png", b"")], 400, "image 2 (b.png): empty"),
        ([("a", "a.png", IMAGE), ("images", None, b"b.png")], 415, "image 2: not an image (text; send"),
        ([("images", None, TEXT.encode())], 415, "image 1: not an image (PNG in base64; send"),
        ([(str(number), None, b"x") for number in range(500)], 413, "more than 104 parts"),
        ([("a", "a.png", IMAGE)] * 5, 413, "more than 4 images"),
    ],
)
def test_forms_lose_no_image_silently(client: TestClient, parts: list, status: int, says: str) -> None:
    """A form without an image is refused, and so is what was meant as one."""
    found, said = send_form(client, *parts)
    assert found == status
    assert says in said["detail"]


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"", 400, "image: empty (send the image file itself"),
        (HEIC, 415, "HEIC; save it as PNG or JPEG"),
        (
            json.dumps({"image": TEXT}).encode(),
            415,
            "(JSON; send the image file itself, with curl --data-binary @cat.jpg",
        ),
        (TEXT.encode(), 415, "PNG in base64; send"),
        (base64.encodebytes(HEIC), 415, "HEIC in base64; send"),
        (f"data:image/png;base64,{TEXT}".encode(), 415, "a data: URI; send"),
        (urlencode({"image": TEXT}).encode(), 415, "a URL-encoded form; send"),
        (b"https://example.org/cat.jpg", 415, "an address, and addresses are not fetched; send"),
        (b"<?xml version='1.0'?>\n<svg/>", 415, "unsupported format (SVG; save it as PNG or JPEG)"),
        (b"%PDF-1.7\n%%EOF\n", 415, "unsupported format (PDF document; convert it to PNG or JPEG)"),
        (b"cat.jpg", 415, "text; send"),
        (bytes(range(256)), 415, "image: not an image"),
        (encoded(size=(99, 99)).translate(None, b"\r\n\0"), 422, "line ends are missing, as after"),
        (encoded(size=(99, 99), kind="JPEG").translate(None, b"\r\n\0"), 422, "line ends are missing, as after"),
    ],
)
def test_refusal_names_what_came(client: TestClient, content: bytes, status: int, says: str) -> None:
    """What is no image is called by its name, and the answer says what to send."""
    answer = client.post("/v1/predict", content=content, headers=URL_ENCODED)
    assert answer.status_code == status
    assert says in answer.json()["detail"]


def test_content_type_does_not_matter(client: TestClient) -> None:
    """An image is taken for one under the type that curl --data-binary sends with it."""
    assert client.post("/v1/predict", content=IMAGE, headers=URL_ENCODED).is_success
