"""The body of a request, read within the limits: one image as raw bytes, or several as a form."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from ganaug_ray.serve.limits import Limits
from ganaug_ray.serve.pictures import Picture
from ganaug_ray.serve.problems import Problem

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

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


class _Form:
    """Takes a form apart; starlette's own parser would write every part to a temporary file."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.images
        self._name, self._value = b"", b""  # of the header that is being read
        self.parts: list[tuple[str, bytearray]] = []
        self.is_whole = False

    def callbacks(self) -> MultipartCallbacks:
        """What the parser is to call."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == self._most:
            raise Problem(413, f"more than {self._most} images in a request")
        self.parts.append((f"image {len(self.parts) + 1}", bytearray()))

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            file = parse_options_header(self._value)[1].get(b"filename")
            if file:
                said, content = self.parts[-1]
                self.parts[-1] = f"{said} ({file.decode(errors='replace')[:MOST_NAME]})", content
        self._name, self._value = b"", b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1][1].extend(data[start:end])

    def _end(self) -> None:
        self.is_whole = True


def _form(content: bytes, boundary: bytes, limits: Limits) -> list[Picture]:
    form = _Form(limits)
    try:
        MultipartParser(boundary, form.callbacks()).write(content)
    except (FormParserError, UnicodeDecodeError, ValueError, IndexError):
        raise Problem(400, "the form is damaged") from None
    if not form.is_whole:
        raise Problem(400, "the form breaks off")
    return [Picture(bytes(part), name, limits.pixels) for name, part in form.parts]
