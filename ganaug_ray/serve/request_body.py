"""Reads the body of a request within the limits: one image as raw bytes, or several as a form."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from ganaug_ray.data.image_formats import name_image_format
from ganaug_ray.data.sources.paths import is_image_name
from ganaug_ray.serve.body_kinds import HOW_TO_SEND, HOW_TO_SEND_FORM, SEND_LESS, explain_text_field, is_text
from ganaug_ray.serve.image_input import RequestImage
from ganaug_ray.serve.limits import RequestLimits
from ganaug_ray.serve.problem_details import ProblemError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

IMAGES_FIELD = "images"  # of a form
MAX_NAME_CHARS = 120  # of a file's or a field's name that are said back
MAX_LISTED_FIELDS = 5
SEND_THE_REST = "send the rest in another one"
MAX_OTHER_FIELDS = 100  # of a form, beside as many images as a request may have


async def read_body(request: Request, limits: RequestLimits) -> bytes:
    """Read a request's whole body, whose bytes ``AccessGate`` counts.

    Raises:
        ProblemError: it is too long, comes too slowly, or breaks off, or the bodies of all requests are too much.
    """
    try:
        async with asyncio.timeout(limits.seconds):
            content = bytearray()  # a list of short parts would take many times what is booked for them
            async for part in request.stream():
                content += part
    except TimeoutError:
        raise ProblemError(408, f"the request was not sent within {limits.seconds:g} seconds; {SEND_LESS}") from None
    except ClientDisconnect:
        raise ProblemError(400, "the request ended too early") from None
    return bytes(content)


async def read_images(request: Request, limits: RequestLimits) -> list[RequestImage]:
    """Read the images of a request: its body, or the parts of a form.

    Raises:
        ProblemError: there is none, there are too many, or the form is damaged.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    content = await read_body(request, limits)
    if kind != b"multipart/form-data":
        return [RequestImage(content, "image", limits.pixels)]
    form_parts = parse_form(content, options, limits.images + MAX_OTHER_FIELDS)
    image_parts = find_image_parts(form_parts)
    if not image_parts:
        raise ProblemError(400, f"the form holds no image{_describe_fields(form_parts)}")
    if len(image_parts) > limits.images:
        raise ProblemError(413, f"more than {limits.images} images in a request; {SEND_THE_REST}")
    return [
        RequestImage(part.content, part.describe(number), limits.pixels) for number, part in enumerate(image_parts, 1)
    ]


def find_image_parts(form_parts: Sequence[FormPart]) -> list[FormPart]:
    """Find the parts of a form that are meant as images.

    Of files in other fields than that for images, those that look like images by content or name are, and with them
    what lies in the same field. The rest is skipped, such as a PDF or a Blob of JSON, unless there is nothing else.
    """
    image_parts = [part for part in form_parts if part.is_image]
    image_fields = {IMAGES_FIELD} | {part.field for part in image_parts if part.looks_like_image}
    return [part for part in image_parts if part.field in image_fields] or image_parts


def _describe_fields(form_parts: Sequence[FormPart]) -> str:
    """Say what a form without an image holds, and what to send: the end of a sentence."""
    if not form_parts:
        return f"; {HOW_TO_SEND}"
    for part in form_parts:
        if explanation := explain_text_field(part.content):
            return f": its field {part.field[:MAX_NAME_CHARS]!r} has {explanation}"
    names = [repr(part.field[:MAX_NAME_CHARS]) for part in form_parts[:MAX_LISTED_FIELDS]]
    if len(form_parts) > MAX_LISTED_FIELDS:
        names.append("…")
    return f", only {', '.join(names)} without a file; {HOW_TO_SEND}"


@dataclass(frozen=True)
class FormPart:
    """One part of a form: its field, the name of its file if there is one, and its content."""

    field: str
    file: str
    content: bytes

    @property
    def is_empty(self) -> bool:
        """Whether nothing was filled in: browsers send a file field so where no file was chosen."""
        return not self.file and not self.content

    @property
    def is_image(self) -> bool:
        """Whether it is meant as an image: a file, or what is no text, or anything in the field for images."""
        if self.file:
            return True
        return not self.is_empty and (self.field == IMAGES_FIELD or not self.is_text)

    @property
    def is_text(self) -> bool:
        """Whether its content is text; an empty file is none."""
        return bool(self.content) and is_text(self.content)

    @property
    def looks_like_image(self) -> bool:
        """Whether it begins as an image does, or its file is called as one."""
        return name_image_format(self.content) is not None or is_image_name(self.file)

    def describe(self, number: int) -> str:
        """Return the name of an image in messages; ``number`` is its place among the images."""
        return f"image {number} ({self.file[:MAX_NAME_CHARS]})" if self.file else f"image {number}"


def parse_form(content: bytes, options: Mapping[bytes, bytes], max_parts: int) -> list[FormPart]:
    """Parse a form into its parts.

    Args:
        content: the body.
        options: of its Content-Type.
        max_parts: fields and files.

    Raises:
        ProblemError: it is damaged, or has more parts.
    """
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise ProblemError(400, f"the form names no boundary in its Content-Type; {HOW_TO_SEND_FORM}")
    if not _begins_with_boundary(content, boundary):
        raise ProblemError(
            400, f"the form does not begin with the boundary that its Content-Type names; {HOW_TO_SEND_FORM}"
        )
    if content.lstrip(b"\r\n").startswith(b"--" + boundary + b"\n"):
        raise ProblemError(400, f"the form's lines end without a carriage return; {HOW_TO_SEND_FORM}")
    parser = _FormParser(max_parts)
    try:
        MultipartParser(boundary, parser.list_callbacks()).write(content)
    except (FormParserError, UnicodeDecodeError, ValueError, IndexError):
        raise ProblemError(400, f"the form is damaged; {HOW_TO_SEND_FORM}") from None
    if not parser.is_whole:
        raise ProblemError(400, f"the form ends too early; {HOW_TO_SEND_FORM}")
    return [FormPart(field, file, bytes(part)) for field, file, part in parser.parts]


def _begins_with_boundary(content: bytes, boundary: bytes) -> bool:
    """Whether a form begins as its Content-Type says; of an empty one the parser says that it breaks off."""
    return not content or content.lstrip(b"\r\n").startswith(b"--" + boundary)


class _FormParser:
    """Takes a form apart; starlette's own parser would write every part to a temporary file."""

    def __init__(self, max_parts: int) -> None:
        self._max_parts = max_parts
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
        if len(self.parts) == self._max_parts:
            raise ProblemError(413, f"more than {self._max_parts} parts in a form; {SEND_THE_REST}")
        self.parts.append(("", "", bytearray()))

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            options = parse_options_header(self._value)[1]
            field, file = (options.get(name, b"").decode(errors="replace") for name in (b"name", b"filename"))
            self.parts[-1] = field, file, self.parts[-1][2]
        self._name = b""
        self._value = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1][2].extend(data[start:end])

    def _end_form(self) -> None:
        self.is_whole = True
