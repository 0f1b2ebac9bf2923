"""Lays images out side by side for the page, with nothing between them: on a dark page a white gap would glare."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ganaug_ray.data.images import from_array

GAP_PX = 2
MAX_SIDE_PX = 64  # larger images are shrunk
MAX_LOSSLESS_BYTES = 60_000  # a larger picture loses what nobody sees
QUALITY = 85  # of 100


def encode_tiles(rows: Sequence[np.ndarray] | np.ndarray, columns: int, max_side_px: int = MAX_SIDE_PX) -> str:
    """Encode rows of images as one picture, transparent between them and where a row has fewer images than columns.

    Args:
        rows: of square images of equal size, uint8 [n, H, W, 1 or 3] each; one image at least in all.
        columns: number of images of a row that there is room for; further ones are left out.
        max_side_px: side in pixels to which larger images are shrunk.

    Returns:
        A WebP picture as a data URI.
    """
    tiles_by_row = [[_shrink_image(image, max_side_px) for image in row[:columns]] for row in rows]
    side = next(tile.width for tiles in tiles_by_row for tile in tiles)
    step = side + GAP_PX
    picture = Image.new("RGBA", (step * columns - GAP_PX, step * len(rows) - GAP_PX))
    for row, tiles in enumerate(tiles_by_row):
        for column, tile in enumerate(tiles):
            picture.paste(tile, (column * step, row * step))
    content = _encode_webp(picture, lossless=True)
    if len(content) > MAX_LOSSLESS_BYTES:
        content = _encode_webp(picture, lossless=False)
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def _shrink_image(pixels: np.ndarray, max_side_px: int) -> Image.Image:
    image = from_array(pixels)
    image.thumbnail((max_side_px, max_side_px))
    return image


def _encode_webp(picture: Image.Image, lossless: bool) -> bytes:
    sink = io.BytesIO()
    picture.save(sink, "WEBP", lossless=lossless, quality=QUALITY)
    return sink.getvalue()
