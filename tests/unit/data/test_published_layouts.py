"""Layouts in which well-known data sets are published: their classes are found, or the refusal says how they are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.config import DataConfig
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.data.ingest.scan import Survey, survey_without_storing
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out

IMAGES = 24
KINDS = ("mel", "nv", "bkl")


def survey(root: Path, **settings: object) -> Survey:
    return survey_without_storing(DataConfig.model_validate({"source": str(root), "image_size": 16, **settings}))


def write_rows(path: Path, header: str, rows: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]))


def lay_out_one_hot_splits(root: Path) -> Path:
    """As Roboflow exports classifications: a table in each split, with a column for each class."""
    paths = [f"{split}/{n}.jpg.rf.{n:08x}.png" for split in ("train", "valid", "test") for n in range(IMAGES)]
    lay_out(root, *paths)
    for split in ("train", "valid", "test"):
        names = [path.partition("/")[2] for path in paths if path.startswith(split)]
        rows = [f"{name}, {n % 2}, {1 - n % 2}" for n, name in enumerate(names)]
        write_rows(root / split / "_classes.csv", "filename, cat, dog", rows)
    return root


def lay_out_challenge(root: Path) -> Path:
    """As ISIC does: images in one folder, and beside it a table with a column for each class."""
    names = [f"ISIC_{number:07d}" for number in range(IMAGES)]
    lay_out(root / "ISIC_2019_Training_Input", *(f"{name}.png" for name in names))
    cells = [",".join(str(float(kind == n % 3)) for kind in range(3)) for n in range(IMAGES)]
    rows = [f"{name},{cell}" for name, cell in zip(names, cells, strict=True)]
    write_rows(root / "ISIC_2019_Training_GroundTruth.csv", "image,MEL,NV,BKL", rows)
    return root


def lay_out_competition(root: Path) -> Path:
    """As Kaggle does: images for training and for the test in one folder, of which only the first have labels."""
    names = [f"{kind}_{number}" for kind in ("Train", "Test") for number in range(IMAGES)]
    lay_out(root / "images", *(f"{name}.png" for name in names))
    cells = [f"{name},{n % 2},{1 - n % 2}" for n, name in enumerate(names[:IMAGES])]
    write_rows(root / "train.csv", "image_id,healthy,rust", cells)
    write_rows(root / "test.csv", "image_id", names[IMAGES:])
    return root


@pytest.mark.parametrize(
    ("fill", "classes", "settings"),
    [
        (lay_out_one_hot_splits, ["cat", "dog"], {}),
        (lay_out_challenge, ["BKL", "MEL", "NV"], {}),
        (lay_out_competition, ["healthy", "rust"], {"max_rejected": 0.5}),
    ],
)
def test_column_for_each_class_is_read(
    fill: Callable[[Path], Path], classes: list[str], settings: dict[str, object], tmp_path: Path
) -> None:
    """A table that lists the images, with a 1 in the column of its class, has the labels, and a remark says so."""
    surveyed = survey(fill(tmp_path), **settings)
    assert surveyed.classes == classes
    assert any(remark.startswith("labels are those of ") for remark in surveyed.remarks)
    assert any("are taken for classes: an image has a 1 in that of its class" in remark for remark in surveyed.remarks)


def test_several_ones_are_no_classes(tmp_path: Path) -> None:
    """Attributes, of which an image has several, are not taken for classes unasked."""
    lay_out(tmp_path / "img_align_celeba", *(f"{number:06d}.png" for number in range(IMAGES)))
    rows = [f"{number:06d}.png,{number % 2},{number % 3 % 2}" for number in range(IMAGES)]
    write_rows(tmp_path / "list_attr_celeba.csv", "image_id,young,male", rows)
    with pytest.raises(UserError, match=r"a single class .* list_attr_celeba.csv lists images, and has the columns"):
        survey(tmp_path)


@pytest.mark.parametrize("header", ["image,train,test", "image,is_train,is_test"])
def test_flags_of_splits_are_no_classes(header: str, tmp_path: Path) -> None:
    """Columns that mark the split of each image with a 1 are not taken for classes."""
    lay_out(tmp_path / "images", *(f"{number:03d}.png" for number in range(IMAGES)))
    write_rows(tmp_path / "t.csv", header, [f"{number:03d},{number % 2},{1 - number % 2}" for number in range(IMAGES)])
    with pytest.raises(UserError, match=r"t\.csv lists images, and has the columns"):
        survey(tmp_path)


def follow(root: Path, pattern: str) -> Survey:
    """Survey a folder with the settings that its refusal, of this pattern, advises."""
    with pytest.raises(UserError, match=pattern) as refusal:
        survey(root)
    advised = re.findall(r"data\.(label_from|columns): (\{[^}]*\})", str(refusal.value))
    return survey(root, **{key: parse_yaml(text, "the advice") for key, text in advised})


def test_parts_with_a_prefix_are_no_classes(tmp_path: Path) -> None:
    """As HAM10000 has them: two folders that only divide the images; the column of the diagnoses is proposed."""
    names = [f"ISIC_{number:07d}" for number in range(IMAGES)]
    lay_out(tmp_path, *(f"HAM10000_images_part_{n % 2 + 1}/{name}.png" for n, name in enumerate(names)))
    rows = [f"HAM_{n:07d},{name},{KINDS[n // 2 % 3]},histo,{n}.0" for n, name in enumerate(names)]
    write_rows(tmp_path / "HAM10000_metadata.csv", "lesion_id,image_id,dx,dx_type,age", rows)
    followed = follow(
        tmp_path, r"folders such as HAM10000_images_part_1, which are named like numbered parts of one set"
    )
    assert followed.classes == sorted(KINDS)


def test_folders_of_hashes_are_no_classes(tmp_path: Path) -> None:
    """As landmarks have them: folders that are called as the images in them begin."""
    names = [f"{number * 2654435761 % 16**8:08x}" for number in range(IMAGES)]
    lay_out(tmp_path, *(f"train/{name[0]}/{name[1]}/{name[2]}/{name}.png" for name in names))
    write_rows(tmp_path / "train.csv", "id,landmark_id", [f"{name},{n % 2}" for n, name in enumerate(names)])
    followed = follow(tmp_path, r"folders such as train/\w/\w/\w, which are named as the images in them begin")
    assert followed.classes == ["0", "1"]


def test_unusual_column_is_proposed(tmp_path: Path) -> None:
    """Images beside a table whose columns have no usual names: the likeliest one is proposed for the labels."""
    lay_out(tmp_path / "train_images", *(f"{number:012x}.png" for number in range(IMAGES)))
    rows = [f"{number:012x},p{number},{KINDS[number % 3]}" for number in range(IMAGES)]
    write_rows(tmp_path / "train.csv", "id_code,patient,diagnosis", rows)
    assert follow(tmp_path, r"name the column of the labels, for instance with").classes == sorted(KINDS)


def write_coco(path: Path, labels: dict[str, str]) -> None:
    images = [{"id": n, "file_name": name} for n, name in enumerate(labels)]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))


def write_list(path: Path, labels: dict[str, str]) -> None:
    path.write_text("\n".join(f"{name} {label}" for name, label in labels.items()))


def write_binary(path: Path, labels: dict[str, str]) -> None:
    path.write_bytes(b"PK\3\4" + bytes(64))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("annotations/instances.json", write_coco),
        ("labels.txt", write_list),
        ("labels.xlsx", write_binary),
        ("imagelabels.mat", write_binary),
    ],
)
def test_file_that_may_have_labels_is_named(
    name: str, write: Callable[[Path, dict[str, str]], None], tmp_path: Path
) -> None:
    """Where nothing names classes, the file that may is named; saved as advised, it has the labels."""
    names = [f"{number:05d}.png" for number in range(IMAGES)]
    lay_out(tmp_path / "jpg", *names)
    (tmp_path / "README.txt").write_text("Pictures of pets.")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    labels = {image: ("cat", "dog")[n % 2] for n, image in enumerate(names)}
    write(tmp_path / name, labels)
    with pytest.raises(UserError, match=rf"; if {re.escape(name)} (has|lists) the classes, ") as refusal:
        survey(tmp_path)
    if saved := re.search(r"save them as (.*), a table with the columns image and label", str(refusal.value)):
        write_rows(tmp_path / saved[1], "image,label", [f"{image},{label}" for image, label in labels.items()])
        (tmp_path / name).unlink()
    (advised,) = re.findall(r"data\.label_from: (\{[^}]*\})", str(refusal.value))
    assert survey(tmp_path, label_from=parse_yaml(advised, "the advice")).classes == ["cat", "dog"]


def test_texts_beside_images_are_named(tmp_path: Path) -> None:
    """As for detection, with a text for each image: the refusal says to write the classes into a table."""
    names = [f"{split}{number}" for split in ("train", "val") for number in range(IMAGES)]
    lay_out(tmp_path, *(f"images/{name.rstrip('0123456789')}/{name}.png" for name in names))
    for name in names:
        place = tmp_path / "labels" / name.rstrip("0123456789") / f"{name}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("0 0.5 0.5 0.2 0.2")
    with pytest.raises(
        UserError, match=r"files such as labels/train/train0\.txt have the classes, write them"
    ) as refusal:
        survey(tmp_path)
    assert "begin with their classes" not in str(refusal.value), "train and val are none"
    table = tmp_path.with_name("labels.csv")
    write_rows(table, "image,label", [f"{name},{n % 2}" for n, name in enumerate(names)])
    assert survey(tmp_path, label_from={"csv": str(table)}).classes == ["0", "1"]


def test_annotations_in_mirrored_folders_are_passed_over(tmp_path: Path) -> None:
    """As Stanford Dogs has them: files without a suffix, in the folders of the classes, below another name."""
    names = [f"{breed}/{breed[:3]}_{number}" for breed in ("n01-Chihuahua", "n02-Spaniel") for number in range(IMAGES)]
    lay_out(tmp_path, *(f"images/Images/{name}.png" for name in names))
    for name in names:
        place = tmp_path / "annotations" / "Annotation" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("<annotation/>")
    surveyed = survey(tmp_path)
    assert surveyed.classes == ["n01-Chihuahua", "n02-Spaniel"]
    assert len(surveyed.rejected) == 0
    shutil.rmtree(tmp_path / "annotations")
    assert survey(tmp_path).usable["label"].to_pylist() == surveyed.usable["label"].to_pylist()


def test_pixels_in_columns_are_told(tmp_path: Path) -> None:
    """As Kaggle has MNIST: a table of pixels is named as such; saved as images, as advised, they are read."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (IMAGES, 8, 8), np.uint8)
    rows = [f"{n % 2}," + ",".join(map(str, image.ravel())) for n, image in enumerate(pixels)]
    write_rows(tmp_path / "train.csv", "label," + ",".join(f"pixel{n}" for n in range(64)), rows)
    with pytest.raises(UserError, match=r"train\.csv holds pixels in 64 columns, such as pixel0, .* as a PNG file"):
        survey(tmp_path, smallest=8)
    for n, image in enumerate(pixels):
        (tmp_path / str(n % 2)).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / str(n % 2) / f"{n}.png")
    assert survey(tmp_path, smallest=8).classes == ["0", "1"]
