"""Columns of tables that may be those of images and splits: what is chosen, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganaug_ray.config import LabelFrom
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.sources.path_matching import PathIndex
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out, png, read, read_labels
from tests.unit.data.test_mixed_tables import list_remarks

NUMBERS = range(1, 41)


def write_table(root: Path, header: str, *rows: str) -> Path:
    """Write a table beside images 1.png to 40.png."""
    lay_out(root, *(f"{number}.png" for number in NUMBERS))
    table = root / "t.csv"
    table.write_text("\n".join([header, *rows]) + "\n")
    return table


def read_both(table: Path) -> list[dict[str, str | None]]:
    """Return the labels by a table as a source, and as a table of the labels of its folder."""
    by_folder = read_labels(table.parent, LabelFrom(csv=str(table)))
    return [dict(read_labels(table)), {path: name for path, name in by_folder.items() if path.endswith(".png")}]


def label(number: int) -> str:
    """Return the class of an image of this number."""
    return "cat" if number < 10 else "dog"


@pytest.mark.parametrize("header", ["id,name,label", "image,file,label", "id,image_name,label"])
def test_row_number_is_no_image(header: str, tmp_path: Path) -> None:
    """A row number that fits a file but for its suffix gives way to the column that has the file's name."""
    files = [number * 7 % 41 for number in NUMBERS]
    rows = [f"{row},{number}.png,{label(number)}" for row, number in enumerate(files, 1)]
    expected = {f"{number}.png": label(number) for number in NUMBERS}
    assert read_both(write_table(tmp_path, header, *rows)) == [expected, expected]


@pytest.mark.parametrize("suffix", ["", ".png"])
def test_two_columns_of_images_are_refused(suffix: str, tmp_path: Path) -> None:
    """Where two columns fit other images each, both are named; the setting chooses."""
    rows = [f"{number}{suffix},{number * 7 % 41}{suffix},{label(number)}" for number in NUMBERS]
    table = write_table(tmp_path, "image,file,label", *rows)
    message = r"columns image and file both fit images, .*data.columns: \{image: image\}"
    with pytest.raises(UserError, match=message):
        read_labels(table)
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path, LabelFrom(csv=str(table)))
    assert read_labels(table, image="image")["9.png"] == "cat"


@pytest.mark.parametrize("suffix", ["", ".png"])
@pytest.mark.parametrize("generic", ["id", "name"])
def test_image_id_goes_before_id(suffix: str, generic: str, tmp_path: Path) -> None:
    """Where an id of the row fits images too, those of image_id are taken, and the setting for the others is told."""
    rows = [f"{number * 7 % 41}{suffix},{number}{suffix},{label(number)}" for number in NUMBERS]
    table = write_table(tmp_path, f"{generic},image_id,label", *rows)
    expected = {f"{number}.png": label(number) for number in NUMBERS}
    assert read_both(table) == [expected, expected]
    remark = (
        f"t.csv: images are taken from column image_id, but column {generic} names images too; "
        f"to use that, set data.columns: {{image: {generic}}}"
    )
    assert list_remarks(table) == list_remarks(tmp_path, LabelFrom(csv=str(table))) == [remark]
    others = {f"{number * 7 % 41}.png": label(number) for number in NUMBERS}
    assert read_labels(table, image=generic) == others


def test_equal_ids_are_no_choice(tmp_path: Path) -> None:
    """Where image_id and id name the same images the column that has more of them is taken, and nothing is told."""
    rows = [f"{number},{number if number > 3 else ''},{label(number)}" for number in NUMBERS]
    table = write_table(tmp_path, "id,image_id,label", *rows)
    assert read_labels(table) == {f"{number}.png": label(number) for number in NUMBERS}
    assert list_remarks(table) == []


def test_id_beside_another_name_is_an_image(tmp_path: Path) -> None:
    """An id that fits files is that of images, whatever names stand beside it."""
    rows = [f"{number},IMG_{number + 100}.jpg,{label(number)}" for number in NUMBERS]
    expected = {f"{number}.png": label(number) for number in NUMBERS}
    assert read_both(write_table(tmp_path, "id,file_name,label", *rows)) == [expected, expected]


def test_same_image_in_two_columns_is_read(tmp_path: Path) -> None:
    """Columns that name the same images in two ways are no contradiction."""
    rows = [f"{number},a/{number}.png,{label(number)}" for number in NUMBERS]
    (labels, _) = read_both(write_table(tmp_path, "image_id,path,label", *rows))
    assert labels == {f"{number}.png": label(number) for number in NUMBERS}


def test_column_without_files_is_named(tmp_path: Path) -> None:
    """Of ids that fit no file the column is named, and the setting for another."""
    table = write_table(tmp_path, "id,picture,label", *(f"x{number},{number}.png,cat" for number in NUMBERS))
    (remark,) = list_remarks(tmp_path, LabelFrom(csv=str(table)))
    assert remark.endswith("they stand in column id, and data.columns: {image: ...} names another")
    assert [remark for remark in list_remarks(table) if "column id" in remark] == [
        "t.csv: 40 names in column id fit no file, such as x1; data.columns: {image: ...} names another column"
    ]


@pytest.mark.parametrize("column", ["set", "fold", "data_split", "dataset_split", "subset", "partition"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_split_column_is_seen(column: str, kind: str, tmp_path: Path) -> None:
    """A column of train, val and test is one of splits, whichever of the usual names it has."""
    splits = ["train", "val", "test", ""]
    assert read_splits(tmp_path, column, splits, kind) == ["train", "val", "test", None]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_fold_of_numbers_is_no_split(kind: str, tmp_path: Path) -> None:
    """The numbers of a cross-validation's folds are no splits, and nothing is said of them."""
    assert read_splits(tmp_path, "fold", ["0", "1", "2", "3"], kind) == [None] * 4


def read_splits(root: Path, column: str, splits: list[str], kind: str) -> list[str | None]:
    """Return the splits of the images of a table with a column of them, about which there is no remark."""
    table = write_table(root, f"image,{column},label", *(f"{n}.png,{split},cat" for n, split in enumerate(splits, 1)))
    if kind == "parquet":
        images = [f"{number}.png" for number in range(1, len(splits) + 1)]
        table = root / "t.parquet"
        pq.write_table(pa.table({"image": images, column: splits, "label": ["cat"] * len(splits)}), table)
    assert list_remarks(table) == []
    return [raw.split for raw in read(table)]


def test_rows_without_a_name_are_told(tmp_path: Path) -> None:
    """A row of a table of labels that names no image is counted in a remark."""
    table = write_table(tmp_path, "image,label", *(f"{number}.png,cat" for number in NUMBERS), ",dog")
    assert list_remarks(tmp_path, LabelFrom(csv=str(table))) == [
        "t.csv: 1 of 41 rows names no image, such as line 42, and is left out"
    ]


@pytest.mark.parametrize(
    ("names", "encoded"),
    [("file_name", "image_bytes"), ("image_id", "bytes"), ("filename", "content"), ("image", "jpg"), ("other", "png")],
)
def test_bytes_go_before_names(names: str, encoded: str, tmp_path: Path) -> None:
    """Of a Parquet table with names of images and their bytes, the bytes are read."""
    cells = {names: ["a.png", "b.png"], encoded: [png(0), png(1)], "label": ["cat", "dog"]}
    pq.write_table(pa.table(cells), tmp_path / "t.parquet")
    assert read_labels(tmp_path / "t.parquet") == {"t.parquet#0": "cat", "t.parquet#1": "dog"}


def test_bytes_of_another_name_are_told(tmp_path: Path) -> None:
    """Where files are missing and another column holds bytes, the rejection names it and the setting."""
    cells = {"image": ["a.png"], "blob": [png(0)], "label": ["cat"]}
    pq.write_table(pa.table(cells), tmp_path / "t.parquet")
    (content,) = [raw.content for raw in read(tmp_path / "t.parquet")]
    assert isinstance(content, UnreadableError)
    assert content.detail.endswith("; column blob holds bytes; to read these, set data.columns: {image: blob}")
    assert read_labels(tmp_path / "t.parquet", image="blob") == {"t.parquet#0": "cat"}


def test_row_number_in_parquet_is_no_image(tmp_path: Path) -> None:
    """In a Parquet table beside its images, a row number gives way to the files' names too."""
    write_table(tmp_path, "image,label")
    files = [number * 7 % 41 for number in NUMBERS]
    names = [f"{number}.png" for number in files]
    cells = {"id": [str(number) for number in NUMBERS], "name": names, "label": list(map(label, files))}
    pq.write_table(pa.table(cells), tmp_path / "t.parquet")
    labels = list(read_labels(tmp_path / "t.parquet").values())
    assert labels == [label(number) for number in files]
    images = [raw.content for raw in read(tmp_path / "t.parquet")]
    assert images[0] == (tmp_path / "7.png").read_bytes()


@pytest.mark.parametrize("name", ["image", "label"])
def test_equal_names_in_parquet_are_refused(name: str, tmp_path: Path) -> None:
    """Two columns of one name in Parquet are refused as in CSV, where that name is one that is read."""
    images = pa.array([png(0), png(1)])
    table = pa.table(
        [images, pa.array(["cat", "dog"]), images if name == "image" else pa.array(["a", "b"])],
        names=["image", "label", name],
    )
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match=f"2 columns are called {name}; rename all but the one to be used"):
        read(tmp_path / "t.parquet")


def test_signs_that_mean_nothing_make_no_class(tmp_path: Path) -> None:
    """A minus before zero and a control character that nobody sees make no class of their own."""
    table = write_table(tmp_path, "image,label", "1.png,0", "2.png,-0.0", "3.png,ca\0t", "4.png,cat")
    assert set(read_labels(table).values()) == {"0", "cat"}


@pytest.mark.parametrize("form", ["{}", "{}.0"])
def test_numbers_find_files_with_zeros(form: str, tmp_path: Path) -> None:
    """A number as pandas or Excel write it means the only file of that number, and the remark says so."""
    lay_out(tmp_path, *(f"{number:06d}.png" for number in range(12)))
    rows = (f"{form.format(number)},{label(number)}" for number in range(12))
    (tmp_path / "t.csv").write_text("\n".join(["id,label", *rows]))
    expected = {f"{number:06d}.png": label(number) for number in range(12)}
    assert read_both(tmp_path / "t.csv") == [expected, expected]
    assert any("matched as a number" in remark for remark in list_remarks(tmp_path / "t.csv"))


def test_no_other_column_is_advised_where_none_is(tmp_path: Path) -> None:
    """Where no row fits a file and there is no other column, none is advised."""
    table = write_table(tmp_path, "id,label", "a,cat", "b,dog")
    (remark,) = [each for each in list_remarks(tmp_path, LabelFrom(csv=str(table))) if "no image" in each]
    assert remark.endswith("they stand in column id: write the files' names there")


def test_path_that_fits_all_files_is_matched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that each row has and that fits every file is not compared anew with all files for each row."""
    asked: list[str] = []
    find_files = PathIndex.find_files

    def count(index: PathIndex, path: str) -> Sequence[str]:
        asked.append(path)
        return find_files(index, path)

    monkeypatch.setattr(PathIndex, "find_files", count)
    root = lay_out(tmp_path / "scans", *(f"p{number}/scan.png" for number in range(20)))
    rows = (f"p{number},scan.png,{label(number)}" for number in range(20))
    (tmp_path / "t.csv").write_text("\n".join(["patient,file,label", *rows]))
    assert set(read_labels(root, LabelFrom(csv=str(tmp_path / "t.csv"))).values()) == {"<label conflict>"}
    assert asked == ["scan.png"]


@pytest.mark.parametrize("form", ["list", "struct"])
def test_images_in_lists_and_structs_are_read(form: str, tmp_path: Path) -> None:
    """An image in a list of one, or in a struct whose fields have other names, is read; a list of two is named."""
    pictures = [png(0), png(1)]
    images = [[picture] if form == "list" else {"data": picture, "filename": "1.png"} for picture in pictures]
    pq.write_table(pa.table({"image": images, "label": ["cat", "dog"]}), tmp_path / "t.parquet")
    assert [raw.content for raw in read(tmp_path / "t.parquet")] == pictures
    pq.write_table(pa.table({"image": [pictures, []], "label": ["cat", "dog"]}), tmp_path / "t.parquet")
    details = [getattr(raw.content, "detail", "") for raw in read(tmp_path / "t.parquet")]
    assert details[0] == "t.parquet row 0 holds a list of 2; expected the bytes of one image, or its path"


@pytest.mark.parametrize("form", ["{}.png", "pics/{}.PNG", "/home/dev/{}.jpg"])
def test_suffix_in_table_alone_is_left_out(form: str, tmp_path: Path) -> None:
    """A table may write a suffix that the files lack; a file of another suffix is another one."""
    lay_out(tmp_path / "in", *(f"cat{number}" for number in range(4)), "other.png", "cat.7")
    names = [*(f"cat{number}" for number in range(4)), "other", "cat.7"]
    table = tmp_path / "in" / "t.csv"
    table.write_text("\n".join(["image,label", *(f"{form.format(name)},{name}" for name in names)]))
    expected = {name: name for name in names if name != "other"}
    for labels in (read_labels(table), read_labels(tmp_path / "in", LabelFrom(csv=str(table)))):
        assert {path: name for path, name in labels.items() if path in expected} == expected


def test_file_with_the_suffix_goes_first() -> None:
    """A file without a suffix is found by a name with one only where no file has that."""
    assert list(PathIndex(["a/1.jpg", "a/1"]).find_files("1.jpg")) == ["a/1.jpg"]
    assert list(PathIndex(["a/1.png", "a/1"]).find_files("1.jpg")) == ["a/1"]
    assert list(PathIndex(["a/1.png"]).find_files("1.jpg")) == []
