"""Says what a body is that holds no image, and what to send in its place."""

from __future__ import annotations

import re

from ganaug_ray.data.image_formats import find_base64_format
from ganaug_ray.data.sources.paths import is_image_name

HOW_TO_SEND = "send the image file itself, with curl --data-binary @cat.jpg or -F images=@cat.jpg"
HOW_TO_SEND_FORM = (
    "send a form with Content-Type: multipart/form-data and its boundary; curl -F images=@cat.jpg and other clients "
    "set both by themselves"
)
SEND_LESS = "send fewer or smaller images"
MAX_NAME_CHARS = 200  # of a file's name
MIN_JUDGED_BYTES = 2000  # of an image file: among this many there is a byte that is a line end

# Bytes that no text has, in whatever encoding but those of two bytes a character: control characters without white
# space and the escape that Japanese encodings switch by.
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\f\r\x1b"))
_FORM_START = rb"--[^\r\n]{1,200}\r?\n(content-[a-z-]+:[^\r\n]*\r?\n)*content-disposition:"
_MULTIPART_START = rb"--[^\r\n]{1,200}\r?\n(content-[a-z-]+:[^\r\n]*\r?\n)+\r?\n"
_PLAIN_PPM = rb"P[1-3]\s+((#[^\n]*\n\s*)*\d+\s+){2}(#[^\n]*\n\s*)*\d"

# Tried in this order; the last ones are those that others may look like.
_SIGNS = {
    "a ZIP archive": rb"PK\x03\x04",
    "gzip data": rb"\x1f\x8b",
    "a NumPy array": rb"\x93NUMPY",
    "a video": rb".{4}ftyp|\x1a\x45\xdf\xa3|RIFF.{4}AVI ",
    "the name of a JavaScript object": rb"\[object \w+\]",
    "bytes as Python shows them": rb"b['\"]",
    "a data: URI": rb"data:",
    "an address, and addresses are not fetched": rb"[a-zA-Z][a-zA-Z0-9+.-]{1,20}://",
    "HTML or XML": rb"<",
    "JSON": rb'[\[{"]',
    "a URL-encoded form": rb"[\w.%+\[\]-]{1,100}=",
}


def explain_text_field(content: bytes) -> str | None:
    """Return what a text in a form seems to be that is meant as an image, and what to send; None of any other text.

    >>> explain_text_field(b"cat.jpg")
    'the name of a file; send the image file itself, with curl --data-binary @cat.jpg or -F images=@cat.jpg'
    """
    if len(content) <= MAX_NAME_CHARS and is_image_name(content.decode(errors="replace")):
        return f"the name of a file; {HOW_TO_SEND}"
    explanation = explain_content(content)
    return None if explanation is None or explanation.startswith("text;") else explanation


def explain_content(content: bytes) -> str | None:
    """Return what a content is that is no image, and what to send; None where it is nothing that is known.

    >>> explain_content(b'{"image": "..."}')
    'JSON; send the image file itself, with curl --data-binary @cat.jpg or -F images=@cat.jpg'
    """
    kind = find_base64_format(content)
    if kind is not None:
        return f"{kind} in base64; {HOW_TO_SEND}"
    start = content[:4096].lstrip()
    if re.match(_FORM_START, start, re.IGNORECASE):
        return f"a form; {HOW_TO_SEND_FORM}"
    if re.match(_MULTIPART_START, start, re.IGNORECASE):
        return f"a multipart body that is not a form; {HOW_TO_SEND_FORM}"
    for kind, sign in _SIGNS.items():
        if re.match(sign, start, re.DOTALL | re.IGNORECASE):
            return f"{kind}; {HOW_TO_SEND}"
    if is_text(content):
        return f"text; {HOW_TO_SEND}"
    return None


def is_text(content: bytes) -> bool:
    """Return whether a content is text, in UTF-8 or an encoding such as Latin-1, and no image that is written as text.

    >>> is_text("größer".encode("latin-1")), is_text(b"\\x89PNG\\r\\n\\x1a\\n"), is_text(b"P2 2 1 9 0 9")
    (True, False, False)
    """
    if re.match(_PLAIN_PPM, content):
        return False
    return len(content.translate(None, _CONTROL_BYTES)) == len(content)


def has_lost_line_ends(content: bytes) -> bool:
    """Return whether a file's line ends are gone, which curl's -d leaves out, and --data-binary does not."""
    return len(content) >= MIN_JUDGED_BYTES and b"\n" not in content and b"\r" not in content
