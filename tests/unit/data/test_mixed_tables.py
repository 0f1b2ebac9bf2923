"""Tables whose rows are of two kinds: numbers and text, addresses and files, images and masks of them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganaug_ray.config import DataConfig, LabelFrom
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.data.sources import parquet
from ganaug_ray.data.sources.raw import REMARK
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out, png, read, read_labels


def write_shards(root: Path, *shards: list[object], names: list[str] | None = None) -> Path:
    """Write a file for each list of labels; the first has names of classes in its schema, if there are any."""
    root.mkdir()
    for number, labels in enumerate(shards):
        images = [{"bytes": png(100 * number + row)} for row in range(len(labels))]
        table = pa.table({"image": images, "label": labels})
        if names and not number:
            features = {"label": {"names": names, "_type": "ClassLabel"}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, root / f"{number}.parquet")
    return root


def list_remarks(source: Path, label_from: LabelFrom | None = None) -> list[str]:
    """Return the sentences that a reader says of a source."""
    contents = [raw.content for raw in read(source, label_from)]
    return [error.detail for error in contents if isinstance(error, UnreadableError) and error.reason == REMARK]


def test_numbers_beside_text_are_refused(tmp_path: Path) -> None:
    """Shards with numbers beside shards with text are refused, and both files are named."""
    source = write_shards(tmp_path / "d", ["cat", "dog"], [0, 1], ["dog", None])
    with pytest.raises(UserError, match=r"1\.parquet: column label has numbers, such as 0, but that of 0\.parquet has"):
        read(source)


def test_numbers_as_text_have_the_names(tmp_path: Path) -> None:
    """Where a schema names the classes, numbers in other files mean these, also as text; text stays what it is."""
    source = write_shards(tmp_path / "d", [0, 1], ["1", "0"], ["dog", "cat"], [1.0, None], names=["cat", "dog"])
    labels = ["cat", "dog", "dog", "cat", "dog", "cat", "dog", "<no class>"]
    assert list(read_labels(source).values()) == labels


def test_shards_of_numbers_alone_are_read(tmp_path: Path) -> None:
    """Numbers, and numbers as text, are classes of these names where nothing else is there."""
    source = write_shards(tmp_path / "d", [0, 1], ["1", "0"])
    assert list(read_labels(source).values()) == ["0", "1", "1", "0"]


@pytest.mark.parametrize(("name", "is_told"), [("cat", True), ("b", False)])
def test_classes_of_numbers_and_names_are_told(name: str, is_told: bool, tmp_path: Path) -> None:
    """In text nobody can know whether a number is a name's: a remark names both; of letters and digits none does."""
    paths = lay_out(tmp_path, *(f"{number}.png" for number in range(16)))
    lines = [f"{number}.png,{name if number % 2 else 0}" for number in range(16)]
    (paths / "t.csv").write_text("image,label\n" + "\n".join(lines))
    found = survey_without_storing(DataConfig(source=[str(tmp_path / "t.csv")]))
    remark = "1 class, 0, is called by a number and others, such as cat, by names"
    assert any(sentence.startswith(remark) for sentence in found.remarks) == is_told


def test_number_of_no_class_is_told(tmp_path: Path) -> None:
    """A number that a schema gives no name, such as -1, is told as it is, not as a missing value."""
    source = write_shards(tmp_path / "d", [0, -1], names=["cat", "dog"])
    objections = [raw.objection for raw in read(source)]
    assert objections[1] is not None
    assert objections[1][1] == "0.parquet row 1: labelled -1, which is not the number of any of the 2 classes"


def test_labels_of_several_classes_are_told(tmp_path: Path) -> None:
    """Texts that seem to hold several classes each are told; a class whose name has a comma is not."""
    root = lay_out(tmp_path, "1.png", "2.png")
    (root / "t.csv").write_text("image,label\n1.png,cat|animal\n2.png,dog|animal\n")
    (remark,) = list_remarks(root / "t.csv")
    assert remark.startswith("t.csv: labels such as 'cat|animal' seem to hold several classes")
    (root / "t.csv").write_text('image,label\n1.png,"Melanoma, in situ"\n2.png,Nevus\n')
    assert list_remarks(root / "t.csv") == []


def test_parquet_files_are_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To list its parts each file of a folder is opened once."""
    source = write_shards(tmp_path / "d", [0, 1], [1, 0])
    opened = []
    open_table_file = parquet.open_table_file
    monkeypatch.setattr(parquet, "open_table_file", lambda *args: opened.append(args[1]) or open_table_file(*args))
    from ganaug_ray.data import sources

    list(sources.list_parts([str(source)], LabelFrom()))
    assert opened == ["0.parquet", "1.parquet"]


ADDRESS = "https://example.com/pets/9.png"


def test_addresses_in_parquet_are_told(tmp_path: Path) -> None:
    """Of a Parquet table with addresses among its paths each address is rejected by its row, and a remark says so."""
    root = lay_out(tmp_path, "1.png", "2.png")
    cells = ["1.png", ADDRESS, "2.png"]
    pq.write_table(pa.table({"image": cells, "label": ["cat", "cat", "dog"]}), root / "t.parquet")
    (remark,) = list_remarks(root / "t.parquet")
    assert remark.startswith(
        f"t.parquet: 1 of 3 rows names an address, such as {ADDRESS} in row 1, which is not downloaded"
    )
    (problem,) = [raw.content for raw in read(root / "t.parquet") if raw.path == "t.parquet#1"]
    assert isinstance(problem, UnreadableError)
    assert problem.detail == f"t.parquet row 1 names {ADDRESS}, and addresses are not downloaded"
    pq.write_table(pa.table({"image": [ADDRESS] * 2, "label": ["cat", "dog"]}), root / "t.parquet")
    with pytest.raises(UserError, match=rf"t\.parquet: its images are addresses, such as {ADDRESS} in row 0"):
        read(root / "t.parquet")


def test_addresses_in_label_table_are_told(tmp_path: Path) -> None:
    """A table of labels may name files by where they were fetched from; an address of none is told with its line."""
    root = lay_out(tmp_path / "in", "1.png", "2.png")
    table = tmp_path / "t.csv"
    table.write_text(f"image,label\nhttps://example.com/1.png,cat\n2.png,dog\n{ADDRESS},dog\n")
    label_from = LabelFrom(csv=str(table))
    assert read_labels(root, label_from) == {"1.png": "cat", "2.png": "dog"}
    first, second = list_remarks(root, label_from)
    assert first.startswith(
        f"t.csv: 1 of 3 rows names an address, such as {ADDRESS} in line 4, which is not downloaded"
    )
    assert second == (
        "t.csv: 1 address is not downloaded; files of the same name are used, such as 1.png for "
        "https://example.com/1.png"
    )


def test_rows_without_an_image_are_told(tmp_path: Path) -> None:
    """Of a Parquet table a row whose image is null, or a struct of nulls, is rejected by its number."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": png(0), "path": None}, None, {"bytes": None, "path": None}, {"bytes": png(1), "path": None}]
    table = pa.table({"image": pa.array(cells, kind), "label": ["cat", "cat", "dog", "dog"]})
    pq.write_table(table, tmp_path / "t.parquet")
    problems = {raw.path: raw.content for raw in read(tmp_path / "t.parquet") if not isinstance(raw.content, bytes)}
    assert {path: (error.reason, error.detail) for path, error in problems.items()} == {
        "t.parquet#1": ("no image", "t.parquet row 1 holds none"),
        "t.parquet#2": ("no image", "t.parquet row 2 holds none"),
    }


@pytest.mark.parametrize("kind", ["csv", "parquet", "labels"])
def test_missing_files_are_told_with_their_rows(kind: str, tmp_path: Path) -> None:
    """A table that names a file which is not there is told of it with the row."""
    root = lay_out(tmp_path / "in", "1.png", "2.png")
    if kind == "parquet":
        pq.write_table(
            pa.table({"image": ["1.png", "no.png", "2.png"], "label": ["cat", "cat", "dog"]}), root / "t.parquet"
        )
        (problem,) = [raw.content for raw in read(root / "t.parquet") if isinstance(raw.content, UnreadableError)]
        assert (problem.reason, problem.detail) == ("cannot be read", "there is no such file; t.parquet row 1 names it")
        return
    (root / "t.csv").write_text("image,label\n1.png,cat\nno.png,cat\n2.png,dog\n")
    if kind == "csv":
        (problem,) = [raw.content for raw in read(root / "t.csv") if isinstance(raw.content, UnreadableError)]
        assert (problem.reason, problem.detail) == ("cannot be read", "there is no such file; t.csv line 3 names it")
        return
    (remark,) = list_remarks(root, LabelFrom(csv=str(root / "t.csv")))
    assert remark == "1 of 3 rows of t.csv fits no image, such as no.png in line 3"


@pytest.mark.parametrize("kind", ["labels", "csv", "parquet"])
def test_listed_masks_are_told(kind: str, tmp_path: Path) -> None:
    """Masks that a table lists beside the images that they are of are used, with a remark until their rows are gone."""
    paths = ["images/1.png", "masks/1.png", "images/2.png", "images/2_mask.png"]
    root = lay_out(tmp_path / "in", *paths)
    label_from = LabelFrom(csv=str(root / "t.csv")) if kind == "labels" else None
    source = root if kind == "labels" else root / f"t.{kind}"

    def write_table(listed: list[str]) -> None:
        if kind == "parquet":
            pq.write_table(pa.table({"image": listed, "label": ["cat"] * len(listed)}), source)
        else:
            (root / "t.csv").write_text("image,label\n" + "".join(f"{path},cat\n" for path in listed))

    write_table(paths)
    (remark,) = list_remarks(source, label_from)
    assert remark.partition(": ")[2].startswith(
        "2 images that it lists are named like masks or annotations of other images, such as images/2_mask.png, and"
    )
    assert remark.endswith("; remove these rows if they are not images")
    write_table(["images/1.png", "images/2.png"])
    assert not any("that it lists are named like masks" in text for text in list_remarks(source, label_from))
