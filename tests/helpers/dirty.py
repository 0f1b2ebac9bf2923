"""A folder such as people have: real photographs, and between them sixty files of no use, each for a known reason."""

from __future__ import annotations

import functools
import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

PUBLIC = Path(os.environ.get("GANAUG_DATA") or Path(__file__).parents[3] / "shared" / "data")
PHOTOGRAPHS = PUBLIC / "cats_dogs" / "cats_dogs-train.zip"
ANIMALS = ("cat", "dog")
CORNERS = 4  # of a photograph, each a picture of its own

PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n"
TINY = ((4, 4), (7, 200), (200, 7), (1, 1), (2, 9))
PAGE = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Not Found</body></html>\n"
SCAN_REASONS = ("unsupported format", "not an image", "not an image", "unsupported format", "unsupported format")
DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><circle cx="32" cy="32" r="20"/></svg>\n'
SCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n"
LEFT_BEHIND = (".DS_Store", "cat/.DS_Store", "cat/._cat.1.jpg", "cat/Thumbs.db", "dog/desktop.ini", "dog/.cache/1.jpg")


def photographs(root: Path, per_class: int) -> Path:
    """Write so many pictures of natural size per class, no two alike, as JPEG files; return the folder."""
    for animal in ANIMALS:
        (root / animal).mkdir(parents=True)
        for number in range(per_class):
            (root / animal / f"{animal}.{number}.jpg").write_bytes(picture(animal, number))
    return root


def picture(animal: str, number: int) -> bytes:
    """Return one of a series: first the photographs, byte for byte; from then on mirrored corners of them.

    A corner has a third of the area: a picture of something else as far as any likeness goes.
    """
    whole = _photographs(animal)
    turn, index = divmod(number, len(whole))
    if turn == 0:
        return whole[index]
    image = Image.open(io.BytesIO(whole[index]))
    width, height = image.width * 3 // 5, image.height * 3 // 5
    right, bottom = divmod(turn % CORNERS, 2)
    left, top = right * (image.width - width), bottom * (image.height - height)
    corner = image.crop((left, top, left + width, top + height)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return encoded(corner, "JPEG", quality=90)


@functools.cache
def _photographs(animal: str) -> list[bytes]:
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        return [archive.read(name) for name in sorted(archive.namelist()) if f"/{animal}/" in name]


def spoil(root: Path) -> dict[str, str]:
    """Mix sixty bad files into a folder of photographs, five of each of twelve kinds, and what systems leave behind.

    Returns:
        Path of each bad file -> the reason for which it is to be rejected. All other files are as good as before: a
        copy sorts behind its original, and the pictures in conflict are none of those that were there.
    """
    rng = np.random.default_rng(0)
    bad: dict[str, tuple[str, bytes]] = {}
    for i in range(5):
        animal = ANIMALS[i % 2]
        whole = (root / animal / f"{animal}.{i}.jpg").read_bytes()
        other = (root / animal / f"{animal}.{i + 5}.jpg").read_bytes()
        png = encoded(Image.open(io.BytesIO(whole)), "PNG")
        bad |= {
            f"{animal}/{animal}.{9000 + i}.jpg": ("empty", b""),
            f"{animal}/download ({i}).jpg": ("not an image", PAGE),
            f"{animal}/{animal}.{9100 + i}.jpg": ("truncated or damaged", whole[: len(whole) // 2]),
            f"{animal}/{animal}.{9200 + i}.png": ("truncated or damaged", png[: len(png) // 2]),
            f"{animal}/{animal}.{9300 + i}.png": ("not an image", rng.bytes(5000)),
            f"{animal}/poster-{i}.png": ("too large", bomb(11_000 + 1000 * i)),
            f"{animal}/icon-{i}.png": ("too small", encoded(noise(rng, *TINY[i]), "PNG")),
            f"{animal}/blank-{i}.jpg": ("single colour", encoded(Image.new("RGB", (300, 200), (9, 50 * i, 9)), "JPEG")),
            f"{animal}/{animal}.{i}_copy.jpg": ("duplicate", whole),
            f"{animal}/{animal}.{i + 5}_edited.jpg": ("duplicate", described(other)),
            f"{animal}/scan_{i}.jpg": (SCAN_REASONS[i], (PDF, _zipped(whole), b"cat or dog?\n", DRAWING, SCRIPT)[i]),
        }  # fmt: skip
    # A picture under both labels is two bad files; one that is twice under one label and once under the other: three.
    one, two = (picture(animal, 4 * len(_photographs(animal))) for animal in ANIMALS)
    for path, content in {
        "cat/tom.jpg": one, "dog/rex.jpg": one, "cat/felix.jpg": two, "cat/felix_2.jpg": two, "dog/bello.jpg": two,
    }.items():  # fmt: skip
        bad[path] = ("label conflict", content)
    for path, (_, content) in bad.items():
        (root / path).write_bytes(content)
    for path in (*LEFT_BEHIND, "__MACOSX/cat/._cat.2.jpg"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"\0\5\x16\7")
    return {path: reason for path, (reason, _) in bad.items()}


def encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    """Return the image as a file of that kind."""
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def noise(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return an image of random colours."""
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def bomb(side: int) -> bytes:
    """Return a PNG file of a few kilobytes that is a whole black image of side × side pixels."""
    return png(side, side, 1, bytes((1 + (side + 7) // 8) * side))


def png(width: int, height: int, bits: int, rows: bytes) -> bytes:
    """Return a grey PNG file; each row begins with the number of its filter, 0 for none."""
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def described(jpeg: bytes) -> bytes:
    """Return a JPEG file with the same pixels and more to tell about them: EXIF and a comment."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0131] = "Some Camera", "Some Editor 3.1"
    segments = ((0xE1, exif.tobytes()), (0xFE, b"edited, saved without loss"))
    added = b"".join(struct.pack(">BBH", 0xFF, mark, 2 + len(content)) + content for mark, content in segments)
    return jpeg[:2] + added + jpeg[2:]


def _zipped(content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("scan.jpg", content)
    return sink.getvalue()
