"""JPEG 2000 files, whole and cut off."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.data import images

PIXELS = np.random.default_rng(0).integers(0, 256, (96, 80, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "options",
    [{}, {"tile_size": (32, 32)}, {"no_jp2": True}, {"irreversible": True, "quality_layers": [20, 5]}, {"plt": True}],
    ids=str,
)
def test_cut_off_jpeg2000_is_rejected(options: dict[str, Any]) -> None:
    """A file that breaks off is no image of its first part, wherever that is; a whole one is read."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG2000", **options)
    content = file.getvalue()
    assert images.decode(content).width == 80
    for kept in [*range(200, len(content) - 2, 97), len(content) - 3]:
        with pytest.raises(images.UnreadableError) as caught:
            images.decode(content[:kept])
        assert caught.value.reason in ("truncated or damaged", "cannot be decoded"), kept


def set_depth(content: bytes, component: int, bits: int) -> bytes:
    """Have the header of a codestream call the samples of a component so many bits wide: white is then of so many."""
    at = content.index(b"\xff\x4f\xff\x51") + 42 + 3 * component
    return content[:at] + bytes([bits - 1]) + content[at + 1 :]


@pytest.mark.parametrize("bits", [1, 2, 4, 7])
def test_few_bits_reach_from_black_to_white(bits: int) -> None:
    """White of a file of fewer than 8 bits is white, not a grey of as few bits."""
    levels = 2**bits - 1
    grey = np.linspace(128 - 2 ** (bits - 1), 127 + 2 ** (bits - 1), 256).astype(np.uint8).reshape(16, 16)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG2000", no_jp2=True)
    decoded = images.decode(set_depth(file.getvalue(), 0, bits))
    expected = np.rint((grey.astype(int) - grey.min()) * 255 / levels)
    assert np.array_equal(np.asarray(decoded.image), expected)


def test_transparency_of_one_bit_is_whole_or_none() -> None:
    """An alpha channel of one bit hides pixels or shows them, and washes none out."""
    alpha = np.full((96, 80), 128, np.uint8)
    alpha[:10] = 127
    file = io.BytesIO()
    Image.fromarray(np.dstack([PIXELS, alpha])).save(file, "JPEG2000", no_jp2=True)
    decoded = np.asarray(images.decode(set_depth(file.getvalue(), 3, 1)).image)
    assert np.array_equal(decoded[10:], PIXELS[10:])
    assert decoded[:10].min() == 255


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_wide_colours_of_jpeg2000_are_refused(mode: str) -> None:
    """Pillow makes white black where several bands have more than 8 bits: such a file is refused, and told why."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(file, "JPEG2000", no_jp2=True)
    with pytest.raises(images.UnreadableError, match="cannot be decoded") as caught:
        images.decode(set_depth(file.getvalue(), 0, 12))
    assert caught.value.detail == f"JPEG 2000: {len(mode)} × 12 bits a pixel; save it as 16-bit PNG"
