"""Tables as JSON Lines, and metadata.csv or metadata.jsonl in a folder of images, as Hugging Face has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.config import DataConfig, LabelFrom
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out, read, read_labels, zip_names

NONE = "<no class>"


def write_rows(path: Path, *rows: dict[str, Any]) -> Path:
    """Write a table as its suffix says."""
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    else:
        lines = [json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("keys", [("image", "label"), ("file_name", "class"), ("path", "category")])
@pytest.mark.parametrize("name", ["list.jsonl", "LIST.NDJSON"])
def test_json_lines_are_a_manifest(name: str, keys: tuple[str, str], tmp_path: Path) -> None:
    """Objects of an image and its label are a source, and a table of labels, as a CSV file is."""
    lay_out(tmp_path, "a b.png", "1.png", "2.png")
    labels = {"a b.png": "cat", "1.png": 3, "2.png": None}
    table = write_rows(tmp_path / name, *({keys[0]: image, keys[1]: label} for image, label in labels.items()))
    expected = {"a b.png": "cat", "1.png": "3", "2.png": NONE}
    assert read_labels(table) == expected
    found = read_labels(tmp_path, LabelFrom(csv=str(table)))
    assert {path: found[path] for path in expected} == expected


def test_other_suffixes_hold_json_lines(tmp_path: Path) -> None:
    """A table of labels that holds JSON Lines is read as such, whatever it is called, and so are paths in structs."""
    root = lay_out(tmp_path / "pics", "1.png", "2.png")
    rows = ({"image": {"path": f"{n}.png"}, "label": label} for n, label in ((1, "cat"), (2, "dog")))
    table = write_rows(tmp_path / "labels.json", *rows)
    assert read_labels(root, LabelFrom(csv=str(table))) == {"1.png": "cat", "2.png": "dog"}


def test_sparse_objects_are_read(tmp_path: Path) -> None:
    """Objects may lack keys that others have: without an image or a label they are rejected, and a split is used."""
    lay_out(tmp_path, "1.png", "2.png", "3.png")
    table = write_rows(
        tmp_path / "list.jsonl",
        {"image": "1.png"},
        {"image": "2.png", "label": "cat", "split": "validation"},
        {"label": "dog"},
    )
    images = {raw.path: raw for raw in read(table) if getattr(raw.content, "reason", "") != "remark"}
    assert {path: raw.label for path, raw in images.items()} == {"1.png": None, "2.png": "cat", "list.jsonl#3": None}
    assert images["2.png"].split == "val"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"image": "1.png", "label": "cat"}\n{"image": "2.png",', "line 2 is not JSON"),
        ('[{"image": "1.png"}]', "line 1 holds .*expected an object on each line; `jq"),
        ('{"image": "1.png", "label": "cat", "label": "dog"}', "line 1 is not JSON .*twice"),
        ('{"image": "1.png", "label": ["cat"]}', "line 1: found .*in label, expected text or a number"),
        ('{"picture": "1.png", "label": "cat"}', "found the columns picture, label"),
    ],
)
def test_wrong_json_lines_are_refused(text: str, words: str, tmp_path: Path) -> None:
    """What is no JSON Lines, and a label that is no text, is refused with its line."""
    (tmp_path / "list.jsonl").write_text(text)
    with pytest.raises(UserError, match=words):
        read(tmp_path / "list.jsonl")


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_metadata_files_have_the_labels(name: str, tmp_path: Path) -> None:
    """A table that lists the images of its folder has their labels, in each split too, and a remark says so."""
    splits = ("train", "test")
    root = lay_out(tmp_path, *(f"{split}/pics/{number}.png" for split in splits for number in range(8)))
    for split in splits:
        rows = [{"file_name": f"pics/{n}.png", "label": "cat" if n % 2 else "dog"} for n in range(8)]
        write_rows(root / split / name, *rows)
    found = survey_without_storing(DataConfig(source=[str(root)]))
    assert found.classes == ["cat", "dog"]
    assert found.count_images()["test"] == {"cat": 4, "dog": 4}
    assert any(f"labels are those of 2 tables such as test/{name}, as in Hugging" in remark for remark in found.remarks)


def test_metadata_is_of_its_folder(tmp_path: Path) -> None:
    """Images outside the folder of a table have the labels of their folders, and one that it lacks has none."""
    root = lay_out(tmp_path, "new/1.png", "new/2.png", "owl/1.png", "elk/1.png")
    write_rows(root / "new" / "metadata.jsonl", {"file_name": "1.png", "label": "cat"})
    labels = {"elk/1.png": "elk", "new/1.png": "cat", "new/2.png": NONE, "owl/1.png": "owl"}
    assert {path: label for path, label in read_labels(root).items() if path.endswith("png")} == labels
    write_rows(root / "new" / "metadata.csv", {"file_name": "1.png", "label": "dog"})
    with pytest.raises(UserError, match=r"has both new/metadata\.csv and metadata\.jsonl; keep one"):
        read_labels(root)


@pytest.mark.parametrize("row", [{"file_name": "cat/1.png", "text": "a cat"}, {"image": "cat/1.png", "label": "dog"}])
def test_other_metadata_changes_nothing(row: dict[str, str], tmp_path: Path) -> None:
    """Tables of captions, or without the column that Hugging Face's library needs, leave the folders' names."""
    root = lay_out(tmp_path, "cat/1.png", "dog/1.png")
    write_rows(root / "metadata.jsonl", row)
    assert read_labels(root)["cat/1.png"] == "cat"


def test_metadata_in_archive_is_named(tmp_path: Path) -> None:
    """A table that would have the labels in a folder is told to be unused in an archive."""
    archive = zip_names(tmp_path / "a.zip", "cat/1.png", "cat/metadata.jsonl")
    (remark,) = [raw.content.detail for raw in read(archive) if getattr(raw.content, "reason", "") == "remark"]
    assert remark.startswith("cat/metadata.jsonl is not read in an archive; if it has the labels, unpack")
