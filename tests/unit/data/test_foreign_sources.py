"""Tables and folders as other programs leave them: every label is right, or the refusal names the cause."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganaug_ray.config import DataConfig, LabelFrom
from ganaug_ray.data.ingest.scan import Survey, survey_without_storing
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out, read_labels

NAMES = [f"{number}.png" for number in range(24)]
TABLE = "image,label\n" + "".join(f"{name},{'cat' if n % 2 else 'dog'}\n" for n, name in enumerate(NAMES))


def survey(source: Path, **settings: object) -> Survey:
    return survey_without_storing(DataConfig(source=[str(source)], image_size=16, **settings))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_needs_no_mark(encoding: str, tmp_path: Path) -> None:
    """A table in UTF-16 whose byte order mark is missing is read as what it is."""
    lay_out(tmp_path, *NAMES)
    (tmp_path / "labels.csv").write_bytes(TABLE.encode(encoding))
    assert read_labels(tmp_path / "labels.csv")["1.png"] == "cat"


def test_columns_may_say_yes_and_no(tmp_path: Path) -> None:
    """A column for each class may hold words in the place of ones and zeros."""
    lay_out(tmp_path, *NAMES)
    rows = "".join(f"{name},{'Yes,no' if n % 2 else 'No,yes'}\n" for n, name in enumerate(NAMES))
    (tmp_path / "labels.csv").write_text(f"image,cat,dog\n{rows}")
    assert read_labels(tmp_path / "labels.csv")["1.png"] == "cat"


def test_scores_in_columns_of_classes_are_refused(tmp_path: Path) -> None:
    """What is neither one nor zero is shown with its own column, and the advice works."""
    lay_out(tmp_path, *NAMES)
    rows = "".join(f"{name},{n},{n % 2},{1 - n % 2}\n" for n, name in enumerate(NAMES, 5))
    (tmp_path / "labels.csv").write_text(f"image,age,cat,dog\n{rows}")
    with pytest.raises(
        UserError, match="line 2: found '5' in age, expected a 1 for the class and a 0 for all others; "
    ):
        read_labels(tmp_path / "labels.csv")
    assert read_labels(tmp_path / "labels.csv", label=["cat", "dog"])["0.png"] == "cat"


def test_many_columns_are_not_all_listed(tmp_path: Path) -> None:
    """A table with an image in each column is refused in a sentence of a usual length, with the cause."""
    (tmp_path / "wide.csv").write_text(",".join(f"{number}.png" for number in range(5000)) + "\n")
    with pytest.raises(UserError, match=r"19\.png and 4980 more; 0\.png seems to be an image") as refusal:
        read_labels(tmp_path / "wide.csv")
    assert len(str(refusal.value)) < 600


def test_several_rows_of_an_image_are_one(tmp_path: Path) -> None:
    """A table with a row for each object in an image gives each image once; rows that contradict are a conflict."""
    lay_out(tmp_path, *NAMES)
    boxes = "".join(f"./{name},{'cat' if n % 2 else 'dog'}\n" for n, name in enumerate(NAMES))
    (tmp_path / "boxes.csv").write_text(f"{TABLE}{boxes}2.png,cat\n")
    found = survey(tmp_path / "boxes.csv")
    assert len(found.usable) == 23
    assert found.count_rejects() == {"label conflict": 1}
    assert found.rejected["detail"].to_pylist() == ["boxes.csv lines 4 and 28 and 50: labelled cat, dog"]
    assert "boxes.csv: 24 images have several rows, such as 0.png in lines 2 and 26, and each is read once" in (
        found.remarks
    )


def test_addresses_with_queries_find_files(tmp_path: Path) -> None:
    """The name of a file in an address ends before its query."""
    lay_out(tmp_path / "pics", *NAMES)
    (tmp_path / "urls.csv").write_text(TABLE.replace(".png", ".png?size=large#top").replace("\n", "\nhttps://host/a/"))
    labels = read_labels(tmp_path / "pics", LabelFrom(csv=str(tmp_path / "urls.csv")))
    assert labels["1.png"] == "cat"
    assert "<no class>" not in labels.values()


@pytest.mark.parametrize("folder", ["@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"])
def test_folders_of_systems_are_no_classes(folder: str, tmp_path: Path) -> None:
    """What filers and systems keep beside images, such as thumbnails and deleted files, is counted and passed over."""
    classes = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(12)]
    found = survey(lay_out(tmp_path, *classes, f"{folder}/1.png/thumb.png", f"cat/{folder}/2.png/thumb.png"))
    assert found.classes == ["cat", "dog"]
    assert len(found.usable) == 24
    assert found.passed_over == {"hidden file of a system or program": 2}


def test_splits_in_other_languages_are_told(tmp_path: Path) -> None:
    """Folders around the classes that may be splits are named, with the names that splits must have."""
    paths = [f"{split}/{name}/{n}.png" for split in ("entrenamiento", "prueba") for name in "ab" for n in range(6)]
    remarks = survey(lay_out(tmp_path, *paths)).remarks
    assert any("such as entrenamiento and prueba" in remark for remark in remarks)
    assert any("if they are splits, name them train, val and test" in remark for remark in remarks)


def test_hidden_class_is_the_cause_of_a_single_one(tmp_path: Path) -> None:
    """Where one class is left and another folder is hidden, the refusal says so; the advice works."""
    source = lay_out(tmp_path, *(f"{name}/{n}.png" for name in (".cat", "dog") for n in range(12)))
    with pytest.raises(UserError, match=r"a single class 'dog' was found.*; 1 × hidden file or folder, passed over"):
        survey(source)
    (source / ".cat").rename(source / "cat")
    assert survey(source).classes == ["cat", "dog"]


def test_strange_metadata_table_is_the_cause(tmp_path: Path) -> None:
    """A metadata.csv of other images takes all labels: the refusal says how to have those of folders."""
    source = lay_out(tmp_path, *(f"{name}/{n}.png" for name in ("cat", "dog") for n in range(12)))
    (source / "metadata.csv").write_text("file_name,label\nother.png,a\n")
    with pytest.raises(UserError, match=r"as labels, move metadata\.csv out of the folder"):
        survey(source)
    (source / "metadata.csv").unlink()
    assert survey(source).classes == ["cat", "dog"]


def test_masks_of_another_folder_are_told(tmp_path: Path) -> None:
    """A folder masks beside classes is one, and a remark says that its files are called as images of others."""
    names = [f"{n}.png" for n in range(12)]
    paths = [f"{folder}/{name}" for folder in ("cats", "masks") for name in names]
    found = survey(lay_out(tmp_path, *paths, *(f"dogs/dog{n}.png" for n in range(12))))
    assert found.classes == ["cats", "dogs", "masks"]
    assert any(remark.startswith("masks is taken for a class, though all its files") for remark in found.remarks)
