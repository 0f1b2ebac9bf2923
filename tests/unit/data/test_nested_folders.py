"""Folders below class folders: which of them are parts of the class, and which are classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganaug_ray.config import ColumnsConfig, LabelFrom
from ganaug_ray.data.sources.folder_labels import FolderLabels
from ganaug_ray.data.sources.folder_tree import FolderTree
from ganaug_ray.data.sources.labels import FileLabels
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out, read, read_labels, zip_names


@pytest.mark.parametrize("parts", [("images", "crops"), ("images", "faces"), ("img", "thumbs", "extra")])
@pytest.mark.parametrize("front", ["", "pets/", "train/"])
def test_parts_of_classes_are_no_classes(parts: tuple[str, ...], front: str) -> None:
    """Folders of kinds of images below each class, one of which is called images, are parts of the class."""
    paths = [f"{front}{name}/{part}/1.png" for name in ("cat", "dog") for part in parts]
    labels = FolderLabels(paths)
    assert {path: labels.find_label(path).name for path in paths} == {
        path: "cat" if "cat/" in path else "dog" for path in paths
    }


def test_masks_beside_crops_are_sidecars() -> None:
    """Masks beside images and crops of a class are no images of it."""
    paths = [f"{name}/{part}/1.png" for name in ("cat", "dog") for part in ("images", "crops", "masks")]
    objection = FolderLabels(paths).find_label("cat/masks/1.png").objection
    assert objection is not None
    assert objection[0] == "sidecar file"


@pytest.mark.parametrize("front", ["", "train/"])
def test_subfolder_of_class_is_part_of_it(front: str) -> None:
    """A folder in one of several class folders that hold images is a part of that class, and a remark says so."""
    paths = [f"{front}{path}" for path in ("cat/1.png", "cat/2.png", "cat/more/3.png", "dog/4.png")]
    labels = FolderLabels(paths)
    assert [labels.find_label(path).name for path in paths] == ["cat", "cat", "cat", "dog"]
    (remark,) = labels.describe_nesting()
    assert remark.startswith(
        f"1 folder lies in a class folder and is taken for a part of that class, such as {front}cat"
    )
    assert "data.label_from" in remark


def test_previews_make_no_class() -> None:
    """Few images beside folders with many are no sign that the outer folders are classes, and of no class."""
    paths = [f"{kind}/{n}/{i}.png" for kind in ("animals", "plants") for n in ("a", "b") for i in range(20)]
    previews = ["animals/preview.png", "plants/preview.png"]
    labels = FolderLabels([*paths, *previews])
    assert {labels.find_label(path).name for path in paths} == {"a", "b"}
    for preview in previews:
        objection = labels.find_label(preview).objection
        assert objection is not None
        assert "beside the folders of classes, and in none of them" in objection[1]


def test_classes_in_outer_folders_are_remarked() -> None:
    """Class folders that lie in several outer folders are named, since the outer ones may be meant."""
    (remark,) = FolderLabels(["cat/a/1.png", "cat/b/2.png", "dog/c/3.png"]).describe_nesting()
    assert remark.startswith("a and c lie in several folders, such as cat and dog, and are taken for classes")
    assert FolderLabels(["pets/cat/1.png", "pets/dog/3.png"]).describe_nesting() == []


@pytest.mark.parametrize(
    "form",
    ["{}/{}/images/1.png", "{}/{}/raw/1.png", "train/{}/{}/frames/1.png", "{}/images/{}/1.png", "{}/train/{}/1.png"],
)
def test_classes_in_outer_folders_are_remarked_at_any_depth(form: str) -> None:
    """So they are where folders such as images lie below them, or between them and the outer ones."""
    paths = [form.format(*pair) for pair in (("cat", "p0"), ("cat", "p1"), ("dog", "p2"), ("dog", "p3"))]
    labels = FolderLabels(paths)
    assert [labels.find_label(path).name for path in paths] == ["p0", "p1", "p2", "p3"]
    (remark,) = labels.describe_nesting()
    assert remark.startswith("p0 and p2 lie in several folders, such as cat and dog, and are taken for classes")


@pytest.mark.parametrize("form", ["pets/{}/images/1.png", "images/{}/1.png", "{}/images/1.png", "{}/train/1.png"])
def test_classes_in_one_folder_need_no_remark(form: str) -> None:
    """Class folders side by side are said nothing of, whatever lies above or below them."""
    assert FolderLabels([form.format(name) for name in ("cat", "dog", "cow")]).describe_nesting() == []


def test_class_called_data_beside_others() -> None:
    """A class with the name of a folder of images stays one beside other classes."""
    labels = FolderLabels(["pets/data/1.png", "pets/cat/2.png"])
    assert labels.find_label("pets/data/1.png").name == "data"


@pytest.mark.parametrize("front", ["", "pets/", "train/"])
@pytest.mark.parametrize("other", ["dog/1.png", "dog/photos/1.png", "dog/images/1.png", "dog/train/1.png"])
def test_one_class_divided_beside_whole_ones(other: str, front: str) -> None:
    """Folders in one class folder alone are parts of it if one is called images and the classes beside are whole."""
    paths = [f"{front}{path}" for path in ("cat/images/1.png", "cat/faces/2.png", other)]
    labels = FileLabels(LabelFrom(), ColumnsConfig(), paths)
    assert [labels.find_label(path).name for path in paths] == ["cat", "cat", "dog"]
    assert f"such as {front}cat/faces" in labels.remarks[0]


@pytest.mark.parametrize(
    ("paths", "inner", "outer"),
    [
        (["cat/faces/1.png", "cat/bodies/2.png", "dog/3.png"], "cat/bodies", "dog"),
        (["cat/images/1.png", "cat/faces/2.png", "dog/portraits/3.png"], "dog/portraits", "cat"),
        (["cat/2020/1.png", "dog/3.png"], "cat/2020", "dog"),
        (["train/pets/cat/1.png", "train/pets/dog/1.png", "train/bird/1.png"], "train/pets/cat", "train/bird"),
    ],
)
def test_classes_on_two_levels_are_refused(paths: list[str], inner: str, outer: str, tmp_path: Path) -> None:
    """Where some classes may lie a level deeper than others, both folders are named, in folders and archives."""
    sentence = rf"in: found images in {inner} and in {outer}, so either"
    with pytest.raises(UserError, match=sentence):
        read(lay_out(tmp_path / "in", *paths))
    with pytest.raises(UserError, match=sentence.replace("in:", r"in\.zip:")):
        read(zip_names(tmp_path / "in.zip", *paths))


def test_advice_for_two_levels_works(tmp_path: Path) -> None:
    """Folders that are moved side by side, and a table, are both read."""
    root = lay_out(tmp_path / "in", "cat/faces/1.png", "cat/bodies/2.png", "dog/3.png")
    (tmp_path / "t.csv").write_text("image,label\ncat/faces/1.png,cat\ncat/bodies/2.png,cat\ndog/3.png,dog\n")
    labels = read_labels(root, LabelFrom(csv=str(tmp_path / "t.csv")))
    assert list(labels.values()) == ["cat", "cat", "dog"]
    (root / "cat").rename(tmp_path / "cat")
    for name in ("faces", "bodies"):
        (tmp_path / "cat" / name).rename(root / name)
    assert sorted(map(str, read_labels(root).values())) == ["bodies", "dog", "faces"]


def test_images_folder_taken_for_class_is_remarked() -> None:
    """A folder called images that is a class, as another beside it is one, is told."""
    (remark,) = FolderLabels(["cat/images/1.png", "cat/faces/2.png"]).describe_nesting()
    assert remark.startswith("images in cat is taken for a class, as a folder beside it is one; if cat is the class")
    assert FolderLabels(["photos/1.png", "drawings/2.png"]).describe_nesting() == []


@pytest.mark.parametrize(
    "path", ["src/__pycache__/x.pyc", "assets/css/s.css", "models/v1/w.onnx", "old/a/cats.zip", "docs/fig/plot.svg"]
)
def test_other_files_are_on_no_level(path: str) -> None:
    """A file that is called as no image is no sign that classes lie on another level; one without suffix may be."""
    assert FolderLabels(["cat/1.png", "dog/2.png", path]).find_other_level() is None
    assert FolderLabels(["cat/1.png", "dog/2.png", path.rpartition(".")[0]]).find_other_level() is not None


def test_lists_beside_class_folders_divide_no_class() -> None:
    """A list in a folder of classes makes no class of that folder."""
    paths = ["birds/robin/1.png", "birds/crow/2.png", "mammals/cat/3.png", "mammals/dog/4.png"]
    labels = FolderLabels([*paths, "birds/list.lst", "mammals/list.lst"])
    assert [labels.find_label(path).name for path in paths] == ["robin", "crow", "cat", "dog"]


def test_classes_of_odd_file_names_are_found() -> None:
    """Where no file is called as an image, the folders of all files count."""
    paths = ["cat/images/1.dat", "cat/crops/1.dat", "dog/images/1.dat", "dog/crops/2.dat"]
    labels = FolderLabels(paths)
    assert [labels.find_label(path).name for path in paths] == ["cat", "cat", "dog", "dog"]


def test_many_classes_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders beside one are not listed anew for each of thousands of divided classes."""
    listed = []
    monkeypatch.setattr(FolderTree, "list_siblings", lambda self, folder: listed.append(folder) or {"other"})
    paths = [f"c{number}/{name}.png" for number in range(50) for name in ("1", "more/2", "images/3")]
    labels = FolderLabels(paths)
    assert {labels.find_label(path).name for path in paths} == {f"c{number}" for number in range(50)}
    assert labels.find_other_level() is None
    assert not listed
