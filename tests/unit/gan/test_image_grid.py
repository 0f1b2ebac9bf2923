"""Grids of images as files: what was arranged is cut apart again."""

from __future__ import annotations

import numpy as np

from ganaug_ray.gan import image_grid

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 4, 16, 16, 3), np.uint8)


def test_cut_grid_is_what_was_arranged() -> None:
    """Cutting a grid gives its images, row by row."""
    (found,) = image_grid.cut_grids(image_grid.encode_png(image_grid.arrange_grid(list(IMAGES))), 16)
    assert np.array_equal(found, IMAGES)


def test_cut_pair_keeps_sides_apart() -> None:
    """Two grids side by side are cut into two."""
    left, right = image_grid.arrange_grid(list(IMAGES)), image_grid.arrange_grid(list(IMAGES[:, ::-1]))
    picture = image_grid.encode_png(image_grid.join_side_by_side(left, right))
    found = image_grid.cut_grids(picture, 16, count=2)
    assert np.array_equal(found[0], IMAGES)
    assert np.array_equal(found[1], IMAGES[:, ::-1])


def test_other_picture_is_not_cut() -> None:
    """A picture that is no grid of such images is left alone."""
    picture = image_grid.encode_png(image_grid.arrange_grid(list(IMAGES)))
    assert image_grid.cut_grids(picture, 20) == []
    assert image_grid.cut_grids(picture, 16, count=2) == []
