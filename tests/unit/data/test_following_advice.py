"""The advice in a message on images, tables and facts on the classes, followed with the same files."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from ganaug_ray.config import DataConfig
from ganaug_ray.data.card.class_metadata import join_classes
from ganaug_ray.data.ingest.scan import Survey, survey_without_storing
from ganaug_ray.errors import UserError
from tests.helpers.labelled import png

SPLIT = {"val": 0.1, "test": 0.2}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of each of two classes, and a table that has other classes for them."""
    root = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    rows = ""
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for i in range(40):
            Image.fromarray(draw.integers(0, 256, (16, 16), np.uint8)).save(root / name / f"{i}.png")
            rows += f"{name}/{i}.png,{name},felis {i % 2},\n"
    (root / "labels.csv").write_text(f"image,label,species,note\n{rows}")
    return root


def survey(source: Path, **settings: Any) -> Survey:
    """Read and judge all images, as a dry run does."""
    return survey_without_storing(DataConfig.model_validate({"source": str(source), "split": SPLIT} | settings))


@pytest.mark.parametrize(
    ("settings", "advice", "followed"),
    [
        (
            {"train_per_class": 20, "imbalance": {"factor": 20}},
            "take a smaller factor",
            {"imbalance": {"factor": 10}},
        ),
        (
            {"train_per_class": 8, "imbalance": {"factor": 8}},
            "or more images a class",
            {"train_per_class": 16},
        ),
        ({"unlabelled": "unused"}, "data.train_per_class and data.imbalance leave some", {"train_per_class": 8}),
        ({"unlabelled": "unused"}, "data.imbalance leave some", {"imbalance": {"factor": 4}}),
    ],
)
def test_scarcity_is_taken_once_followed(
    pictures: Path, settings: dict[str, Any], advice: str, followed: dict[str, Any]
) -> None:
    """Classes are made rare, and images are left over, once the settings are as a message says."""
    with pytest.raises(UserError, match=re.escape(advice)):
        survey(pictures, **settings)
    found = survey(pictures, **settings | followed)
    assert bool(found.unlabelled.num_rows) == ("unlabelled" in settings)


def test_other_label_column_is_taken(pictures: Path) -> None:
    """Of two columns that may be labels, the remark's setting takes the other one, and the remark is gone."""
    (remark,) = [each for each in survey(pictures / "labels.csv").remarks if "data.columns" in each]
    match = re.search(r"set data\.columns: (\{.*\})$", remark)
    assert match, remark
    found = survey(pictures / "labels.csv", columns=yaml.safe_load(match[1]))
    assert found.classes == ["felis 0", "felis 1"]
    assert not any("data.columns" in each for each in found.remarks)


@pytest.mark.parametrize("header", ["image:label", "image : label : note", '"file_name"*"class"'])
def test_named_separator_is_taken(pictures: Path, tmp_path: Path, header: str) -> None:
    """A table whose columns are separated by an unusual sign is read once the setting in the message names it."""
    source = tmp_path / "labels.csv"
    sign = "*" if "*" in header else ":"
    rows = "".join(f"{pictures}/{name}/{i}.png {sign} big {name}\n" for name in ("cat", "dog") for i in range(40))
    source.write_text(f"{header}\n{rows}")
    with pytest.raises(UserError) as refusal:
        survey(source)
    advice = re.search(r"set data\.columns: (\{.*\})$", str(refusal.value))
    assert advice is not None
    assert survey(source, columns=yaml.safe_load(advice[1])).classes == ["big cat", "big dog"]


def test_usable_label_column_is_named(pictures: Path, tmp_path: Path) -> None:
    """Where no column has the usual name or the cells of classes, one is named as the message says."""
    source = tmp_path / "labels.csv"
    rows = "".join(f"{pictures}/{name}/{i}.png,{i},7,{name}\n" for name in ("cat", "dog") for i in range(40))
    source.write_text(f"image,wide,high,note\n{rows}")
    with pytest.raises(UserError, match=r"wide, high, note; .*data\.columns: \{image: \.\.\., label: \.\.\.\}"):
        survey(source)
    assert survey(source, columns={"label": "note"}).classes == ["cat", "dog"]


def test_facts_are_read_as_saved(tmp_path: Path) -> None:
    """A table in another encoding is read once it is saved in UTF-8, with or without a byte order mark."""
    path = tmp_path / "facts.csv"
    text = "name,genre\nDürer,Renaissance\n"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="save the table as CSV in UTF-8"):
        join_classes(["Dürer"], str(path))
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(text, encoding=encoding)
        assert join_classes(["Dürer"], str(path)) == ({"Dürer": {"genre": "Renaissance"}}, [])


@pytest.mark.parametrize("column", ["name", "class"])
def test_facts_need_a_listed_column(tmp_path: Path, column: str) -> None:
    """A table is read once its column of classes has one of the names in the message."""
    path = tmp_path / "facts.csv"
    path.write_text("who,genre\nDürer,Renaissance\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"expected one of .*\b{column}\b"):
        join_classes(["Dürer"], str(path))
    path.write_text(f"{column},genre\nDürer,Renaissance\n", encoding="utf-8")
    assert not join_classes(["Dürer"], str(path))[1]


@pytest.mark.parametrize("splits", [{"": 4}, {"train/": 5, "test/": 1}])
def test_spellings_of_small_classes_become_one(splits: dict[str, int], tmp_path: Path) -> None:
    """Two folders that differ by case alone are named where each is too small; with one name they are one class."""
    numbers = itertools.count()
    for split, images in splits.items():
        for name, count in (("CAT", images), ("cat", images), ("dog", 8), ("Fox", 8), ("fox", 8)):
            lay_out_images(tmp_path / split / name, [next(numbers) for _ in range(count)])
    config = DataConfig(source=[str(tmp_path)])
    with pytest.raises(UserError, match=r"a class; CAT and cat are two classes .*; give both one name") as caught:
        survey_without_storing(config)
    assert "fox" not in str(caught.value)
    for split in splits:
        for image in (tmp_path / split / "CAT").iterdir():
            image.rename(tmp_path / split / "cat" / image.name)
    assert survey_without_storing(config).classes == ["Fox", "cat", "dog", "fox"]


def lay_out_images(folder: Path, numbers: list[int]) -> None:
    """Write a picture for each number, which is its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"{number}.png").write_bytes(png(number))
