"""Real photographs as files of many formats, depths and kinds of damage, each with the pixels that are in it."""

from __future__ import annotations

import functools
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from ganaug_ray.data import images
from tests.helpers import fuzz
from tests.helpers.image_files import encode, exif, insert_chunk, insert_segment, png16, png_chunk, tiff

MAX_MEAN_DIFFERENCE = 3.0  # grey levels
PILLOW_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "PPM", "JPEG2000", "GIF")
PNG_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"pHYs", b"tIME", b"eXIf", b"sRGB", b"prVt")


@dataclass(frozen=True)
class FuzzedFile:
    """A file, its pixels uint8 [H, W] or [H, W, 3], and how it was made; of mutated files nothing is known."""

    content: bytes
    pixels: np.ndarray | None
    story: str


def make_files(seed: int, n: int) -> Iterator[FuzzedFile]:
    """Yield so many files; the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(n):
        yield _make_file(draw)


def check_file(file: FuzzedFile) -> str:
    """Decode a file; return "kept" or the reason of its rejection, or raise where its pixels are not what they were."""
    try:
        decoded = images.decode(file.content)
    except images.UnreadableError as error:
        return error.reason
    if file.pixels is not None:
        difference = abs(np.asarray(decoded.image).mean() - file.pixels.mean())
        assert difference <= MAX_MEAN_DIFFERENCE, f"{file.story}: {difference:.1f} grey levels away, {decoded.notes}"
    return "kept"


@functools.cache
def _load_photographs() -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in load_sample_images().images]


def _make_file(draw: random.Random) -> FuzzedFile:
    photograph = draw.choice(_load_photographs())
    side = draw.randint(16, 160)
    left = draw.randrange(photograph.width - side)
    top = draw.randrange(photograph.height - side)
    image = photograph.crop((left, top, left + side, top + draw.randint(16, side)))
    if draw.random() < 0.4:
        image = image.convert("L")
    pixels = np.asarray(image)
    if draw.random() < 0.4:
        content, story = _encode_wide(draw, pixels)
    else:
        kind = draw.choice(PILLOW_FORMATS)
        options = {"quality": 95, "progressive": draw.random() < 0.5} if kind == "JPEG" else {}
        content = encode(image, kind, **options)
        story = kind
        if kind in ("JPEG", "PNG") and draw.random() < 0.6:
            content = _damage_metadata(draw, kind, content)
            story += " with odd metadata"
    match draw.randrange(4):
        case 0:
            kept = draw.randrange(len(content))
            return FuzzedFile(content[:kept], pixels, f"{story}, {kept} of {len(content)} bytes")
        case 1:
            return FuzzedFile(fuzz.mutated(draw, content), None, f"{story}, mutated")
    return FuzzedFile(content, pixels, story)


def _encode_wide(draw: random.Random, pixels: np.ndarray) -> tuple[bytes, str]:
    """Encode pixels with samples that are wider than 8 bits, signed or floats, over the whole range of their type."""
    sixteen = pixels.astype(np.uint16) * 257
    order = draw.choice("<>")
    compress = draw.random() < 0.5
    kinds = {"16-bit PNG": lambda: png16(sixteen), "16-bit TIFF": lambda: tiff(sixteen, order, compress)}
    if pixels.ndim == 2:
        kinds |= {
            "signed TIFF": lambda: tiff((sixteen.astype(int) - 32768).astype(np.int16), order, compress),
            "signed 8-bit TIFF": lambda: tiff((pixels.astype(int) - 128).astype(np.int8), order, compress),
            "float TIFF": lambda: tiff((pixels / 255).astype(np.float32), order, compress),
            "double TIFF": lambda: tiff(pixels / 255, order, compress),
        }
    else:
        near_infrared = np.concatenate([pixels, pixels[..., :1] // 3], -1)
        kinds |= {"4-band TIFF": lambda: tiff(near_infrared, order, compress, extra=draw.choice([None, [0]]))}
    story = draw.choice(list(kinds))
    return kinds[story](), f"{story}, {order}, compressed {compress}"


def _damage_metadata(draw: random.Random, kind: str, content: bytes) -> bytes:
    junk = draw.randbytes(draw.choice((0, 1, 8, 200)))
    length = draw.choice((None, None, 3, 2000))
    if kind == "PNG":
        body = draw.choice((junk, b"key\0" + junk, b"key\0\0" + zlib.compress(bytes(2_000_000))))
        checksum = draw.choice((None, None, 7))
        return insert_chunk(content, png_chunk(draw.choice(PNG_CHUNKS), body, checksum, length))
    tag = (draw.choice((0x100, 0x10E, 0x11A, 0x8769, 0x9286)), draw.randrange(16), draw.choice((1, 9)), junk[:4])
    heads = (b"", b"Exif\0\0", b"ICC_PROFILE\0", b"MPF\0", b"Photoshop 3.0\x008BIM", exif((0x112, 3, 1, b"\1\0"), tag))
    marker = draw.choice((0xE1, 0xE2, 0xE5, 0xED, 0xFE))
    if length is not None and length > len(content):
        length = None
    return insert_segment(content, marker, draw.choice(heads) + junk + struct.pack(">I", 2**31), length)
