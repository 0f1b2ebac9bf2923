"""Decodes image files without Pillow, which the product decodes them with: an independent opinion on their pixels.

JPEG, PNG, GIF and WebP by torchvision's own bindings; BMP, PNM and TIFF, as far as they are plain, by a few lines here.
What is not plain - other compressions, tiles, bits that are no bytes, headers that make no sense - has no opinion.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from typing import NamedTuple

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_image

_TIFF_TYPES = {1: "B", 3: "H", 4: "I"}  # of a tag's values, as struct calls them
_TIFF_SAMPLES = {1: "u", 2: "i", 3: "f"}  # SampleFormat, as numpy calls it
_UNASSOCIATED_ALPHA = 2  # of TIFF's ExtraSamples
_PNG_COLOUR_TYPE = 25  # where it stands in the file
_GIF_TRANSPARENCY = re.compile(rb"\x21\xf9\x04[\x01-\xff]", re.DOTALL)


class Reference(NamedTuple):
    """The pixels of a file: float [H, W, 3] in [0, 255], upright, transparent ones on white; and who decoded it."""

    pixels: np.ndarray
    decoder: str


def decode(content: bytes) -> Reference | None:
    """Decode a file; None where it is not of a kind that is known here, or is damaged."""
    try:
        if content.startswith(b"BM"):
            return Reference(_to_colours(_read_bmp(content)), "plain BMP")
        if re.match(rb"P[456]\s", content):
            return Reference(_to_colours(_read_pnm(content)), "plain PNM")
        if content.startswith((b"II*\0", b"MM\0*")):
            return Reference(_to_colours(_read_tiff(content)), "plain TIFF")
        if content.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF")):
            return Reference(_to_colours(_ask_torchvision(content)), "torchvision")
    except (ArithmeticError, LookupError, RuntimeError, ValueError, struct.error, zlib.error):
        pass
    return None


def _to_colours(levels: np.ndarray) -> np.ndarray:
    """Lay transparent pixels on white, as the product does, and repeat grey: [H, W, 1 to 4] -> [H, W, 3]."""
    bands = levels.shape[2]
    if bands in (2, 4):
        alpha = levels[..., -1:] / 255
        levels = levels[..., :-1] * alpha + 255 * (1 - alpha)
    return np.broadcast_to(levels, (*levels.shape[:2], 3))


def _ask_torchvision(content: bytes) -> np.ndarray:
    if content.startswith(b"GIF8") and _GIF_TRANSPARENCY.search(content):
        raise ValueError("torchvision does not say which pixels of a GIF are transparent")
    is_png = content.startswith(b"\x89PNG")
    if is_png and not _has_whole_pixels(content):
        raise ValueError("torchvision ends the process on some PNG files whose pixels are damaged")
    if is_png and b"tRNS" in content:
        raise ValueError("torchvision passes over the transparent colours of a PNG")
    # Asked for transparency where there is none, it takes the pixels of a PNG with fewer than 8 bits apart wrongly.
    may_be_transparent = content[_PNG_COLOUR_TYPE] in (4, 6) if is_png else content.startswith(b"RIFF")
    mode = ImageReadMode.RGB_ALPHA if may_be_transparent else ImageReadMode.RGB
    data = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoded = decode_image(data, mode, apply_exif_orientation=True).numpy()
    if decoded.ndim != 3:
        decoded = decoded[0]  # the first frame
    return decoded.transpose(1, 2, 0) / (257 if decoded.dtype == np.uint16 else 1)


def _has_whole_pixels(png: bytes) -> bool:
    """Whether a PNG is made of whole chunks, and those that are not just metadata hold what their checksums say."""
    at = len(b"\x89PNG\r\n\x1a\n")
    while at + 12 <= len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        name_and_content = png[at + 4 : end - 4]
        is_metadata = name_and_content[:1].islower()
        if not is_metadata and zlib.crc32(name_and_content) != int.from_bytes(png[end - 4 : end], "big"):
            return False
        at = end
    return at == len(png)


def _read_bmp(content: bytes) -> np.ndarray:
    start, header, width, height, planes, bits, compression = struct.unpack_from("<10xIIiiHHI", content)
    n_colours = struct.unpack_from("<I", content, 46)[0] or 2**bits
    if header != 40 or min(width, height) <= 0 or planes != 1 or compression or bits not in (1, 8, 24, 32):
        raise ValueError("not plain")
    row_bytes = (width * bits + 31) // 32 * 4
    rows = np.frombuffer(content, np.uint8, row_bytes * height, start).reshape(height, row_bytes)[::-1]
    if bits >= 24:  # a fourth byte means nothing, though some write transparency there
        return rows[:, : bits // 8 * width].reshape(height, width, -1)[..., 2::-1].astype(float)
    indices = np.unpackbits(rows, axis=1)[:, :width] if bits == 1 else rows[:, :width]
    palette = np.frombuffer(content, np.uint8, 4 * n_colours, 14 + header).reshape(-1, 4)
    return palette[indices][..., 2::-1].astype(float)


def _read_pnm(content: bytes) -> np.ndarray:
    header = re.match(rb"P4\s(\d+)\s(\d+)\s|P([56])\s(\d+)\s(\d+)\s(\d+)\s", content)
    if header is None:
        raise ValueError("not plain")
    if header[1]:
        width, height = int(header[1]), int(header[2])
        row_bytes = (width + 7) // 8
        rows = np.frombuffer(content, np.uint8, row_bytes * height, header.end()).reshape(height, row_bytes)
        return 255.0 * (1 - np.unpackbits(rows, axis=1)[:, :width, None])
    bands = 1 if header[3] == b"5" else 3
    width, height, maxval = (int(header[group]) for group in (4, 5, 6))
    kind = ">u2" if maxval > 255 else ">u1"
    values = np.frombuffer(content, kind, width * height * bands, header.end()).reshape(height, width, bands)
    return np.minimum(values * (255 / maxval), 255)


def _read_tiff(content: bytes) -> np.ndarray:
    order = "<" if content.startswith(b"II") else ">"
    tags = _read_tiff_tags(content, order)
    (width,), (height,) = tags[256], tags[257]
    bits = tags[258]
    bands = len(bits)
    kind = _TIFF_SAMPLES[tags.get(339, (1,))[0]]
    if len(set(bits)) > 1 or bits[0] % 8 or tags.get(277, (1,))[0] != bands or tags.get(284, (1,)) != (1,):
        raise ValueError("not plain")
    if tags.get(317, (1,)) != (1,) or tags.get(274, (1,)) != (1,) or tags.get(259, (1,))[0] not in (1, 8):
        raise ValueError("not plain")
    strips = [content[start : start + size] for start, size in zip(tags[273], tags[279], strict=True)]
    if tags.get(259, (1,))[0] == 8:
        strips = [zlib.decompress(strip) for strip in strips]
    dtype = np.dtype(f"{order}{kind}{bits[0] // 8}")
    values = np.frombuffer(b"".join(strips), dtype, width * height * bands).reshape(height, width, bands)
    return _interpret_tiff(values, tags)


def _read_tiff_tags(content: bytes, order: str) -> dict[int, tuple[int, ...]]:
    """Read the first directory: tag -> its values, of tags that hold whole numbers."""
    (directory,) = struct.unpack_from(f"{order}I", content, 4)
    (entries,) = struct.unpack_from(f"{order}H", content, directory)
    tags = {}
    for at in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", content, at)
        if kind in _TIFF_TYPES:
            form = f"{order}{count}{_TIFF_TYPES[kind]}"
            is_inside = struct.calcsize(form) <= 4
            start = at + 8 if is_inside else struct.unpack_from(f"{order}I", content, at + 8)[0]
            tags[tag] = struct.unpack_from(form, content, start)
    return tags


def _interpret_tiff(values: np.ndarray, tags: dict[int, tuple[int, ...]]) -> np.ndarray:
    """Scale samples to [0, 255], each type's whole range and floats from 0 to 1, and say what its bands mean."""
    bands = values.shape[2]
    photometric = tags[262][0]
    if photometric == 3:
        return np.array(tags[320]).reshape(3, -1)[:, values[..., 0]].transpose(1, 2, 0) / 257
    levels = values.astype(float)
    if values.dtype.kind == "f":
        levels *= 255
    else:
        limits = np.iinfo(values.dtype)
        levels = (levels - limits.min) * (255 / (int(limits.max) - int(limits.min)))
    is_transparent = tags.get(338, (0,)) == (_UNASSOCIATED_ALPHA,)
    match photometric, bands:
        case 0, 1:
            return 255 - levels
        case (1, 1) | (2, 3):
            return levels
        case (1, 2) | (2, 4) if is_transparent:
            return levels
        case 2, 4 if tags.get(338, (0,)) == (0,):
            return levels[..., :3]
        case 5, 4:
            return (255 - levels[..., :3]) * (255 - levels[..., 3:]) / 255
    raise ValueError("not plain")
