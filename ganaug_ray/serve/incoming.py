"""The body of a request, read within the limits: one image as raw bytes, or several as a form."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from ganaug_ray.serve.limits import Limits
from ganaug_ray.serve.pictures import Picture
from ganaug_ray.serve.problems import Problem

MOST_NAME = 120  # characters of a file's name that are said back


async def body(request: Request, limits: Limits) -> bytes:
    """Return a request's whole body. Raises Problem where it is too long, comes too slowly, or breaks off."""
    parts, length = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                length += len(part)
                if length > limits.bytes:
                    raise Problem(413, f"the body is longer than {limits.bytes} bytes", {"Connection": "close"})
                parts.append(part)
    except TimeoutError:
        raise Problem(408, f"the request was not sent within {limits.seconds:g} seconds") from None
    except ClientDisconnect:
        raise Problem(400, "the request broke off") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def pictures(request: Request, limits: Limits) -> list[Picture]:
    """Return the images of a request: its body, or the parts of a form that hold something.

    Raises:
        Problem: there is none, there are too many, or the form is damaged.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    content = await body(request, limits)
    if kind != b"multipart/form-data":
        return [Picture(content, "image", limits.pixels)]
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Problem(400, "the form names no boundary in its Content-Type")
    found = _form(content, boundary, limits)
    if not found:
        raise Problem(400, "the form holds no image")
    return found


@dataclass
class _Part:
    name: str
    content: bytearray


def _form(content: bytes, boundary: bytes, limits: Limits) -> list[Picture]:
    """Take a form of the whole body apart; starlette's own parser would write every part to a temporary file."""
    parts: list[_Part] = []
    header: list[bytes] = [b"", b""]
    ended: list[bool] = []

    def begin() -> None:
        if len(parts) == limits.images:
            raise Problem(413, f"more than {limits.images} images in a request")
        parts.append(_Part(f"image {len(parts) + 1}", bytearray()))

    def field(data: bytes, start: int, end: int) -> None:
        header[0] += data[start:end]

    def value(data: bytes, start: int, end: int) -> None:
        header[1] += data[start:end]

    def header_end() -> None:
        if header[0].lower() == b"content-disposition":
            name = parse_options_header(header[1])[1].get(b"filename")
            if name:
                parts[-1].name += f" ({name.decode(errors='replace')[:MOST_NAME]})"
        header[:] = [b"", b""]

    def data(data: bytes, start: int, end: int) -> None:
        parts[-1].content += data[start:end]

    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": begin,
                "on_header_field": field,
                "on_header_value": value,
                "on_header_end": header_end,
                "on_part_data": data,
                "on_end": lambda: ended.append(True),
            },
        )
        parser.write(content)
    except (FormParserError, UnicodeDecodeError, ValueError, IndexError) as error:
        raise Problem(400, "the form is damaged") from error
    if not ended:
        raise Problem(400, "the form breaks off")
    return [Picture(bytes(part.content), part.name, limits.pixels) for part in parts]
