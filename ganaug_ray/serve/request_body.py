"""Reads the body of a request within the limits: one image as raw bytes, or several as a form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from ganaug_ray.serve.image_input import RequestImage
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.problem_details import ProblemError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_NAME_CHARS = 120  # characters of a file's name that are said back


async def read_body(request: Request, limits: RequestLimits) -> bytes:
    """Read a request's whole body, whose bytes ``AccessGate`` counts.

    Raises:
        ProblemError: it is too long, comes too slowly, or breaks off, or the bodies of all requests are too much.
    """
    try:
        async with asyncio.timeout(limits.seconds):
            parts = [part async for part in request.stream()]
    except TimeoutError:
        raise ProblemError(408, f"the request was not sent within {limits.seconds:g} seconds") from None
    except ClientDisconnect:
        raise ProblemError(400, "the request broke off") from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_images(request: Request, limits: RequestLimits) -> list[RequestImage]:
    """Read the images of a request: its body, or the parts of a form.

    Raises:
        ProblemError: there is none, there are too many, or the form is damaged.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    content = await read_body(request, limits)
    if kind != b"multipart/form-data":
        return [RequestImage(content, "image", limits.pixels)]
    form_parts = parse_form(content, options, limits.images)
    if not form_parts:
        raise ProblemError(400, "the form holds no image")
    return [RequestImage(part.content, part.name, limits.pixels) for part in form_parts]


@dataclass(frozen=True)
class FormPart:
    """One part of a form: its field, its name in messages, and its content."""

    field: str
    name: str
    content: bytes


def parse_form(content: bytes, options: Mapping[bytes, bytes], max_parts: int) -> list[FormPart]:
    """Parse a form into its parts.

    Args:
        content: the body.
        options: of its Content-Type.
        max_parts: parts.

    Raises:
        ProblemError: it is damaged, or has more parts.
    """
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise ProblemError(400, "the form names no boundary in its Content-Type")
    parser = _FormParser(max_parts)
    try:
        MultipartParser(boundary, parser.list_callbacks()).write(content)
    except (FormParserError, UnicodeDecodeError, ValueError, IndexError):
        raise ProblemError(400, "the form is damaged") from None
    if not parser.is_whole:
        raise ProblemError(400, "the form breaks off")
    return [FormPart(field, name, bytes(part)) for field, name, part in parser.parts]


class _FormParser:
    """Takes a form apart; starlette's own parser would write every part to a temporary file."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Of the header that is being read.
        self._name = b""
        self._value = b""
        self.parts: list[tuple[str, str, bytearray]] = []
        self.is_whole = False

    def list_callbacks(self) -> MultipartCallbacks:
        """What the parser is to call."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_data,
            "on_end": self._end_form,
        }

    def _begin_part(self) -> None:
        if len(self.parts) == self._most:
            raise ProblemError(413, f"more than {self._most} images in a request")
        self.parts.append(("", f"image {len(self.parts) + 1}", bytearray()))

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            options = parse_options_header(self._value)[1]
            _, name, content = self.parts[-1]
            if file := options.get(b"filename"):
                name = f"{name} ({file.decode(errors='replace')[:MAX_NAME_CHARS]})"
            self.parts[-1] = options.get(b"name", b"").decode(errors="replace"), name, content
        self._name = b""
        self._value = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1][2].extend(data[start:end])

    def _end_form(self) -> None:
        self.is_whole = True
