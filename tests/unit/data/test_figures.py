"""The card's figures are drawn whatever the classes are called, for light and for dark pages."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.data.card import figures
from tests.helpers.card import Dataset


@pytest.mark.filterwarnings("error")
def test_figures_accept_any_class_name(tmp_path: Path) -> None:
    """Every figure is drawn whatever the classes are called."""
    names = ["猫", "Dürer", "$x$", "a\nb", "x" * 300, "ﷺ", "_hidden", "D\u0075\u0308rer"]
    dataset = Dataset(tmp_path / "dataset", dict.fromkeys(names, (9, 2, 2, 0)), channels=1)
    dataset.card()
    assert (dataset.folder / "figures").list_files() == [
        "aspects.png", "classes.png", "means.png", "samples.png", "sizes.png",
    ]  # fmt: skip
    for path in (dataset.path / "figures").iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert 300 < image.width < 4000
            assert np.asarray(image.convert("L")).std() > 5, "not a blank sheet"


def test_dark_figure_has_light_ink() -> None:
    """A figure for dark pages has light ink on a dark background."""
    sides = np.arange(20, 90)
    light, dark = (
        np.asarray(
            Image.open(
                io.BytesIO(figures.encode_figure(lambda: figures.draw_aspect_ratios(sides, sides[::-1]), theme))
            ).convert("L")
        )
        for theme in (figures.LIGHT_THEME, figures.DARK_THEME)
    )
    assert light[0, 0] == 255
    assert dark[0, 0] < 40
    assert dark.max() > 200
    assert light.min() < 50
