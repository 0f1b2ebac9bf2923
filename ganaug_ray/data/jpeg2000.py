"""Tells whether a JPEG 2000 file is whole, since its decoder makes a picture of the first part of one, too."""

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
