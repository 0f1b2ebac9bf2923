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
