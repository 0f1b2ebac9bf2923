"""Pictures of generated images to look at."""

import io

import numpy as np
import torch
from PIL import Image

from ganaug_ray.data import images

GAP = 2  # pixels around each image of a grid
MOST_ROWS = 10  # of the pictures with a row a class


def grid(rows: list[np.ndarray]) -> np.ndarray:
    """Lay images out, one row for each item: list of uint8 [N, H, W, C] -> one uint8 picture [H', W', 3]."""
    from torchvision.utils import make_grid  # slow to import, and few processes draw

    tiles = torch.from_numpy(np.concatenate(rows)).permute(0, 3, 1, 2)
    return make_grid(tiles, nrow=len(rows[0]), padding=GAP, pad_value=255).permute(1, 2, 0).numpy()


def rows_of(picture: bytes, size: int) -> int:
    """How many rows of images of this size a grid has, as PNG."""
    return (Image.open(io.BytesIO(picture), formats=["PNG"]).height - GAP) // (size + GAP)


def png(picture: np.ndarray) -> bytes:
    """Encode uint8 [H, W, C] as PNG."""
    sink = io.BytesIO()
    images.from_array(picture).save(sink, "PNG")
    return sink.getvalue()


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Put two pictures of equal height side by side with a white gap: uint8 [H, W, 3]."""
    gap = np.full((left.shape[0], 16, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def film_strip(frames: list[bytes], size: int) -> bytes:
    """Put the first columns of grids side by side: how the first image of each row came about.

    Args:
        frames: grids as PNG, in order; any of another height than the last one's is passed over.
        size: side of their images in pixels.

    Returns:
        A PNG.
    """
    shown = [Image.open(io.BytesIO(frame), formats=["PNG"]).convert("RGB") for frame in frames]
    columns = [np.asarray(frame)[:, : size + GAP] for frame in shown if frame.height == shown[-1].height]
    return png(np.concatenate([*columns, np.full_like(columns[0][:, :GAP], 255)], axis=1))


def film(frames: list[bytes]) -> bytes:
    """Join PNG pictures of one size to a GIF that shows each for a fifth of a second and stays at the last."""
    shown = [Image.open(io.BytesIO(frame), formats=["PNG"]).convert("RGB") for frame in frames]
    sink = io.BytesIO()
    durations = [200] * (len(shown) - 1) + [2000]
    shown[0].save(sink, "GIF", save_all=True, append_images=shown[1:], duration=durations, loop=0)
    return sink.getvalue()
