"""Real photographs as files of many formats, modes, depths and kinds of damage.

What the product decodes is compared with what decoders of other make see in the same bytes, and where there is none
with the pixels that the file was made of.
"""

from __future__ import annotations

import functools
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image
from sklearn.datasets import load_sample_images

from ganaug_ray.data import image_formats, images
from tests.helpers import fuzz, reference_decoder
from tests.helpers.image_files import encode, exif, insert_chunk, insert_segment, png16, png_chunk, pnm, tiff

MAX_MEAN_DIFFERENCE = 3.0  # grey levels
FORMAT_MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA"),
    "GIF": ("L", "P", "RGB"),
}
if "AVIF" in image_formats.READABLE_FORMATS:
    FORMAT_MODES["AVIF"] = ("RGB", "RGBA")
# Pillow opens none of these; the reason of their rejection says what to save them as.
REFUSED_KINDS = ("double TIFF", "inverted TIFF, >")
TRANSPARENT_COLOUR_MODES = {"PNG": ("L", "P", "RGB"), "GIF": ("P",)}
TRANSPARENT_COLOUR = "with a transparent colour"  # in the story of a file that has one
PNG_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"gAMA", b"pHYs", b"tIME", b"eXIf", b"sRGB", b"prVt")


@dataclass(frozen=True)
class FuzzedFile:
    """A file of an image, damaged or not.

    Attributes:
        content: its bytes.
        pixels: uint8 [H, W] or [H, W, 3], those that it was made of; None where its bytes were changed anywhere.
        story: how it was made.
        has_all_pixels: nothing but its metadata is damaged.
    """

    content: bytes
    pixels: np.ndarray | None
    story: str
    has_all_pixels: bool = False


def make_files(seed: int, n: int) -> Iterator[FuzzedFile]:
    """Yield so many files; the same for the same seed."""
    draw = random.Random(seed)
    for _ in range(n):
        yield _make_file(draw)


class Outcome(NamedTuple):
    """What became of a file: "kept" or the reason of its rejection; and who knew its pixels, if it was kept."""

    verdict: str
    reference: str


def check_file(file: FuzzedFile) -> Outcome:
    """Decode a file; raise where it is kept with other pixels than a reference has, or rejected for no damage."""
    try:
        decoded = images.decode(file.content)
    except images.UnreadableError as error:
        if file.has_all_pixels and not file.story.startswith(REFUSED_KINDS):
            raise AssertionError(f"{file.story}: {error.reason}") from error
        return Outcome(error.reason, "")
    reference = reference_decoder.decode(file.content)
    if reference is None:
        if file.pixels is None:
            return Outcome("kept", "nobody")
        reference = reference_decoder.Reference(file.pixels, "the photograph")
    means = np.asarray(decoded.image.convert("RGB")).mean((0, 1))
    difference = abs(means - _compute_means(reference.pixels)).max()
    case = f"{file.story}: {decoded.notes}, by {reference.decoder}"
    if file.has_all_pixels and TRANSPARENT_COLOUR in file.story:
        assert any("transparent" in note for note in decoded.notes), f"transparency is not told: {case}"
    assert difference <= MAX_MEAN_DIFFERENCE, f"{difference:.1f} grey levels away: {case}"
    return Outcome("kept", reference.decoder)


def _compute_means(pixels: np.ndarray) -> np.ndarray:
    """Compute the mean of each colour, three of grey pixels, too."""
    return np.broadcast_to(pixels.mean((0, 1)), 3)


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
        pixels = np.asarray(image.convert("L") if draw.random() < 0.4 else image)
        content, pixels, story = _encode_wide(draw, pixels)
    else:
        content, pixels, story = _encode_narrow(draw, image)
    match draw.randrange(4):
        case 0:
            kept = draw.randrange(len(content))
            return FuzzedFile(content[:kept], pixels, f"{story}, {kept} of {len(content)} bytes")
        case 1:
            return FuzzedFile(fuzz.mutated(draw, content), None, f"{story}, mutated")
    return FuzzedFile(content, pixels, story, has_all_pixels=True)


def _encode_narrow(draw: random.Random, image: Image.Image) -> tuple[bytes, np.ndarray, str]:
    """Encode an image in one of Pillow's modes and formats; return its pixels in that mode, too."""
    kind = draw.choice(list(FORMAT_MODES))
    mode = draw.choice(FORMAT_MODES[kind])
    image = _convert(draw, image, mode)
    story = f"{kind} {mode}"
    options: dict[str, object] = {}
    pixels = _lay_on_white(image)
    if mode in TRANSPARENT_COLOUR_MODES.get(kind, ()) and draw.random() < 0.5:
        values = np.asarray(image)
        colour = _choose_colour(draw, values)
        pixels = _whiten_colour(pixels, values, colour)
        options["transparency"] = tuple(colour.tolist()) if mode == "RGB" else int(colour)
        story += f" {TRANSPARENT_COLOUR}"
    if kind == "JPEG":
        options |= {"quality": 95, "progressive": draw.random() < 0.5}
    if kind in ("JPEG", "PNG", "WEBP") and draw.random() < 0.3:
        metadata = Image.Exif()
        metadata[ExifTags.Base.Orientation] = draw.randint(1, 8)
        options["exif"] = metadata
        story += f" turned {metadata[ExifTags.Base.Orientation]}"
    content = encode(image, kind, **options)
    if kind in ("JPEG", "PNG") and draw.random() < 0.6:
        content = _damage_metadata(draw, kind, content)
        story += " with odd metadata"
    return content, pixels, story


def _convert(draw: random.Random, image: Image.Image, mode: str) -> Image.Image:
    if mode == "P":
        return image.quantize(draw.choice((2, 16, 200)))
    image = image.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _lay_on_white(image: Image.Image) -> np.ndarray:
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def _choose_colour(draw: random.Random, values: np.ndarray) -> np.ndarray:
    """Choose a value of a pixel, or the values of its bands."""
    return values[draw.randrange(values.shape[0]), draw.randrange(values.shape[1])]


def _whiten_colour(pixels: np.ndarray, values: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Return pixels, uint8 [H, W] or [H, W, 3], white where the values are those of a colour."""
    is_colour = values == colour if values.ndim == 2 else (values == colour).all(2)
    whitened = pixels.copy()
    whitened[is_colour] = 255
    return whitened


def _encode_wide(draw: random.Random, pixels: np.ndarray) -> tuple[bytes, np.ndarray, str]:
    """Encode pixels with samples that are wider than 8 bits, signed or floats, over the whole range of their type."""
    sixteen = pixels.astype(np.uint16) * 257
    order = draw.choice("<>")
    compress = draw.random() < 0.5
    alpha = draw.randrange(256)
    transparent = np.concatenate([pixels.reshape(*pixels.shape[:2], -1), np.full((*pixels.shape[:2], 1), alpha)], -1)
    colour = _choose_colour(draw, sixteen)
    colour_chunk = png_chunk(b"tRNS", colour.astype(">u2").tobytes())
    kinds = {
        "16-bit PNG": lambda: png16(sixteen),
        f"16-bit PNG {TRANSPARENT_COLOUR}": lambda: insert_chunk(png16(sixteen), colour_chunk),
        "16-bit PNG with alpha": lambda: png16(transparent.astype(np.uint16) * 257),
        "16-bit PNM": lambda: pnm(sixteen, 65_535),
        "12-bit PNM": lambda: pnm(sixteen >> 4, 4095),
        "16-bit TIFF": lambda: tiff(sixteen, order, compress),
    }
    if pixels.ndim == 2:
        kinds |= {
            "signed TIFF": lambda: tiff((sixteen.astype(int) - 32768).astype(np.int16), order, compress),
            "signed 8-bit TIFF": lambda: tiff((pixels.astype(int) - 128).astype(np.int8), order, compress),
            "float TIFF": lambda: tiff((pixels / 255).astype(np.float32), order, compress),
            "double TIFF": lambda: tiff(pixels / 255, order, compress),
            "inverted TIFF": lambda: tiff(65_535 - sixteen, order, compress, photometric=0),
        }
    else:
        near_infrared = np.concatenate([pixels, pixels[..., :1] // 3], -1)
        kinds |= {"4-band TIFF": lambda: tiff(near_infrared, order, compress, extra=draw.choice([None, [0]]))}
    story = draw.choice(list(kinds))
    content = kinds[story]()
    if story.endswith("alpha"):
        pixels = (pixels * (alpha / 255) + 255 - alpha).astype(np.uint8)
    if story.endswith(TRANSPARENT_COLOUR):
        pixels = _whiten_colour(pixels, sixteen, colour)
    return content, pixels, f"{story}, {order}, compressed {compress}"


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
