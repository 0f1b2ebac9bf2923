"""Dark, bright, pale and blurred images are counted and shown, never rejected, and only where they are exceptions."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw, ImageFilter
from sklearn.datasets import load_digits

from ganaug_ray.config import DataConfig
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images
from ganaug_ray.data.ingest import visual_issues
from ganaug_ray.data.prepare import prepare_dataset
from tests.helpers.card import Dataset, Page
from tests.helpers.dirty import PHOTOGRAPHS, PUBLIC

NO_ISSUES = {"dark": 0, "bright": 0, "low contrast": 0, "blurred": 0}
FASHION = PUBLIC / "fashion-mnist" / "t10k-images-idx3-ubyte.gz"


def scene(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """Return a picture with edges and all levels of grey: rectangles of random colours."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        left, top = rng.integers(0, (width, height)).tolist()
        right_by, down_by = rng.integers(4, 20, 2).tolist()
        draw.rectangle((left, top, left + right_by, top + down_by), tuple(rng.integers(0, 256, 3).tolist()))
    return image


def squeeze(image: Image.Image, low: int, high: int) -> Image.Image:
    """Bring the levels of an image between two."""
    return image.point(lambda level: low + level * (high - low) // 255)


def count_issues(pictures: Iterable[Image.Image]) -> dict[str, int]:
    rows = [row._asdict() for row in visual_issues.measure_images([picture.convert("L") for picture in pictures])]
    return {name: len(found) for name, found in visual_issues.find_issues(pa.Table.from_pylist(rows)).items()}


PLANTED = {
    "night.png": ("dark", lambda image: squeeze(image, 0, 70)),
    "black.png": ("dark; low contrast", lambda image: squeeze(image, 0, 30)),
    "snow.png": ("bright", lambda image: squeeze(image, 185, 255)),
    "fog.png": ("low contrast", lambda image: squeeze(image, 110, 140)),
    "shaken.png": ("blurred", lambda image: image.filter(ImageFilter.GaussianBlur(3))),
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twenty scenes a class, and five that are dark, bright, pale or blurred."""
    root = tmp_path / "pictures"
    for number, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for index in range(20):
            scene(100 * number + index).save(root / name / f"{index}.png")
    for seed, (path, (_, spoil)) in enumerate(PLANTED.items(), 1000):
        spoil(scene(seed)).save(root / "cat" / path)
    return root


def prepare(root: Path, out: Path, **settings: object) -> tuple[DatasetRecord, dict[str, dict]]:
    """Prepare images at 64 pixels; return the marker, and the rows of split.parquet by file name."""
    folder = Folder.from_uri(out)
    record = prepare_dataset(DataConfig.model_validate({"source": [str(root)], "image_size": 64} | settings), folder)
    return record, {row["path"].rpartition("/")[2]: row for row in folder.read_table("split.parquet").to_pylist()}


def test_outstanding_images_are_kept_and_marked(pictures: Path, tmp_path: Path) -> None:
    """They are marked and counted, the others are not, and none is rejected."""
    record, rows = prepare(pictures, tmp_path / "out")
    assert {name: row["visual_issues"] for name, row in rows.items() if row["visual_issues"]} == {
        name: issues for name, (issues, _) in PLANTED.items()
    }
    assert record.visual_issues == {"dark": 2, "bright": 1, "low contrast": 2, "blurred": 1}
    assert record.rejected == {}
    assert len([row for row in rows.values() if row["split"] in ("train", "val", "test")]) == len(rows)
    for row in rows.values():
        assert 0 <= row["black_point"] <= row["brightness"] <= row["white_point"] <= 1
        assert row["contrast"] == pytest.approx(row["white_point"] - row["black_point"], abs=2e-4)
    assert rows["night.png"]["white_point"] < 0.3 < 0.7 < rows["snow.png"]["black_point"]
    assert rows["shaken.png"]["sharpness"] < 0.5 < 0.8 < rows["fog.png"]["sharpness"]


def test_card_shows_the_most_extreme_first(pictures: Path, tmp_path: Path) -> None:
    """The card shows a picture and the path of each, the most extreme first, and says that none was left out."""
    prepare(pictures, tmp_path / "out")
    page = Page((tmp_path / "out" / "card.html").read_text(encoding="utf-8"))
    text = page.text("visual-issues")
    assert "2 × dark, 1 × bright, 2 × low contrast, 1 × blurred. None was left out for that reason." in text
    assert text.index("cat/black.png") < text.index("cat/night.png") < text.index("cat/snow.png")
    shown = page.pictures["visual-issues"]
    assert [name for name, _ in shown] == ["dark", "dark", "bright", "low contrast", "low contrast", "blurred"]
    assert np.asarray(shown[0][1].convert("L")).max() < 40


def test_clean_images_need_one_sentence(pictures: Path, tmp_path: Path) -> None:
    """Where no image stands out, the card says so."""
    for name in PLANTED:
        (pictures / "cat" / name).unlink()
    record, _ = prepare(pictures, tmp_path / "out")
    assert record.visual_issues == NO_ISSUES
    page = Page((tmp_path / "out" / "card.html").read_text(encoding="utf-8"))
    assert page.text("visual-issues").endswith("No image is very dark, very bright, low in contrast or blurred.")


def strokes(seed: int, paper: int, ink: int) -> Image.Image:
    """Return a drawing: a few thin lines."""
    ends = np.random.default_rng(seed).integers(4, 60, (4, 4)).tolist()
    image = Image.new("L", (64, 64), paper)
    for line in ends:
        ImageDraw.Draw(image).line(line, ink)
    return image


@pytest.mark.parametrize(
    "collection",
    [
        [strokes(seed, 255, 0) for seed in range(50)],
        [strokes(seed, 0, 255) for seed in range(50)],
        [strokes(seed, 250, 200) for seed in range(50)],
        [squeeze(scene(seed), 0, 60) for seed in range(50)],
        [squeeze(scene(seed), 195, 255) for seed in range(50)],
        [scene(seed, 16, 16).resize((64, 64), Image.Resampling.BICUBIC) for seed in range(50)],
    ],
    ids=["ink", "chalk", "pencil", "night", "snow", "enlarged"],
)
def test_traits_of_all_are_no_issue(collection: list[Image.Image]) -> None:
    """Images of a data set that is dark, pale or soft as a whole do not stand out."""
    assert count_issues(collection) == NO_ISSUES


@pytest.mark.parametrize("size", [32, 64])
def test_digits_do_not_stand_out(size: int) -> None:
    """Digits of 8 × 8 pixels, enlarged, are neither dark nor blurred."""
    pixels = (load_digits().images * 255 / 16).astype(np.uint8)
    assert count_issues(images.resize_to_square(Image.fromarray(digit), size, "crop") for digit in pixels) == NO_ISSUES


@pytest.mark.skipif(not FASHION.exists(), reason="Fashion-MNIST is not on this machine")
def test_few_clothes_on_black_stand_out() -> None:
    """Of 10,000 clothes on black, only a few that can hardly be seen stand out."""
    pixels = np.frombuffer(gzip.decompress(FASHION.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)
    counts = count_issues(images.resize_to_square(Image.fromarray(item), 32, "crop") for item in pixels)
    assert sum(counts.values()) < 20


@pytest.mark.skipif(not PHOTOGRAPHS.exists(), reason="the cat and dog photographs are not on this machine")
def test_only_blurred_photographs_stand_out() -> None:
    """Of photographs, those that are blurred by two pixels stand out, and at most one in a hundred others."""
    with zipfile.ZipFile(PHOTOGRAPHS) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::8]
        stored = [images.resize_to_square(images.decode(archive.read(name)).image, 64, "crop") for name in names]
    assert sum(count_issues(stored).values()) <= len(stored) / 100
    stored[:10] = [image.filter(ImageFilter.GaussianBlur(2)) for image in stored[:10]]
    assert count_issues(stored)["blurred"] >= 10


def test_sharpness_is_not_contrast() -> None:
    """Sharpness falls with every blur, and hardly with contrast."""
    image = scene(0).convert("L")
    blurred = [image.filter(ImageFilter.GaussianBlur(radius)) for radius in (0, 0.7, 1.5, 3, 6, 12)]
    sharpness = [value or 0.0 for value in visual_issues.measure_sharpness([np.asarray(one) for one in blurred])]
    assert sharpness == sorted(sharpness, reverse=True)
    assert sharpness[1] > 1.4 * sharpness[2] > 1.4 * sharpness[3]
    (faint,) = visual_issues.measure_sharpness([np.asarray(squeeze(image, 100, 140))])
    assert faint == pytest.approx(sharpness[0], rel=0.1)


@pytest.mark.parametrize("top", [6, 7])
def test_small_images_are_measured_by_row(top: int) -> None:
    """A bright box in a small image is as sharp wherever its edges lie, and as sharp on its side."""
    luma = np.zeros((32, 32), np.uint8)
    luma[top : top + 19, 2:-2] = 240
    luma[[top, top + 18]] //= 2  # a soft edge, as of a picture that was enlarged
    upright, on_its_side = visual_issues.measure_sharpness([luma, np.ascontiguousarray(luma.T)])
    assert upright == on_its_side
    assert upright is not None
    assert upright > 0.9


@pytest.mark.parametrize("shape", [(1, 64), (2, 64), (64, 1), (64, 64)])
def test_flat_images_have_no_sharpness(shape: tuple[int, int]) -> None:
    """Where nothing can be told of edges, sharpness is unknown."""
    assert visual_issues.measure_sharpness([np.full(shape, 9, np.uint8)]) == [None]


def test_measures_do_not_depend_on_company() -> None:
    """Images of several sizes are measured together as each alone."""
    lumas = [scene(seed, 40 + 8 * (seed // 20), 64).convert("L") for seed in range(60)]
    together = visual_issues.measure_images(lumas)
    assert together == [visual_issues.measure_images([luma])[0] for luma in lumas]
    assert together[0].brightness == pytest.approx(np.asarray(lumas[0]).mean() / 255, abs=1e-4)
    assert together[0].white_point == pytest.approx(np.percentile(lumas[0], 99) / 255, abs=0.01)


def test_padding_is_not_measured(pictures: Path, tmp_path: Path) -> None:
    """What pads an image to a square makes it neither darker nor richer in contrast."""
    squeeze(scene(7, 64, 32), 185, 255).save(pictures / "dog" / "wide.png")
    _, rows = prepare(pictures, tmp_path / "out", resize="pad")
    assert rows["wide.png"]["visual_issues"] == "bright"


def test_wide_samples_are_measured_as_bytes(tmp_path: Path) -> None:
    """An image of 16 bits has the measures that it has in 8 bits, and none stands out for its depth."""
    for folder, factor in (("narrow", 1), ("wide", 257)):
        for index in range(24):
            levels = np.asarray(scene(index).convert("L")).astype(np.uint8 if factor == 1 else np.uint16) * factor
            path = tmp_path / folder / "ab"[index % 2] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(levels).save(path)
    narrow_record, narrow = prepare(tmp_path / "narrow", tmp_path / "out-8")
    wide_record, wide = prepare(tmp_path / "wide", tmp_path / "out-16")
    assert narrow_record.visual_issues == wide_record.visual_issues == NO_ISSUES
    for name, row in narrow.items():
        for measure in visual_issues.VisualMeasures._fields:
            assert wide[name][measure] == pytest.approx(row[measure], abs=0.02), (name, measure)


def test_datasets_without_measures_are_read(pictures: Path, tmp_path: Path) -> None:
    """A data set from before there were measures has a card without them, and can be extended."""
    page = Dataset(tmp_path / "old", {"cat": (30, 4, 6, 0), "dog": (25, 3, 7, 0)}).card()
    assert page.text("visual-issues") == ""
    _, rows = prepare(pictures, tmp_path / "before")
    before = Folder.from_uri(tmp_path / "before")
    new_columns = [*visual_issues.VisualMeasures._fields, "visual_issues"]
    before.write_table("split.parquet", before.read_table("split.parquet").drop_columns(new_columns))
    record = before.read_json("dataset.json")
    del record["visual_issues"]
    (tmp_path / "before" / "dataset.json").write_text(json.dumps(record))
    assert DatasetRecord.read(before).visual_issues is None
    _, extended = prepare(pictures, tmp_path / "after", extends=str(tmp_path / "before"))
    assert {name: row["split"] for name, row in extended.items()} == {name: row["split"] for name, row in rows.items()}
