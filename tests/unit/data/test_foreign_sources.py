"""Tables and folders as other programs leave them: every label is right, or the refusal names the cause."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganaug_ray.config import DataConfig, LabelFrom
from ganaug_ray.data.ingest.scan import Survey, survey_without_storing
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out, png, read_labels

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


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_facts_of_images_are_no_classes(kind: str, tmp_path: Path) -> None:
    """Columns of texts and numbers are not taken for classes; the refusal lists them, and naming one works."""
    lay_out(tmp_path, *NAMES)
    facts = [
        {"lesion": f"HAM_{n}", "image_id": name, "dx": "nv" if n % 2 else "mel", "age": 80 + n, "female": n % 2}
        for n, name in enumerate(NAMES)
    ]
    table = tmp_path / f"facts.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(facts), table)
    elif kind == "jsonl":
        table.write_text("\n".join(map(json.dumps, facts)))
    else:
        table.write_text("\n".join(",".join(map(str, row)) for row in [facts[0], *(fact.values() for fact in facts)]))
    words = "found the columns lesion, image_id, dx, age, female; expected image and label, or data.columns"
    with pytest.raises(UserError, match=words):
        read_labels(table)
    with pytest.raises(UserError, match=r"female; expected one called label, or data\.columns: \{label"):
        read_labels(table, image="image_id")
    assert {*read_labels(table, label="dx").values()} == {"nv", "mel"}


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
    """What filers and systems keep beside images, such as thumbnails and deleted files, is counted and skipped."""
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
    with pytest.raises(UserError, match=r"a single class 'dog' was found.*; 1 × hidden file or folder, skipped"):
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


@pytest.mark.parametrize("folder", ["masks", "thumbs"])
def test_copies_in_another_folder_are_told(folder: str, tmp_path: Path) -> None:
    """A folder of masks or copies beside classes is one, and a remark says that its files are called as others."""
    paths = [f"{name}/{n}.png" for name in ("cats", folder) for n in range(12)]
    found = survey(lay_out(tmp_path, *paths, *(f"dogs/dog{n}.png" for n in range(12))))
    assert found.classes == ["cats", "dogs", folder]
    assert any(remark.startswith(f"{folder} is taken for a class, though all its files") for remark in found.remarks)


@pytest.mark.parametrize("path", ["a\\u0000b.png", "\\ud800.png"])
def test_paths_that_no_file_has_are_rejected(path: str, tmp_path: Path) -> None:
    """A path with a zero or half a character is that of no file; the others are read."""
    lay_out(tmp_path, *NAMES)
    rows = "".join(f'{{"image": "{name}", "label": "{n % 2}"}}\n' for n, name in enumerate(NAMES))
    (tmp_path / "t.jsonl").write_text(f'{rows}{{"image": "{path}", "label": "0"}}\n')
    found = survey(tmp_path / "t.jsonl")
    assert len(found.usable) == 24
    assert found.rejected["detail"].to_pylist() == ["there is no such file; t.jsonl line 25 names it"]


def test_half_a_character_in_a_label_is_shown(tmp_path: Path) -> None:
    """Half a character, as some programs cut texts, is replaced, and stops no run."""
    lay_out(tmp_path, *NAMES)
    labels = ["cat\ud83d", "dog"]
    rows = (json.dumps({"image": name, "label": labels[n % 2]}) + "\n" for n, name in enumerate(NAMES))
    (tmp_path / "t.jsonl").write_text("".join(rows))
    assert survey(tmp_path / "t.jsonl").classes == ["cat\N{REPLACEMENT CHARACTER}", "dog"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_numbers_are_names_of_files(kind: str, tmp_path: Path) -> None:
    """A column of whole numbers means the files that are called so, as in a table of text."""
    lay_out(tmp_path, *NAMES)
    rows = {"id": list(range(24)), "label": ["dog", "cat"] * 12}
    if kind == "parquet":
        pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    else:
        lines = (json.dumps({"id": number, "label": label}) for number, label in zip(*rows.values(), strict=True))
        (tmp_path / "t.jsonl").write_text("\n".join(lines))
    found = survey(tmp_path / f"t.{kind}")
    assert len(found.usable) == 24


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_path_of_several_files_is_no_missing_one(kind: str, tmp_path: Path) -> None:
    """Where a path fits several files and none as it is written, the reason names these."""
    lay_out(tmp_path, *NAMES, "a/x.png", "b/x.png")
    rows = {"image": [*NAMES, "x.png"], "label": ["dog", "cat"] * 12 + ["cat"]}
    if kind == "parquet":
        pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    else:
        (tmp_path / "t.csv").write_text(f"{TABLE}x.png,cat\n")
    (rejected,) = survey(tmp_path / f"t.{kind}").rejected.to_pylist()
    assert rejected["reason"] == "label conflict"
    assert rejected["detail"].endswith("fits a/x.png and b/x.png")


def test_text_of_parquet_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    """Texts in another encoding, as old programs write them, are shown and refused."""
    ends = np.arange(0, 25 * 2, 2, dtype=np.int32)
    labels = pa.Array.from_buffers(pa.string(), 24, [None, pa.py_buffer(ends), pa.py_buffer(b"a\xffok" * 12)])
    pq.write_table(pa.table({"image": [png(n) for n in range(24)], "label": labels}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"holds text that is not UTF-8, such as b'a\\xff'; write it anew"):
        survey(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.jsonl", '{"image": ' + "[" * 100_000 + "]" * 100_000 + "}", "line 1 is not JSON"),
        ("t.csv", "[" * 100_000, r"found the columns \[{60}; expected image and label"),
        ("t.csv", "".join(map(chr, range(0x2190, 0x2B00))) * 40, "expected image and label"),
    ],
)
def test_senseless_tables_are_refused_at_once(name: str, content: str, words: str, tmp_path: Path) -> None:
    """A text that is nested without end, or all of signs, is refused in a sentence, and looked at once."""
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=words) as refusal:
        read_labels(tmp_path / name)
    assert len(str(refusal.value)) < 600
