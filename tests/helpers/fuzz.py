"""Damaged images and malformed requests, made from good ones by a counted seed."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

KINDS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
# Headers of images that claim to be enormous: a PNG, a BMP, a GIF, a PPM and a JPEG.
HUGE = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x02\x00\x00\x00" + bytes(40),
    b"BM" + bytes(12) + (40).to_bytes(4, "little") + b"\xff\xff\xff\x7f" * 2 + b"\x01\x00\x18\x00" + bytes(24),
    b"GIF89a\xff\xff\xff\xff\x80\x00\x00" + bytes(40),
    b"P6 999999999 999999999 255\n" + bytes(40),
    b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01" + bytes(40),
)
TYPES = ("image/png", "application/json", "text/html", "multipart/form-data", "multipart/form-data; boundary=", "", "ü")


@dataclass(frozen=True)
class Request:
    """One request of a fuzzer."""

    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def image(draw: random.Random, kind: str | None = None) -> bytes:
    """A small good image of some format."""
    size = draw.randint(1, 90), draw.randint(1, 90), 3
    pixels = np.random.default_rng(draw.randrange(2**32)).integers(0, 256, size, np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind or draw.choice(KINDS))
    return sink.getvalue()


def mutated(draw: random.Random, content: bytes) -> bytes:
    """Bytes that were changed, cut out, put in or cut off."""
    found = bytearray(content)
    for _ in range(draw.choice((0, 1, 2, 8, 64))):
        at = draw.randrange(len(found)) if found else 0
        match draw.randrange(5):
            case 0 if found:
                found[at] = draw.randrange(256)
            case 1:
                del found[at : at + draw.randrange(1, 64)]
            case 2:
                found[at:at] = draw.randbytes(draw.randrange(1, 64))
            case 3:
                found[at : at + 4] = b"\xff\xff\xff\x7f"
            case _:
                del found[draw.randrange(len(found) + 1) :]
    return bytes(found)


def tensors(draw: random.Random, name: str) -> Request:
    """A V2 request that lies about something, or about nothing."""
    odd = [None, -1, 0, 1, 2, 2**70, 1.5, "x", [], {}, True, [2**40], [1, 32, 32, 1], [-1, 32, 32, 1], [1, 32, 32, 3]]
    head = {
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 1], "data": [0] * 1024}],
        "outputs": [{"name": "label", "parameters": {"binary_data": True}}],
        "parameters": {"binary_data_output": False},
        "id": "7",
    }
    for _ in range(draw.randrange(4)):
        tensor = head["inputs"][0] if head["inputs"] and isinstance(head["inputs"], list) else {}
        holder = draw.choice([head, tensor, head])
        if isinstance(holder, dict):
            holder[draw.choice([*holder, "parameters"])] = draw.choice(odd)
    text = json.dumps(head).encode()
    headers = {}
    if draw.random() < 0.5:
        text += draw.randbytes(draw.choice((0, 1, 1024)))
        headers["Inference-Header-Content-Length"] = str(draw.choice([len(text), len(text) - 1024, 0, -1, 10**30, "x"]))
    return Request(f"/v2/models/{name}/infer", mutated(draw, text) if draw.random() < 0.3 else text, headers)


def form(draw: random.Random) -> Request:
    """A multipart form, damaged or not."""
    parts = [
        b'--edge\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n' + image(draw) + b"\r\n"
        for _ in range(draw.choice((0, 1, 3, 40)))
    ]
    content = b"".join(parts) + b"--edge--\r\n"
    kind = draw.choice(("multipart/form-data; boundary=edge",) * 3 + TYPES[:6])
    return Request("/v1/predict", mutated(draw, content) if draw.random() < 0.6 else content, {"Content-Type": kind})


def requests(seed: int, count: int, name: str) -> Iterator[Request]:
    """So many requests; ``name`` is the model's."""
    draw = random.Random(seed)
    for _ in range(count):
        roll = draw.random()
        if roll < 0.5:
            path = draw.choice(("/v1/predict",) * 4 + ("/v1/explain", "/v1/explain?class=nobody"))
            yield Request(path, mutated(draw, image(draw)), {"Content-Type": draw.choice(TYPES[:6])})
        elif roll < 0.55:
            yield Request("/v1/predict", mutated(draw, draw.choice(HUGE)))
        elif roll < 0.75:
            yield form(draw)
        else:
            yield tensors(draw, name)


def wire(seed: int, count: int, host: str) -> Iterator[bytes]:
    """So many requests that no HTTP library would send, as bytes; a good one's head, body or framing is broken."""
    draw = random.Random(seed)
    body = image(draw, "PNG")
    for _ in range(count):
        lines = [f"Host: {host}", "Content-Type: image/png"]
        first, length, content = "POST /v1/predict HTTP/1.1", f"Content-Length: {len(body)}", body
        match draw.randrange(8):
            case 0:  # a length that lies
                length = "Content-Length: " + draw.choice(
                    ("-1", "x", "", "0", "7", "99999", "9" * 30, "1, 2", "+5", "0x10")
                )
            case 1:  # two lengths
                lines.append(f"Content-Length: {draw.choice((0, 5, len(body) + 1))}")
            case 2:  # chunks that lie
                length = "Transfer-Encoding: " + draw.choice(
                    ("chunked", "chunked, chunked", "gzip", "identity", "xchunked")
                )
                size = draw.choice((b"5", b"zz", b"-1", b"f" * 20, b"", b"%x" % len(body)))
                content = size + b"\r\n" + body + draw.choice((b"\r\n0\r\n\r\n", b"", b"\r\n"))
            case 3:  # both
                lines.append("Transfer-Encoding: chunked")
                content = draw.choice((b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", body))
            case 4:  # an odd first line
                method = draw.choice(("GET", "post", "FOO", "", "CONNECT", "TRACE", "A" * 5000, "PRI"))
                target = draw.choice(
                    ("*", "//", "/%zz", "/%00", "/\x01", "/../../etc/passwd", "http://x/", "/" + "a" * 20_000)
                )
                first = f"{method} {target} {draw.choice(('HTTP/1.1', 'HTTP/0.9', 'HTTP/9.9', 'HTTP/1.0', '', 'TTP'))}"
            case 5:  # odd headers
                odd = (
                    "no colon",
                    ": empty",
                    "X: \x00",
                    "X : y",
                    " folded: y",
                    f"X: {'y' * 20_000}",
                    "Host: two",
                    "Ü: ü",
                )
                lines.append(draw.choice(odd))
                lines += [f"X-{n}: y" for n in range(draw.choice((0, 0, 500)))]
            case 6:  # no HTTP at all
                noise = (
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                    b"\r\n" * 50,
                )
                yield draw.choice((*noise, draw.randbytes(300)))
                continue
            case _:  # something breaks off
                content = body[: draw.randrange(len(body))]
        head = "\r\n".join((first, *draw.sample([*lines, length], len(lines) + 1), "", ""))
        yield head.encode("latin-1") + content
