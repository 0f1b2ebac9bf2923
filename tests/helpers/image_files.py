"""Image files that Pillow does not write: any TIFF, PNG of 16 bits, and files whose metadata are odd or broken."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

TIFF_SIZES = {2: "B", 3: "H", 4: "I"}  # type of a tag -> of its values


def encode(image: Image.Image | np.ndarray, kind: str, **options: object) -> bytes:
    """Return an image as a file that Pillow writes."""
    sink = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(sink, kind, **options)
    return sink.getvalue()


def tiff(
    pixels: np.ndarray,
    order: str = "<",
    compress: bool = False,
    photometric: int | None = None,
    extra: list[int] | None = None,
    tags: dict[int, tuple[int, list[int]]] | None = None,
) -> bytes:
    """Return a TIFF file of one strip with the array's own type of samples, [H, W] or [H, W, bands]."""
    height, width = pixels.shape[:2]
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if compress else data
    data += bytes(len(data) % 2)
    entries = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8 * pixels.dtype.itemsize] * bands),
        259: (3, [8 if compress else 1]),
        262: (3, [(2 if bands >= 3 else 1) if photometric is None else photometric]),
        273: (4, [8]),
        277: (3, [bands]),
        278: (4, [height]),
        279: (4, [len(data)]),
        339: (3, [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * bands),
        **({338: (3, extra)} if extra else {}),
        **(tags or {}),
    }
    start = 8 + len(data)
    behind = start + 2 + 12 * len(entries) + 4
    table = struct.pack(f"{order}H", len(entries))
    values_behind = b""
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}{TIFF_SIZES[kind]}", *values)
        table += struct.pack(f"{order}HHI", tag, kind, len(values))
        if len(packed) > 4:
            table += struct.pack(f"{order}I", behind + len(values_behind))
            values_behind += packed
        else:
            table += packed.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", start) + data + table + bytes(4) + values_behind


def png16(pixels: np.ndarray) -> bytes:
    """Return a PNG file of 16 bits: grey, grey and alpha, RGB or RGBA, uint16 [H, W] or [H, W, C]."""
    height, width = pixels.shape[:2]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[pixels[0, 0].size]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, content) for name, content in chunks)


def pnm(pixels: np.ndarray, maxval: int) -> bytes:
    """Return a PNM file of 16 bits a sample, uint16 [H, W] or [H, W, 3], whose header says what white is."""
    height, width = pixels.shape[:2]
    magic = "P5" if pixels.ndim == 2 else "P6"
    return f"{magic}\n{width} {height}\n{maxval}\n".encode() + pixels.astype(">u2").tobytes()


def png_chunk(name: bytes, content: bytes, checksum: int | None = None, length: int | None = None) -> bytes:
    """Return a chunk of a PNG file, with a wrong checksum or length where one is given."""
    right = zlib.crc32(name + content)
    head = struct.pack(">I", len(content) if length is None else length)
    return head + name + content + struct.pack(">I", right if checksum is None else checksum)


def insert_chunk(png: bytes, chunk: bytes) -> bytes:
    """Put a chunk behind a PNG file's header."""
    return png[:33] + chunk + png[33:]


def insert_segment(jpeg: bytes, marker: int, content: bytes, length: int | None = None) -> bytes:
    """Put a segment at the beginning of a JPEG file, with a wrong length where one is given."""
    size = len(content) + 2 if length is None else length
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, size) + content + jpeg[2:]


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """Return EXIF of (tag, type, count, value of at most 4 bytes), whatever sense that makes."""
    table = struct.pack("<H", len(entries))
    for tag, kind, count, value in entries:
        table += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + table + bytes(4)
