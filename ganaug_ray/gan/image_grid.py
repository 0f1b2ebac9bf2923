"""Arranges generated images in grids and films."""

import io

import numpy as np
from PIL import Image

from ganaug_ray.data import images

GAP_PX = 2  # pixels around each image of a grid
SIDE_GAP_PX = 16  # between two grids side by side
MAX_CLASS_ROWS = 10  # of the pictures with a row a class


def arrange_grid(rows: list[np.ndarray]) -> np.ndarray:
    """Arrange images in a white grid, whose rows are given: uint8 [N, H, W, 1 or 3] each -> uint8 [H', W', 3].

    The first row is the longest. This is torchvision's ``make_grid`` without its two seconds of import.
    """
    height, width = rows[0].shape[1:3]
    step_y, step_x = height + GAP_PX, width + GAP_PX
    grid = np.full((len(rows) * step_y + GAP_PX, len(rows[0]) * step_x + GAP_PX, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            top, left = GAP_PX + y * step_y, GAP_PX + x * step_x
            grid[top : top + height, left : left + width] = image
    return grid


def cut_grids(picture: bytes, size: int, count: int = 1) -> list[np.ndarray]:
    """Cut a picture of grids into the images that they hold: the reverse of arrange_grid and join_side_by_side.

    Args:
        picture: PNG of one grid, or of two equally large ones side by side.
        size: side of an image, in pixels.
        count: number of grids side by side.

    Returns:
        Of each grid its images, uint8 [rows, columns, size, size, 3]; empty if the picture holds no such grids.
    """
    pixels = np.asarray(Image.open(io.BytesIO(picture), formats=["PNG"]).convert("RGB"))
    step = size + GAP_PX
    width = (pixels.shape[1] - SIDE_GAP_PX * (count - 1)) // count
    rows, rest_y = divmod(pixels.shape[0] - GAP_PX, step)
    columns, rest_x = divmod(width - GAP_PX, step)
    if rest_y or rest_x or not rows or not columns:
        return []
    grids = []
    for number in range(count):
        left = number * (width + SIDE_GAP_PX) + GAP_PX
        grid = pixels[GAP_PX:, left : left + columns * step].reshape(rows, step, columns, step, 3)
        grids.append(grid[:, :size, :, :size].transpose(0, 2, 1, 3, 4))
    return grids


def encode_png(picture: np.ndarray) -> bytes:
    """Encode uint8 [H, W, C] as PNG."""
    sink = io.BytesIO()
    images.from_array(picture).save(sink, "PNG")
    return sink.getvalue()


def join_side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Put two pictures of equal height side by side with a white gap: uint8 [H, W, 3]."""
    gap = np.full((left.shape[0], SIDE_GAP_PX, 3), 255, np.uint8)
    return np.concatenate([left, gap, right], axis=1)


def encode_film_gif(frames: list[bytes]) -> bytes:
    """Join PNG pictures of one size to a GIF, 0.2 seconds each and 2 seconds for the last."""
    opened_frames = [Image.open(io.BytesIO(frame), formats=["PNG"]).convert("RGB") for frame in frames]
    sink = io.BytesIO()
    durations = [200] * (len(opened_frames) - 1) + [2000]
    opened_frames[0].save(sink, "GIF", save_all=True, append_images=opened_frames[1:], duration=durations, loop=0)
    return sink.getvalue()
