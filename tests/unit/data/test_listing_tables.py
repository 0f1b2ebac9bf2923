"""Tables that list images whose folders name no class: they have the labels, or a refusal asks which."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from ganaug_ray.config import DataConfig
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.data.ingest.scan import Survey, survey_without_storing
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out, png, zip_names

PARTS = [f"part_{number % 2 + 1}/{number}.png" for number in range(32)]
CLASSES = {path: ("tabby", "rex")[number // 2 % 2] for number, path in enumerate(PARTS)}


def survey(source: Path, **settings: object) -> Survey:
    return survey_without_storing(DataConfig.model_validate({"source": str(source), **settings}))


def write_table(path: Path, header: str = "image,label", **extra: str) -> None:
    path.parent.mkdir(exist_ok=True)
    more = "".join(f",{cell}" for cell in extra.values())
    path.write_text("\n".join([header, *(f"{image},{label}{more}" for image, label in CLASSES.items())]))


def assert_labels_are_of_table(found: Survey) -> None:
    assert {row["path"]: row["label"] for row in found.usable.to_pylist()} == CLASSES
    assert len(found.rejected) == 0


@pytest.mark.parametrize("name", ["labels.csv", "annotations/labels.csv", "labels.jsonl"])
def test_table_has_classes_of_parts(name: str, tmp_path: Path) -> None:
    """Parts of a set are no classes where a table lists their images; once it has moved out, they are."""
    lay_out(tmp_path / "in", *PARTS)
    write_table(tmp_path / "in" / name)
    if name.endswith(".jsonl"):
        rows = [json.dumps({"image": image, "label": label}) for image, label in CLASSES.items()]
        (tmp_path / "in" / name).write_text("\n".join(rows))
    found = survey(tmp_path / "in")
    assert_labels_are_of_table(found)
    (remark,) = found.remarks
    assert remark.startswith(f"labels are those of {name}, since folders such as part_1 are named like numbered parts")
    assert "to have the folders' names as labels, move it out of the folder" in remark
    (tmp_path / "in" / name).rename(tmp_path / "moved")
    assert survey(tmp_path / "in").classes == ["part_1", "part_2"]


@pytest.mark.parametrize(
    ("header", "extra"),
    [("image,what", {}), ("bild,art", {}), ("image,what,where,age", {"where": "here", "age": "7.5"})],
)
def test_unusual_columns_of_parts_are_asked_for(header: str, extra: dict[str, str], tmp_path: Path) -> None:
    """Where no column has a usual name, parts are not taken for classes: the advised setting gives the labels."""
    lay_out(tmp_path, *PARTS)
    write_table(tmp_path / "list.csv", header, **extra)
    with pytest.raises(UserError, match=f"list.csv lists the images .* has the columns {header.replace(',', ', ')};"):
        survey(tmp_path)
    with pytest.raises(UserError, match=r"data\.columns: \{") as refusal:
        survey(tmp_path)
    advised = re.search(r"data\.columns: (\{.*\}), or", str(refusal.value))
    assert advised
    assert_labels_are_of_table(survey(tmp_path, columns=parse_yaml(advised[1], "the advice")))


def test_one_of_two_tables_of_parts_is_named(tmp_path: Path) -> None:
    """Of two tables that list the images of parts the one is read that is named as the refusal says."""
    root = lay_out(tmp_path / "in", *PARTS)
    write_table(root / "a.csv")
    write_table(root / "b.csv")
    with pytest.raises(UserError, match=r"a\.csv and b\.csv list images .* data\.label_from: \{csv: \.\.\.\}, or move"):
        survey(root)
    assert_labels_are_of_table(survey(root, label_from={"csv": str(root / "a.csv")}))
    for name in ("a.csv", "b.csv"):
        (root / name).rename(tmp_path / name)
    assert survey(root).classes == ["part_1", "part_2"]


@pytest.mark.parametrize("form", ["batch{}", "Chunk{}", "shard-0{}-of-05", "images_00{}", "set_{}"])
def test_numbered_parts_are_remarked(form: str, tmp_path: Path) -> None:
    """Classes that are called as parts of a set are so with a remark, whose advice gives the labels of a table."""
    paths = [f"{form.format(number % 2 + 1)}/{number}.png" for number in range(32)]
    root = lay_out(tmp_path / "in", *paths)
    found = survey(root)
    assert found.classes == sorted({path.partition("/")[0] for path in paths})
    (remark,) = found.remarks
    assert "they are named like numbered parts of one set" in remark
    assert "list the labels in a table (data.label_from: {csv: …})" in remark
    table = tmp_path / "labels.csv"
    table.write_text("image,label\n" + "\n".join(f"{path},{number // 2 % 2}" for number, path in enumerate(paths)))
    assert survey(root, label_from={"csv": str(table)}).classes == ["0", "1"]


@pytest.mark.parametrize("names", [("cat_1", "cat_2"), ("part_1", "cat"), ("1", "2")])
def test_other_numbers_are_classes(names: tuple[str, str], tmp_path: Path) -> None:
    """Numbered classes, and a part beside a class, are classes without a word on parts."""
    found = survey(lay_out(tmp_path, *(f"{name}/{number}.png" for name in names for number in range(16))))
    assert found.classes == sorted(names)
    assert not any("parts of one set" in remark for remark in found.remarks)


def write_splits(root: Path, *splits: str) -> None:
    for place, split in enumerate(splits):
        names = [f"{number}.png" for number in range(24)]
        for number, name in enumerate(names):
            (root / split / "images").mkdir(parents=True, exist_ok=True)
            (root / split / "images" / name).write_bytes(png(100 * place + number))
        rows = [f"{name},{('cat', 'dog')[number % 2]}" for number, name in enumerate(names)]
        (root / split / "labels.csv").write_text("\n".join(["image,label", *rows]))


def test_tables_in_split_folders_keep_splits(tmp_path: Path) -> None:
    """Each split's own table has the labels of its images, though names repeat, and the splits are kept."""
    write_splits(tmp_path, "train", "val", "test")
    found = survey(tmp_path)
    assert found.classes == ["cat", "dog"]
    assert {split: sum(counts.values()) for split, counts in found.count_images().items() if split != "unused"} == {
        "train": 24,
        "val": 24,
        "test": 24,
    }
    assert found.remarks == [
        "labels are those of 3 tables, such as test/labels.csv, since no folder names a class",
        "images stay in the splits they came in, train, val and test; data.split: {given: false} splits the images "
        "anew",
    ]


def test_splits_of_rows_tell_equal_names_apart(tmp_path: Path) -> None:
    """Where a name is there in each split, the one that a row means lies in the split of the row."""
    paths = [f"{split}/{number}.png" for split in ("train", "test") for number in range(20)]
    classes = {path: ("cat", "dog")[(place + place // 20) % 2] for place, path in enumerate(paths)}
    rows = [f"{path.partition('/')[2]},{label},{path.partition('/')[0]}" for path, label in classes.items()]
    lay_out(tmp_path, *paths)
    (tmp_path / "labels.csv").write_text("\n".join(["image,label,split", *rows]))
    found = survey(tmp_path)
    assert {row["path"]: row["label"] for row in found.usable.to_pylist()} == classes
    assert {row["path"].partition("/")[0] == row["came_in"] for row in found.usable.to_pylist()} == {True}
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *(row.rpartition(",")[0] for row in rows)]))
    with pytest.raises(UserError, match=r"40 × label conflict.*names 0\.png, which fits"):
        survey(tmp_path)


@pytest.mark.parametrize("name", ["labels.csv", "metadata.csv", "labels.jsonl"])
def test_pipe_is_no_table(name: str, tmp_path: Path) -> None:
    """A pipe that is called as a table is counted as no file, and nobody waits for what it holds."""
    lay_out(tmp_path, *(f"{label}/{number}.png" for label in ("cat", "dog") for number in range(16)))
    os.mkfifo(tmp_path / name)
    found = survey(tmp_path)
    assert (found.classes, len(found.usable), found.count_rejects()) == (["cat", "dog"], 32, {"not a file": 1})


def test_pipe_in_a_table_is_no_image(tmp_path: Path) -> None:
    """A row that names a pipe is rejected with its line, and nobody waits for what it holds."""
    lay_out(tmp_path, *PARTS)
    os.mkfifo(tmp_path / "pipe.png")
    write_table(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open("a") as table:
        table.write("\npipe.png,rex")
    found = survey(tmp_path / "labels.csv")
    assert len(found.usable) == 32
    assert found.rejected.select(["reason", "detail"]).to_pylist() == [
        {"reason": "not a file", "detail": "labels.csv line 34 names a pipe, a socket or a device"}
    ]


def test_form_for_answers_has_no_labels(tmp_path: Path) -> None:
    """A competition's form for answers is no table of labels: the test images are left out."""
    root = lay_out(tmp_path, *(f"train/{n}.png" for n in range(24)), *(f"test/t{n}.png" for n in range(30)))
    (root / "train.csv").write_text("id,label\n" + "\n".join(f"{n},{('cat', 'dog')[n % 2]}" for n in range(24)))
    (root / "sample_submission.csv").write_text("id,label\n" + "\n".join(f"t{n},cat" for n in range(30)))
    with pytest.raises(UserError, match="no image has a label that can be used"):
        survey(root)
    found = survey(root, label_from={"csv": str(root / "train.csv")})
    assert (found.classes, len(found.usable)) == (["cat", "dog"], 24)


def test_table_in_archive_is_told(tmp_path: Path) -> None:
    """Parts in an archive are classes, and a remark says that the table in it is not read; unpacked it is."""
    archive = zip_names(tmp_path / "a.zip", *PARTS, "labels.csv")
    found = survey(archive)
    assert found.classes == ["part_1", "part_2"]
    assert any("labels.csv is not read in an archive; if it has the labels, unpack" in text for text in found.remarks)
