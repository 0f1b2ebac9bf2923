"""Tells of JPEG 2000 files what Pillow does not: whether one is whole, and how many bits its samples have."""

from PIL import Image

LEVEL_BITS = 8  # of a grey level
_COMPONENTS_AT = 40  # where their number is, behind the start of the codestream; then three bytes for each
_START = b"\xff\x4f\xff\x51"  # of the codestream, and of its first segment
_TILE_PART = b"\xff\x90"
_END = b"\xff\xd9"


def is_cut_off(content: bytes) -> bool:
    """Whether the codestream breaks off before its end mark (ITU-T T.800, annex A)."""
    offset = content.find(_START) + 2
    while offset + 10 <= len(content) and content[offset : offset + 2] != _END:
        if content[offset : offset + 2] != _TILE_PART:
            offset += 2 + int.from_bytes(content[offset + 2 : offset + 4], "big")
        elif length := int.from_bytes(content[offset + 6 : offset + 10], "big"):
            offset += length
        else:  # the last part, of a length that is not told; compressed pixels hold no end mark
            return content.find(_END, offset) < 0
    return content[offset : offset + 2] != _END


def read_bit_depths(content: bytes) -> list[int]:
    """Return how many bits the samples of each component have; none where the header is cut off."""
    start = content.find(_START)
    header = content[start + _COMPONENTS_AT :] if start >= 0 else b""
    components = int.from_bytes(header[:2], "big")
    return [(size & 0x7F) + 1 for size in header[2 : 2 + 3 * components : 3]]


def fill_levels(image: Image.Image, depths: list[int]) -> None:
    """Stretch the bands of a loaded image whose samples have fewer than 8 bits: Pillow has shifted their white to 128.

    Args:
        image: changed in place; one with a palette, and any other whose bands are not those of its file, is not.
        depths: bits of the samples of each component of its file.
    """
    if len(depths) != len(image.getbands()) or image.mode == "P" or min(depths) >= LEVEL_BITS:
        return
    bands = [
        band if bits >= LEVEL_BITS else band.point([_stretch(level, bits) for level in range(256)])
        for band, bits in zip(image.split(), depths, strict=True)
    ]
    image.paste(Image.merge(image.mode, bands))


def _stretch(level: int, bits: int) -> int:
    """Return the grey level of a sample of so many bits that was shifted to 8."""
    return round((level >> (LEVEL_BITS - bits)) * 255 / (2**bits - 1))
