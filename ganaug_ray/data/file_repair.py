"""Drops what is not pixels from damaged image files."""

import io
import itertools
import random
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

from PIL import ExifTags, Image, ImageChops

from ganaug_ray.data.image_formats import find_format

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PNG_COLOUR_TYPE_AT = 25  # of the file's bytes, in its first chunk
_TRANSPARENCY_BYTES = {b"\0": (2,), b"\2": (6,), b"\3": range(1, 257)}  # of tRNS: grey levels, colours, palettes
# Whoever makes a file of nothing but wrong lengths costs no more than this.
_MAX_SEARCHES = 4
_MAX_CANDIDATES = 16  # for a chunk, of each search
_WEBP_PIXELS = (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF")
_WEBP_METADATA_FLAGS = 0x2C  # of VP8X: colour profile, EXIF, XMP
# JFIF's and Adobe's say what the colours are: their names, and the bytes from their length on.
_JPEG_COLOURS = {0xE0: (b"JFIF\0", 16), 0xEE: (b"Adobe", 14)}
_JPEG_METADATA = {0xFE, *range(0xE0, 0xF0)}
_JPEG_FRAMES = (0xC0, 0xC1, 0xC2)  # markers of those that are not coded arithmetically
_SEGMENT_START = re.compile(rb"\xff[^\0\xd0-\xd7]")
_JPEG_END = b"\xff\xd9"
# Bits in the place of those that are missing: all kinds of them, and no marker.
_JPEG_FILLER = random.Random(0).randbytes(4096).replace(b"\xff", b"\xfe")
_JPEG_COEFFICIENTS = 64  # of a block
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_MISSING_PIXEL = {127, 128}  # what a decoder makes of each channel of one; inverted it is the lower value


def list_repairs(content: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield versions of a file that has failed to decode, with the same pixels and less else, and a note on each."""
    strip = {"PNG": _strip_png, "JPEG": _strip_jpeg, "WEBP": _strip_webp}.get(find_format(content) or "")
    stripped = strip(content) if strip else None
    if stripped is not None:
        yield stripped, "damaged metadata ignored"
    if find_format(content) == "JPEG":
        whole = _complete_jpeg(stripped or content)
        if whole is not None:
            yield whole, "end mark missing"


def find_orientation(content: bytes) -> int | None:
    """Find how a file says that its image is to be turned, in EXIF or else in XMP data, undamaged or not."""
    metadata = Image.Exif()
    with suppress(Exception):  # Pillow's parser raises many kinds on damaged metadata
        metadata.load(_find_exif(content) or b"")
        if orientation := metadata.get(ExifTags.Base.Orientation):
            return int(orientation)
    match = _XMP_ORIENTATION.search(content)
    return int(match[1]) if match else None


def _find_exif(content: bytes) -> bytes | None:
    kind = find_format(content)
    if kind == "JPEG":
        segments = (segment for marker, segment in _list_jpeg_segments(content) if marker == 0xE1)
        return next((segment[4:] for segment in segments if segment[4:10] == b"Exif\0\0"), None)
    start = content.find({"PNG": b"eXIf", "WEBP": b"EXIF"}.get(kind or "", b"-"))
    if start < 0:
        return None
    header_bytes = 8  # a chunk's name and length
    if kind == "PNG":  # whose chunks have the length before the name
        header_bytes = 4
    return content[start + header_bytes :]


def _strip_png(content: bytes) -> bytes | None:
    """Keep the chunks that pixels are made from; find the next one where a length is wrong."""
    chunks = [_PNG_SIGNATURE]
    colour_type = content[_PNG_COLOUR_TYPE_AT : _PNG_COLOUR_TYPE_AT + 1]
    searches = 0
    offset = len(_PNG_SIGNATURE)
    while offset + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, offset)
        name = content[offset + 4 : offset + 8]
        following = offset + 12 + length
        is_whole = name.isalpha() and following <= len(content)
        if name == b"IDAT" and not is_whole:  # what is put behind it would be taken for its pixels
            return b"".join([*chunks, content[offset:]])
        if name in _PNG_PIXELS and not is_whole:
            break
        has_right_checksum = is_whole and _has_right_checksum(content, offset)
        is_transparency = name == b"tRNS" and length in _TRANSPARENCY_BYTES.get(colour_type, ())
        if name in _PNG_PIXELS or (is_transparency and has_right_checksum):
            chunks.append(content[offset:following])
        # The letters that a wrong length leads to may look like a chunk's name.
        is_lost = not (has_right_checksum or (name in _PNG_PIXELS and is_whole and _begins_chunk(content, following)))
        if is_lost and searches < _MAX_SEARCHES:
            searches += 1
            following = _find_png_chunk(content, offset + 8)
        offset = following
    chunks.append(struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND")))
    return b"".join(chunks)


def _find_png_chunk(content: bytes, start: int) -> int:
    """Find the next chunk with pixels whose checksum is right."""
    for match in itertools.islice(re.compile(rb"PLTE|tRNS|IDAT|IEND").finditer(content, start), _MAX_CANDIDATES):
        offset = match.start() - 4
        if _has_right_checksum(content, offset):
            return offset
    return len(content)


def _begins_chunk(png: bytes, offset: int) -> bool:
    return offset == len(png) or png[offset + 4 : offset + 8].isalpha()


def _has_right_checksum(png: bytes, offset: int) -> bool:
    """Whether a PNG file has a whole chunk at a position, with the checksum that its name and content have."""
    end = offset + 8 + int.from_bytes(png[offset : offset + 4], "big")
    return zlib.crc32(png[offset + 4 : end]).to_bytes(4, "big") == png[end : end + 4]


def _strip_webp(content: bytes) -> bytes | None:
    chunks = []
    offset = 12
    while offset + 8 <= len(content):
        (length,) = struct.unpack_from("<I", content, offset + 4)
        end = offset + 8 + length + length % 2
        chunk = content[offset:end]
        if chunk[:4] == b"VP8X" and len(chunk) > 8:
            chunk = chunk[:8] + bytes([chunk[8] & ~_WEBP_METADATA_FLAGS]) + chunk[9:]
        if chunk[:4] in _WEBP_PIXELS:
            chunks.append(chunk)
        offset = end
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _list_jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, bytes) of each segment; a scan's with the compressed pixels that follow it.

    A metadata segment whose length is wrong ends where one of its kind does, or where the next marker of a table or
    frame is.
    """
    offset = 2
    while offset + 2 <= len(content):
        marker = content[offset + 1]
        if content[offset] != 0xFF:
            return
        if marker == 0xD9:
            yield marker, _JPEG_END
            return
        if marker == 0xFF:  # a filler byte
            offset += 1
            continue
        end = offset + 2 + int.from_bytes(content[offset + 2 : offset + 4], "big")
        if marker == 0xDA:
            next_marker = re.compile(rb"\xff[^\0\xd0-\xd7\xff]").search(content, end)
            end = next_marker.start() if next_marker else len(content)
        elif marker in _JPEG_METADATA and not _SEGMENT_START.match(content, end):
            end = _find_segment_end(content, offset)
        yield marker, content[offset:end]
        offset = end


def _find_segment_end(content: bytes, offset: int) -> int:
    """Find the end of a JPEG file's metadata segment that has a wrong length."""
    _, usual_bytes = _JPEG_COLOURS.get(content[offset + 1], (b"", 0))
    if usual_bytes and _SEGMENT_START.match(content, offset + 2 + usual_bytes):
        return offset + 2 + usual_bytes
    next_marker = re.compile(rb"\xff(\xdb\0[\x43\x84\xc5]|\xc0\0[\x0b\x11]|\xe0\0\x10JFIF)").search(content, offset + 4)
    return next_marker.start() if next_marker else len(content)


def _strip_jpeg(content: bytes) -> bytes | None:
    """Drop comments and application segments, but for what says what the colours are."""
    segments = list(_list_jpeg_segments(content))
    pixel_segments = [
        _keep_colours(marker, segment) if marker in _JPEG_METADATA else segment for marker, segment in segments
    ]
    if pixel_segments == [segment for _, segment in segments]:
        return None
    return content[:2] + b"".join(pixel_segments)


def _keep_colours(marker: int, segment: bytes) -> bytes:
    """Return a metadata segment with its right length if it is JFIF's or Adobe's, and nothing of any other."""
    name, usual_bytes = _JPEG_COLOURS.get(marker, (b"", 0))
    if not (name and segment[4:].startswith(name) and len(segment) >= 2 + usual_bytes):
        return b""
    return segment[:2] + usual_bytes.to_bytes(2, "big") + segment[4 : 2 + usual_bytes]


def _complete_jpeg(content: bytes) -> bytes | None:
    """Return a JPEG file with the end mark that it lacks, or None where pixels are missing too.

    A decoder invents what is missing from the bits that follow. Where all is there, these bits change nothing.
    """
    body = content[:-1] if content.endswith(b"\xff") else content
    whole = body + _JPEG_END
    try:
        if not _has_all_coefficients(body):
            return None
        if _depends_on_filler(body, _decode_jpeg(whole)):
            return None
    except Exception:  # Pillow raises many kinds on damaged bytes
        return None
    return whole


def lacks_pixels(content: bytes, image: Image.Image, side: int) -> bool:
    """Whether the pixels of a JPEG file break off, though an end mark follows.

    A decoder makes what is missing mid-grey, or in a progressive file leaves it less sharp. Where the last pixel is of
    that grey, and in progressive files, bits are put in front of the end mark: of a whole file they change nothing.

    Args:
        content: of the file.
        image: decoded from it, as its file has it.
        side: pixels that it was decoded for, see ``Image.draft``.
    """
    last_pixel = image.getpixel((image.width - 1, image.height - 1))
    is_grey = {*(last_pixel if isinstance(last_pixel, tuple) else (last_pixel,))} <= _MISSING_PIXEL
    if not (is_grey or image.info.get("progressive")):
        return False
    *segments, (last_marker, _) = [(0, b""), *_list_jpeg_segments(content)]
    if last_marker != 0xD9 or not any(marker in _JPEG_FRAMES for marker, _ in segments):
        return False
    body = content[:2] + b"".join(segment for _, segment in segments)
    try:
        if not _has_all_coefficients(body):  # what breaks off may not be seen in a smaller image; what follows would be
            return _depends_on_filler(body, _decode_jpeg(content))
        return _depends_on_filler(body, image, side)
    except Exception:  # Pillow raises many kinds, and has decoded the file as it is
        return False


def _depends_on_filler(body: bytes, image: Image.Image, side: int | None = None) -> bool:
    """Whether bits behind the last scan of a JPEG file without its end mark change the pixels that it has."""
    other = _decode_jpeg(body + _JPEG_FILLER + _JPEG_END, side)
    return ImageChops.difference(image, other).getbbox(alpha_only=False) is not None


def _decode_jpeg(content: bytes, side: int | None = None) -> Image.Image:
    """Decode a JPEG file, for an image of ``side`` pixels a side if that is given."""
    image = Image.open(io.BytesIO(content), formats=["JPEG"])
    if side is not None:
        image.draft(None, (side, side))
    image.load()
    return image


def _has_all_coefficients(content: bytes) -> bool:
    """Whether there is a scan that completes each coefficient of each channel; progressive files have many scans."""
    channels = 0
    complete: set[tuple[int, int]] = set()
    for marker, segment in _list_jpeg_segments(content):
        if marker in _JPEG_FRAMES:
            channels = segment[9]
        if marker == 0xDA:
            n = segment[4]
            first, last, bits = segment[5 + 2 * n : 8 + 2 * n]
            if bits & 15 == 0:
                for channel in segment[5 : 5 + 2 * n : 2]:
                    complete |= {(channel, number) for number in range(first, last + 1)}
    return channels > 0 and len(complete) == _JPEG_COEFFICIENTS * channels
