"""Metadata never costs pixels, and the reason for a rejection is the true one."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageChops, features

from ganaug_ray.data import images
from tests.helpers.image_files import encode, exif, insert_chunk, insert_segment, png_chunk, tiff

NATIVE = Image.merge(
    "RGB", [Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90)]
)
PICTURE = NATIVE.resize((240, 160))
PIXELS = np.asarray(PICTURE)
PNG = encode(PICTURE, "PNG")
JPEG = encode(PICTURE, "JPEG", quality=95)
PNG_DATA_AT = 41  # behind signature, header and the chunk's own
PNG_DATA_END = PNG_DATA_AT + int.from_bytes(PNG[33:37], "big")
PNG_DATA = [PNG[PNG_DATA_AT : PNG_DATA_AT + ord("A")], PNG[PNG_DATA_AT + ord("A") : PNG_DATA_END]]
SPLIT_PNG = PNG[:33] + b"".join(png_chunk(b"IDAT", data) for data in PNG_DATA) + PNG[PNG_DATA_END + 4 :]
SIDEWAYS = (0x0112, 3, 1, struct.pack("<H", 6))


def assert_kept(content: bytes, expected: np.ndarray = PIXELS) -> images.DecodedImage:
    decoded = images.decode(content)
    pixels = np.asarray(decoded.image)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 3
    return decoded


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_every_orientation_is_turned_upright(kind: str, orientation: int) -> None:
    """All eight orientations are turned upright, and the size is that of the upright image."""
    turn = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # as Pillow numbers the way back
    stored = PICTURE if turn is None else PICTURE.transpose(Image.Transpose(turn))
    tags = Image.Exif()
    tags[0x0112] = orientation
    decoded = assert_kept(encode(stored, kind, exif=tags))
    assert (decoded.width, decoded.height) == (240, 160)


@pytest.mark.parametrize(
    "odd",
    [
        (0x0100, 2, 3, b"96\0"),  # a width that is text
        (0x010E, 12, 1, b"\1\2\3\4"),  # a double without its bytes
        (0x8769, 4, 1, struct.pack("<I", 2**31)),  # a table outside the file
        (0x011A, 5, 1, struct.pack("<I", 4)),  # a fraction over nothing
        (0xFFFF, 99, 7, b"\xff" * 4),  # a type that is not known
        (0x9286, 7, 2**31, b"\0" * 4),  # a comment of two gigabytes
    ],
)
def test_odd_exif_still_turns_pixels(odd: tuple[int, int, int, bytes]) -> None:
    """Where other tags make no sense, the image is kept, and is turned as its orientation says."""
    stored = encode(PICTURE.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif(SIDEWAYS, odd))
    assert_kept(stored)


@pytest.mark.parametrize("value", [(3, 1, b"\0\0"), (3, 1, b"\x09\0"), (2, 2, b"6\0"), (5, 1, b"\0\0\0\0")])
def test_senseless_orientation_is_ignored(value: tuple[int, int, bytes]) -> None:
    """An orientation that is no number from 1 to 8 leaves the image as it is."""
    assert_kept(encode(PICTURE, "JPEG", quality=95, exif=exif((0x0112, *value))))


@pytest.mark.parametrize(
    "damaged",
    [
        insert_chunk(PNG, png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(4_000_000)))),  # a bomb of text
        insert_chunk(PNG, png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(4_000_000)))),
        insert_chunk(PNG, png_chunk(b"zTXt", b"Comment\0\0no deflate")),
        insert_chunk(PNG, png_chunk(b"iCCP", b"profile\0\0no deflate")),
        insert_chunk(PNG, png_chunk(b"tEXt", b"Comment\0wrong sum", checksum=1)),
        insert_chunk(PNG, png_chunk(b"tEXt", b"Comment\0wrong length", length=9)),
        insert_chunk(PNG, png_chunk(b"tEXt", b"Comment\0wrong length", length=10**6)),
        insert_chunk(PNG, png_chunk(b"tEXt", b"", length=len(PNG) - 33)),  # it ends where the file does
        insert_chunk(SPLIT_PNG, png_chunk(b"gAMA", b"key\0", length=3)),  # it ends at four other letters
        insert_chunk(PNG, png_chunk(b"pHYs", b"\0")),
        insert_chunk(PNG, png_chunk(b"gAMA", b"")),
        insert_chunk(PNG, png_chunk(b"sRGB", b"")),
        insert_chunk(PNG, png_chunk(b"cHRM", b"\0\0")),
        insert_chunk(PNG, png_chunk(b"acTL", b"\0\0")),
        insert_chunk(PNG, png_chunk(b"tRNS", b"\0", checksum=1)),
        insert_chunk(PNG, png_chunk(b"eXIf", b"MM\0")),
        PNG[:-12],
        PNG[:-5],
        insert_segment(JPEG, 0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
        insert_segment(JPEG, 0xE1, b"Exif\0\0"),
        insert_segment(JPEG, 0xE2, b"ICC_PROFILE\0\1\7cut"),
        insert_segment(JPEG, 0xE2, b"ICC_PROFILE\0"),
        insert_segment(JPEG, 0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
        insert_segment(JPEG, 0xED, b"Photoshop 3.0\x008BIM\4\4\0\0\xff\xff\xff\xff"),
        insert_segment(JPEG, 0xFE, b"a comment", length=4),
        insert_segment(JPEG, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta <<<"),
        insert_segment(JPEG, 0xE5, b"one too long", length=300),
        insert_segment(JPEG, 0xE5, b"", length=JPEG.index(b"\xff\0")),  # it ends in the scan, as if at a marker
    ],
)  # fmt: skip
def test_damaged_metadata_cost_no_pixels(damaged: bytes) -> None:
    """Text, colour profiles, EXIF and other chunks that are large, broken or wrong do not cost the image."""
    assert_kept(damaged)


def test_cut_png_takes_no_end_for_pixels() -> None:
    """Of a PNG file that breaks off in its pixels, the end mark that is put behind is not taken for more of them."""
    whole = encode(PICTURE.resize((32, 32)).quantize(16), "PNG")
    expected = np.asarray(images.decode(whole).image)
    for cut in range(13, 60):
        try:
            decoded = images.decode(whole[:-cut])
        except images.UnreadableError:
            continue
        assert (np.asarray(decoded.image) == expected).all(), cut


def test_cut_webp_header_is_damage() -> None:
    """A WebP file that breaks off in its first chunk is rejected as any other that breaks off."""
    whole = encode(PICTURE, "WEBP", exif=exif(SIDEWAYS)[6:])
    for size in range(12, 40):
        with pytest.raises(images.UnreadableError):
            images.decode(whole[:size])


def test_damaged_webp_chunks_are_ignored() -> None:
    """A WebP image is kept where the chunks beside its pixels are broken."""
    stored = PICTURE.transpose(Image.Transpose.ROTATE_90)
    whole = encode(stored, "WEBP", quality=95, exif=exif(SIDEWAYS)[6:], icc_profile=b"no profile")
    at = whole.index(b"EXIF")
    assert_kept(whole[: at + 4] + b"\xff\xff\xff\x7f" + whole[at + 8 :])


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_only_the_end_mark_may_lack(progressive: bool, subsampling: int) -> None:
    """A JPEG whose scan is complete is kept without its end mark; one that lacks pixels as well is not."""
    whole = encode(PICTURE, "JPEG", quality=95, progressive=progressive, subsampling=subsampling)
    for cut in (1, 2):
        assert assert_kept(whole[:-cut]).notes == ("end mark missing",)
    for cut in (*range(5, 60), len(whole) // 4, len(whole) // 2):
        with pytest.raises(images.UnreadableError, match="truncated or damaged"):
            images.decode(whole[:-cut])


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"<html>not found</html>", "not an image", "begins with"),
        (b"BMW is a car, and this is a text about cars", "not an image", "begins with"),
        (b"P5 is the name of a page", "not an image", "begins with"),
        (JPEG[:20], "cannot be decoded", "JPEG: "),
        (PNG[:20], "cannot be decoded", "PNG: "),
        (b"II*\0\x08\0\0\0" + bytes(40), "cannot be decoded", "TIFF: "),
        (b"\0\0\0\x18ftypheic" + bytes(40), "unsupported format", "HEIC; save it as PNG or JPEG"),
        (b"8BPS\0\1" + bytes(40), "unsupported format", "Photoshop; save it as PNG or JPEG"),
        (PNG[: len(PNG) // 2], "truncated or damaged", "truncated"),
    ],
)
def test_reason_is_the_true_one(content: bytes, reason: str, detail: str) -> None:
    """Only what has no image's signature is not an image; of others the decoder's own reason is given."""
    with pytest.raises(images.UnreadableError) as raised:
        images.decode(content)
    assert raised.value.reason == reason
    assert detail in raised.value.detail


@pytest.mark.parametrize("blank", [b"\r\n", b"\n\n \t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n", b" " * 1000])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_blank_bytes_in_front_cost_no_pixels(blank: bytes, kind: str) -> None:
    """An image behind line ends or a byte order mark, as scripts leave them, is kept upright and noted."""
    metadata = Image.Exif()
    metadata[ExifTags.Base.Orientation] = 6
    content = encode(PICTURE, kind, exif=metadata)
    decoded = images.decode(blank + content)
    expected = images.decode(content)
    assert decoded.image.tobytes() == expected.image.tobytes()
    assert (decoded.format, decoded.width) == (kind, expected.width)
    assert decoded.notes == ("blank bytes before the image ignored", *expected.notes)


@pytest.mark.parametrize(
    "text", [b"HTTP/1.1 200 OK\r\nContent-Type: image/x\r\n\r\n", b"<br />Warning: header in x.php"]
)
def test_image_behind_text_is_told(text: bytes) -> None:
    """An image behind a text is rejected with the place where it begins; what merely holds one is not an image."""
    with pytest.raises(images.UnreadableError) as raised:
        images.decode(text + JPEG)
    assert raised.value.reason == "text before the image"
    assert raised.value.detail.startswith(f"a JPEG image begins at byte {len(text)}, behind {text[:16]!r}; remove")
    assert images.decode((text + JPEG)[len(text) :]).image.tobytes() == images.decode(JPEG).image.tobytes()
    for other in (b"ID3\4\0\0" + JPEG, b"see GIF89a and RIFFs of WEBP, formats", b"\n\n<html>"):
        with pytest.raises(images.UnreadableError, match="not an image"):
            images.decode(other)


@pytest.mark.parametrize(
    ("content", "damage"),
    [
        (PNG.decode("latin-1").encode(), "each byte beyond ASCII was written as two"),
        (JPEG.decode("latin-1").encode(), "each byte beyond ASCII was written as two"),
        (PNG.decode(errors="replace").encode(), "bytes beyond ASCII are lost"),
        (JPEG.decode(errors="replace").encode(), "bytes beyond ASCII are lost"),
        (PNG.replace(b"\n", b"\r\n"), "line ends were changed"),
        (PNG.replace(b"\r\n", b"\n"), "line ends were changed"),
    ],
)
def test_copies_as_text_are_told(content: bytes, damage: str) -> None:
    """An image that a program has copied as text is rejected with what became of it."""
    with pytest.raises(images.UnreadableError) as raised:
        images.decode(content)
    assert (raised.value.reason, raised.value.detail) == ("copied as text", f"{damage}; copy it once more, as it is")


def test_cut_directory_is_no_shorter_one() -> None:
    """A TIFF image whose directory is cut off, and with it the sign of its samples, is rejected."""
    signed = tiff(np.asarray(PICTURE.convert("L")).view(np.int8))
    for cut in range(5, 60):
        with pytest.raises(images.UnreadableError):
            images.decode(signed[:-cut])


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_images_are_read() -> None:
    """AVIF is read where Pillow has it."""
    assert assert_kept(encode(PICTURE, "AVIF", quality=95)).format == "AVIF"


def test_lab_colours_are_converted() -> None:
    """A TIFF image in CIELAB is brought to RGB."""
    lab = Image.merge("LAB", [Image.new("L", (32, 32), value) for value in (136, 208, 195)])
    assert np.abs(np.asarray(images.decode(encode(lab, "TIFF")).image)[0, 0].astype(int) - (255, 0, 0)).max() < 12


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 7, 300, 10**6])
def test_wrong_transparency_costs_no_pixels(length: int, mode: str) -> None:
    """A PNG whose chunk of transparency is of a length that it cannot have, or says so, is kept without it."""
    picture = PICTURE.convert(mode)
    whole = encode(picture, "PNG")
    expected = np.asarray(images.decode(whole).image)
    at = whole.index(b"IDAT") - 4
    fits = length in {"L": [2], "RGB": [6], "P": range(1, 257)}[mode]
    declared = png_chunk(b"tRNS", b"\1\2\3\4\5\6", length=length)
    content = [declared] if fits else [declared, png_chunk(b"tRNS", bytes(min(length, 300)))]
    for chunk in content:
        assert_kept(whole[:at] + chunk + whole[at:], expected)


@pytest.mark.parametrize("kind", ["jfif", "jfif and exif", "adobe"])
def test_wrong_colour_segment_costs_no_pixels(kind: str) -> None:
    """A JPEG whose segment that says what its colours are has a wrong length is kept, upright and in its colours."""
    picture = PICTURE.convert("CMYK") if kind == "adobe" else PICTURE.transpose(Image.Transpose.ROTATE_90)
    options = {"exif": exif(SIDEWAYS)} if kind == "jfif and exif" else {}
    whole = encode(picture, "JPEG", quality=95, **options)
    if kind == "jfif and exif":  # Pillow writes one of them alone
        whole = insert_segment(whole, 0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
    expected = np.asarray(images.decode(whole).image)
    at = whole.index(b"\xff\xee" if kind == "adobe" else b"\xff\xe0") + 2
    right = int.from_bytes(whole[at : at + 2], "big")
    for length in (0, 1, 2, 3, 7, right - 1, right + 1, right + 60, 300, 20_000, 65_535):
        assert_kept(whole[:at] + length.to_bytes(2, "big") + whole[at + 2 :], expected)


def draw_grain(side: int, mode: str) -> Image.Image:
    grain = np.random.default_rng(0).integers(0, 60, (side, side, 3), np.uint8)
    return ImageChops.add(NATIVE.resize((side, side)), Image.fromarray(grain)).convert(mode)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("side", [60, 300, 500])
def test_end_mark_makes_no_whole_jpeg(side: int, mode: str, progressive: bool) -> None:
    """A JPEG that is cut off is rejected though an end mark follows; a whole one is kept, also if it ends in grey."""
    picture = draw_grain(side, mode)
    whole = encode(picture, "JPEG", progressive=progressive)
    images.decode(whole)
    for share in (0.4, 0.5, 0.6, 0.8):
        with pytest.raises(images.UnreadableError, match="truncated or damaged"):
            images.decode(whole[: int(share * len(whole))].rstrip(b"\xff") + b"\xff\xd9")
    picture.paste(tuple(128 for _ in picture.getbands()), (side // 2, 0, side, side))
    images.decode(encode(picture, "JPEG", progressive=progressive))


def test_details_that_are_not_seen_may_lack() -> None:
    """Of a large progressive JPEG, which is decoded smaller, nothing may lack but what that does not show."""
    whole = encode(draw_grain(1200, "RGB"), "JPEG", progressive=True)
    expected = np.asarray(images.decode(whole).image).astype(int)
    assert len(expected) == 150
    kept = 0
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        try:
            decoded = images.decode(whole[: int(share * len(whole))].rstrip(b"\xff") + b"\xff\xd9")
        except images.UnreadableError:
            continue
        kept += 1
        assert np.abs(np.asarray(decoded.image) - expected).max() <= 1
    assert kept < 5
