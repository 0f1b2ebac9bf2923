"""Arranges generated images in grids and films."""

import io

import numpy as np
import torch
from PIL import Image

from ganaug_ray.data import images

GAP_PX = 2  # pixels around each image of a grid
MAX_CLASS_ROWS = 10  # of the pictures with a row a class


def arrange_grid(rows: list[np.ndarray]) -> np.ndarray:
    """Arrange images in a grid, one row for each item: list of uint8 [N, H, W, C] -> uint8 [H', W', 3]."""
    from torchvision.utils import make_grid  # slow to import, and few processes draw

    tiles = torch.from_numpy(np.concatenate(rows)).permute(0, 3, 1, 2)
    return make_grid(tiles, nrow=len(rows[0]), padding=GAP_PX, pad_value=255).permute(1, 2, 0).numpy()


def count_grid_rows(picture: bytes, size: int) -> int:
    """Return how many rows of images a grid has, given its PNG and the side of an image in pixels."""
    return (Image.open(io.BytesIO(picture), formats=["PNG"]).height - GAP_PX) // (size + GAP_PX)


def encode_png(picture: np.ndarray) -> bytes:
    """Encode uint8 [H, W, C] as PNG."""
    sink = io.BytesIO()
    images.from_array(picture).save(sink, "PNG")
    return sink.getvalue()


def join_side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Put two pictures of equal height side by side with a white gap: uint8 [H, W, 3]."""
    gap = np.full((left.shape[0], 16, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def build_film_strip(frames: list[bytes], size: int) -> bytes:
    """Put the first columns of grids side by side: how the first image of each row changed in training.

    Args:
        frames: grids as PNG, in order; any of another height than the last one's is passed over.
        size: side of their images in pixels.

    Returns:
        A PNG.
    """
    opened_frames = [Image.open(io.BytesIO(frame), formats=["PNG"]).convert("RGB") for frame in frames]
    height = opened_frames[-1].height
    same_frames = [frame for frame in opened_frames if frame.height == height]
    columns = [np.asarray(frame)[:, : size + GAP_PX] for frame in same_frames]
    return encode_png(np.concatenate([*columns, np.full_like(columns[0][:, :GAP_PX], 255)], axis=1))


def encode_film_gif(frames: list[bytes]) -> bytes:
    """Join PNG pictures of one size to a GIF, 0.2 seconds each and 2 seconds for the last."""
    opened_frames = [Image.open(io.BytesIO(frame), formats=["PNG"]).convert("RGB") for frame in frames]
    sink = io.BytesIO()
    durations = [200] * (len(opened_frames) - 1) + [2000]
    opened_frames[0].save(sink, "GIF", save_all=True, append_images=opened_frames[1:], duration=durations, loop=0)
    return sink.getvalue()
