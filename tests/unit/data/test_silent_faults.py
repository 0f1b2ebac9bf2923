"""Inputs that once fed wrong pixels or wrong labels to the training without a word."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin

from ganaug_ray.config import ColumnsConfig, DataConfig
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import image_formats, images
from ganaug_ray.data.ingest import refusals
from ganaug_ray.data.ingest.scan import Survey, survey_source, survey_without_storing
from ganaug_ray.data.sources import label_tables
from ganaug_ray.data.sources.folder_labels import FolderLabels
from ganaug_ray.errors import UserError
from tests.helpers.image_files import insert_chunk, insert_segment, png16, png_chunk
from tests.helpers.labelled import lay_out, read, read_labels

RNG = np.random.default_rng(0)
ON_ITS_SIDE = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def survey(source: Path, staged: Path, **settings: object) -> Survey:
    staged.mkdir()
    return survey_source(DataConfig(source=[str(source)], **settings), Folder.from_uri(staged))


def encode(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def photograph(high: int = 255, dtype: type = np.uint8) -> np.ndarray:
    return RNG.integers(0, high + 1, (40, 40)).astype(dtype)


def test_masks_do_not_choose_the_scale(tmp_path: Path) -> None:
    """The scale of a data set is that of its images, whatever values the masks beside them have."""
    for name in ("cat", "dog"):
        for number in range(6):
            image = tmp_path / "pics" / name / "images" / f"{number}.png"
            mask = tmp_path / "pics" / name / "masks" / f"{number}.png"
            for path, pixels in ((image, photograph(1023, np.uint16)), (mask, photograph(1, np.uint16) * 65_535)):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encode(pixels.astype(np.uint16)))
    found = survey(tmp_path / "pics", tmp_path / "staged")
    assert found.value_range is not None
    assert found.value_range.high == 1023
    assert found.passed_over == {"sidecar file": 12}


def test_completed_jpeg_is_upright() -> None:
    """What makes a damaged file readable leaves the orientation that it has."""
    content = encode(RNG.integers(0, 256, (40, 64, 3), np.uint8), "JPEG", exif=ON_ITS_SIDE)[:-2]
    assert images.decode(content).image.size == (40, 64)


def test_orientation_in_xmp_survives_the_repair() -> None:
    """A JPEG file without its end mark is turned as its XMP data say, where it has no EXIF data."""
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    whole = insert_segment(encode(RNG.integers(0, 256, (40, 64, 3), np.uint8), "JPEG"), 0xE1, xmp)
    for content in (whole, whole[:-2]):
        assert images.decode(content).image.size == (40, 64)


def test_png_with_broken_chunk_is_upright() -> None:
    """A PNG file that is read without a broken chunk keeps the orientation in its metadata."""
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", b"\0\0\xb1\x8f")
    content = encode(RNG.integers(0, 256, (40, 64, 3), np.uint8), exif=ON_ITS_SIDE[6:], pnginfo=chunks)
    at = content.index(b"gAMA")
    broken = content[: at + 8] + b"\0\0\0\0" + content[at + 12 :]
    assert images.decode(broken).image.size == (40, 64)


def test_declared_white_stays_with_its_files(tmp_path: Path) -> None:
    """Files that say what is white in them keep that beside others, whose scale is found."""
    for name in ("cat", "dog"):
        (tmp_path / "pics" / name).mkdir(parents=True)
        for number in range(6):
            pixels = photograph(1023, np.uint16)
            header = b"P5 40 40 1023\n"
            (tmp_path / "pics" / name / f"{number}.pgm").write_bytes(header + pixels.astype(">u2").tobytes())
            (tmp_path / "pics" / name / f"{number}.png").write_bytes(encode(photograph(65_535, np.uint16)))
    found = survey(tmp_path / "pics", tmp_path / "staged")
    assert found.value_range is not None
    assert found.value_range.high == 65_535
    content = (tmp_path / "pics" / "cat" / "0.pgm").read_bytes()
    trained_on = images.decode(content)
    served = images.decode(content, value_range=found.value_range)
    assert np.array_equal(np.asarray(trained_on.image), np.asarray(served.image))
    assert np.asarray(served.image).mean() > 100


def test_surplus_cells_are_no_label(tmp_path: Path) -> None:
    """A label that is cut at a separator is not taken for another one."""
    (tmp_path / "list.csv").write_text("image,label\na.png,Melanoma, in situ\nb.png,Nevus\nc.png,Nevus,\n")
    rows = label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig()).rows
    assert [row.label.name for row in rows] == [None, "Nevus", "Nevus"]
    assert rows[0].label.objection is not None
    assert rows[0].label.objection[1] == (
        "list.csv line 2: has more cells than columns; put quotes around a cell that holds the separator"
    )


@pytest.mark.parametrize(
    ("header", "remark"),
    [
        (
            "image,class,label",
            "list.csv: labels are taken from column label; for those of column class, set data.columns: {label: class}",
        ),
        ("image,wet,dry", "list.csv: columns wet, dry are taken for classes: an image has a 1 in that of its class"),
    ],
)
def test_guessed_columns_are_named(tmp_path: Path, header: str, remark: str) -> None:
    """Columns that are guessed from their names are a remark, and those that a job names are none."""
    (tmp_path / "list.csv").write_text(f"{header}\na.png,0,1\n")
    assert label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig()).remarks == [remark]
    setting = ColumnsConfig(label=header.split(",")[1:])
    assert label_tables.read_table(str(tmp_path / "list.csv"), setting).remarks == []


def test_foreign_names_stay_apart_in_tar(tmp_path: Path) -> None:
    """Names that are no UTF-8 are different classes where their bytes are."""
    with tarfile.open(tmp_path / "pics.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
        for name in ("Kätze", "Kötze"):
            for number in range(6):
                content = encode(photograph())
                entry = tarfile.TarInfo(f"{name}/{number}.png")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    found = survey(tmp_path / "pics.tar", tmp_path / "staged")
    assert len(found.classes) == 2


def test_second_byte_is_no_backslash(tmp_path: Path) -> None:
    """In Shift-JIS a character's second byte may be that of a backslash."""
    packed = io.BytesIO()
    names = {"ソース".encode("shift-jis"): b"FIRST-", "表ース".encode("shift-jis"): b"SECOND"}
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names.values():
            for number in range(6):
                archive.writestr(f"{name.decode()}/{number}.png", encode(photograph()))
    content = packed.getvalue()
    for foreign, name in names.items():
        content = content.replace(name, foreign)
    (tmp_path / "pics.zip").write_bytes(content)
    found = survey(tmp_path / "pics.zip", tmp_path / "staged")
    assert len(found.classes) == 2


def test_transparent_wide_value_is_white() -> None:
    """Grey of 16 bits that its PNG file calls transparent is laid on white, which a note says."""
    pixels = photograph(60_000, np.uint16)
    pixels[:20] = 7
    decoded = images.decode(encode(pixels, transparency=7))
    assert np.asarray(decoded.image)[:20].min() == 255
    assert "transparent pixels laid on white" in decoded.notes


@pytest.mark.parametrize("bands", [1, 3])
def test_transparent_wide_colour_is_told(bands: int) -> None:
    """A value, or a colour, of 16 bits that only a few pixels have is laid on white, and a note says so."""
    pixels = RNG.integers(0, 60_000, (8, 8, bands)).astype(np.uint16)
    content = insert_chunk(png16(pixels), png_chunk(b"tRNS", pixels[2, 3].astype(">u2").tobytes()))
    decoded = images.decode(content)
    assert np.asarray(decoded.image)[2, 3].min() == 255
    assert "transparent pixels laid on white" in decoded.notes


def test_class_names_of_float_columns(tmp_path: Path) -> None:
    """The names in a schema hold for numbers that became floats, since one is missing."""
    schema = pa.schema(
        [("image", pa.binary()), ("label", pa.float64())],
        metadata={"huggingface": '{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}'},
    )
    labels = [0.0, 1.0] * 6 + [None]
    table = pa.table({"image": [encode(photograph()) for _ in labels], "label": labels}, schema=schema)
    pq.write_table(table, tmp_path / "pics.parquet")
    found = survey(tmp_path / "pics.parquet", tmp_path / "staged")
    assert found.classes == ["cat", "dog"]
    assert found.count_rejects() == {"no class": 1}


def test_columns_are_called_no_yes() -> None:
    """Column names that YAML takes for truth values stay text."""
    assert parse_yaml("columns: {label: [no, yes]}", "job.yaml") == {"columns": {"label": ["no", "yes"]}}


HIDDEN_REMARK = (
    "3 hidden files or folders whose names begin with a dot were skipped; rename those that are images to be used"
)


def write_hidden(root: Path) -> Path:
    """Lay out two classes, two hidden images, a hidden folder of them, and what systems leave behind."""
    lay_out(root, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(6)))
    lay_out(root, "cat/.7.png", ".dog.png", "dog/.new/8.png", "dog/.new/9.png", ".git/1.png", "__MACOSX/cat/7.png")
    for name in ("cat/.DS_Store", "cat/._1.png", "dog/Thumbs.db", ".provenance/1.json"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"\0\5\x16\7")
    return root


def pack_zip(root: Path) -> Path:
    with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root))
    return root.with_suffix(".zip")


def pack_tar(root: Path) -> Path:
    with tarfile.open(root.with_suffix(".tar"), "w") as archive:
        archive.add(root, ".")
    return root.with_suffix(".tar")


@pytest.mark.parametrize("pack", [Path, pack_zip, pack_tar])
def test_hidden_images_are_counted(pack: Callable[[Path], Path], tmp_path: Path) -> None:
    """Hidden images, and apart from them what systems leave behind, are counted in folders and archives."""
    found = survey(pack(write_hidden(tmp_path / "pics")), tmp_path / "staged")
    assert len(found.usable) == 12
    assert found.count_rejects() == {}
    assert found.passed_over == {"hidden file or folder": 3, "hidden file of a system or program": 6}
    assert found.remarks == [HIDDEN_REMARK]


def test_foreign_names_in_tar_are_told(tmp_path: Path) -> None:
    """Names in a tar archive that are no UTF-8 are a remark."""
    with tarfile.open(tmp_path / "pics.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
        for name in ("Kätze/1.png", "dog/1.png"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    details = [getattr(raw.content, "detail", "") for raw in read(tmp_path / "pics.tar")]
    assert details[0].startswith("1 name, Kätze/1.png, is not UTF-8 but read as Latin-1")


def test_declared_separator_is_understood(tmp_path: Path) -> None:
    """Excel's first line says which separator follows, and is no header."""
    (tmp_path / "list.csv").write_text("sep=;\r\nimage;label\r\na.png;one, two\r\n")
    (row,) = label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig()).rows
    assert (row.image, row.label.name) == ("a.png", "one, two")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cat/1.png", b"version https://git-lfs.github.com/spec/v1\noid", "found 2 × Git LFS pointer"),
        ("cat/1.heic", b"\0\0\0\x18ftypheic", "cat/1.heic: HEIC; save it as PNG or JPEG"),
        ("cat/1.zip", b"PK\3\4", "cat/1.zip is an archive: name each archive in data.source, in a list"),
    ],
)
def test_refusals_name_the_cause(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    """A source of which nothing is read is refused with what it holds instead of images."""
    for path in (name, name.replace("cat", "dog")):
        (tmp_path / "pics" / path).parent.mkdir(parents=True)
        (tmp_path / "pics" / path).write_bytes(content)
    with pytest.raises(UserError) as error:
        survey(tmp_path / "pics", tmp_path / "staged")
    assert words in str(error.value)


def test_table_without_rows_is_named(tmp_path: Path) -> None:
    """A table that has a header alone is refused as one without rows."""
    (tmp_path / "list.csv").write_text("image,label\n")
    with pytest.raises(UserError, match="names no image: it has no row; expected"):
        survey(tmp_path / "list.csv", tmp_path / "staged")


def test_dark_data_set_is_told(tmp_path: Path) -> None:
    """Where all images are dark none stands out, so one remark says it of all."""
    for name in ("cat", "dog"):
        (tmp_path / "pics" / name).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "pics" / name / f"{number}.png").write_bytes(encode(photograph(40)))
    (remark,) = survey(tmp_path / "pics", tmp_path / "staged").remarks
    assert remark.startswith("more than half of the images are dark: their median brightness is 0.08 of 1")


@pytest.mark.parametrize("names", [("train", "test1"), ("trainval", "test"), ("seg_train/seg_train", "seg_test")])
def test_usual_names_of_splits_are_kept(names: tuple[str, str], tmp_path: Path) -> None:
    """The usual names of split folders are splits, and no classes."""
    classes = ("cat", "dog")
    root = lay_out(tmp_path / "pics", *(f"{s}/{c}/{n}.png" for s in names for c in classes for n in range(6)))
    found = survey(root, tmp_path / "staged")
    assert found.classes == ["cat", "dog"]
    assert sum(found.count_images()["test"].values()) == 12


def test_split_of_some_images_is_told(tmp_path: Path) -> None:
    """Images that lie in a class's folder test are dealt anew, which is said, if the others are in no split."""
    root = lay_out(tmp_path / "pics", *(f"{c}/{n}.png" for c in ("cat", "dog") for n in range(6)), "cat/test/9.png")
    (remark,) = survey(root, tmp_path / "staged").remarks
    assert remark.startswith("images came in the split test and were split anew")


def test_plain_text_maps_need_no_suffix(tmp_path: Path) -> None:
    """Images that are written as text are read whatever their names."""
    for name in ("cat", "dog"):
        (tmp_path / "pics" / name).mkdir(parents=True)
        for number in range(6):
            text = " ".join(map(str, photograph().ravel()))
            (tmp_path / "pics" / name / f"{number}").write_text(f"P2\n40 40\n255\n{text}\n")
    assert len(survey(tmp_path / "pics", tmp_path / "staged").usable) == 12


def test_missing_values_are_no_labels(tmp_path: Path) -> None:
    """What pandas reads as missing is no label of a table, and labels that are read otherwise than written are told."""
    labels = ("NA", "NA", "1", "1.0", "-")
    lines = [f"{number}.png,{label}" for number, label in enumerate(labels)]
    (tmp_path / "list.csv").write_text("\n".join(["image,label", *lines]))
    table = label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig())
    assert [row.label.name for row in table.rows] == [None, None, "1", "1", "-"]
    assert table.rows[0].label.objection == (
        "no class", "list.csv line 2: labelled NA, which stands for a missing label"
    )  # fmt: skip
    assert table.remarks == [
        "list.csv: 2 rows are labelled 'NA', which stands for a missing label, as in pandas, so they are left out; "
        "if it is a class, rename it in the table, for instance to 'class NA'",
        "list.csv: 1 row is labelled '-', which is taken for a class; leave the cell empty if it is none",
        "list.csv: labels 1 and 1.0 are one class, 1",
    ]


def test_folders_of_any_name_are_classes(tmp_path: Path) -> None:
    """Folders that are called as missing values are in tables are classes."""
    root = lay_out(tmp_path / "pics", "nan/1.png", "NA/1.png")
    assert read_labels(root) == {"NA/1.png": "NA", "nan/1.png": "nan"}


def test_parquet_folders_of_spark_are_read(tmp_path: Path) -> None:
    """A folder with the suffix of a file is read as a folder, whatever Spark leaves beside the shards."""
    root = tmp_path / "rows.parquet"
    root.mkdir()
    table = pa.table({"image": [encode(photograph()) for _ in range(12)], "label": ["cat", "dog"] * 6})
    pq.write_table(table, root / "part-00000.snappy.parquet")
    for name in ("_SUCCESS", "._SUCCESS.crc"):
        (root / name).touch()
    found = survey(root, tmp_path / "staged")
    assert len(found.usable) == 12
    assert found.passed_over == {"sidecar file": 1, "hidden file of a system or program": 1}


def test_equal_train_and_test_are_told(tmp_path: Path) -> None:
    """If all training images are copies of test images, the refusal says so."""
    root = tmp_path / "pics"
    for split in ("train", "test"):
        lay_out(root / split, *(f"{c}/{n}.png" for c in ("cat", "dog") for n in range(6)))
    with pytest.raises(UserError, match="12 were left out as copies of images in another split"):
        survey(root, tmp_path / "staged", max_rejected=0.9)


@pytest.mark.parametrize("name", ["list.csv", "rows.parquet", "shards/rows.parquet", "pics.zip", "pics.tar.gz"])
def test_pointers_of_git_are_named(name: str, tmp_path: Path) -> None:
    """A file that Git LFS has not fetched is called that, with the command that fetches it."""
    (tmp_path / "shards").mkdir()
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")
    source = tmp_path / name.partition("/")[0]
    with pytest.raises(UserError) as error:
        read(source)
    assert str(error.value).startswith(f"data.source {source}: ")
    assert str(error.value).endswith("is a Git LFS pointer, not the file itself; fetch that with `git lfs pull`")


SPLIT_REMARK = (
    "column split has values that name no split, 0, 1, so 2 rows have none; "
    "write train, val (or valid, validation, dev) and test"
)


def test_unknown_values_of_splits_are_told(tmp_path: Path) -> None:
    """A column of splits whose values name none is no reason to be silent; empty cells and usual names are."""
    (tmp_path / "list.csv").write_text("image,label,split\na.png,cat,0\nb.png,dog,1\nc.png,cat,\nd.png,cat,dev\n")
    table = label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig())
    assert table.remarks == [f"list.csv: {SPLIT_REMARK}"]
    assert [row.label.split for row in table.rows] == [None, None, None, "val"]


def write_table(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    rows = len(columns["label"])
    table = pa.table({"image": [encode(photograph()) for _ in range(rows)]} | columns)
    pq.write_table(table, path, row_group_size=4)
    return path


def list_remarks(source: Path) -> list[str]:
    return [raw.content.detail for raw in read(source) if getattr(raw.content, "reason", "") == "remark"]


def test_splits_in_parquet_are_kept(tmp_path: Path) -> None:
    """A column of splits in Parquet has the images stay in them, as in CSV."""
    labels = ["cat", "dog"] * 12
    source = write_table(tmp_path / "rows.parquet", label=labels, split=["train"] * 16 + ["test"] * 8)
    found = survey(source, tmp_path / "staged")
    assert sum(found.count_images()["test"].values()) == 8
    assert found.remarks[0].startswith("images stay in the splits they came in, train and test")


def test_shards_have_one_remark(tmp_path: Path) -> None:
    """What is to be known of many shards is said once, with the rows of all of them."""
    for number in range(3):
        write_table(tmp_path / "rows" / f"train-{number}.parquet", label=["cat", None], target=["a", "b"])
    assert list_remarks(tmp_path / "rows") == [
        "rows: labels are taken from column label; for those of column target, set data.columns: {label: target}",
        "rows: 3 rows are labelled null, which stands for a missing label, so they are left out",
    ]


def test_unknown_splits_in_parquet_are_told(tmp_path: Path) -> None:
    """What a column of splits holds in place of names is told of Parquet as of CSV."""
    source = write_table(tmp_path / "rows.parquet", label=["cat"] * 4, split=[0, 1, None, None])
    assert list_remarks(source) == [f"rows.parquet: {SPLIT_REMARK}"]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["cat", "NA", "NA"], "2 rows are labelled 'NA', which stands for a missing label, as in pandas"),
        (["cat", None, "dog"], "1 row is labelled null, which stands for a missing label, so it is left out"),
        ([1.0, float("nan"), float("nan")], "2 rows are labelled NaN, which stands for a missing label"),
    ],
)
def test_missing_labels_in_parquet_are_told(labels: list, words: str, tmp_path: Path) -> None:
    """Labels that are null, no number, or called so are rejected, and a remark counts them."""
    source = write_table(tmp_path / "rows.parquet", label=labels)
    (remark,) = list_remarks(source)
    assert remark.startswith(f"rows.parquet: {words}")
    objections = [raw.objection for raw in read(source) if raw.objection]
    assert objections[0] is not None
    assert objections[0][0] == "no class"


@pytest.mark.parametrize("as_struct", [False, True])
def test_paths_in_parquet_are_matched(as_struct: bool, tmp_path: Path) -> None:
    """Paths in Parquet may have another folder in front than the files, as in CSV."""
    lay_out(tmp_path / "data", "train/x.png", "test/y.png")
    paths = ["data/train/x.png", "data/test/y.png"]
    cells = paths
    if as_struct:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        cells = pa.array([{"bytes": None, "path": path} for path in paths], kind)
    source = write_table(tmp_path / "data" / "rows.parquet", image=cells, label=["cat", "dog"])
    images = read(source)
    assert [type(image.content) for image in images] == [bytes, bytes]
    assert [image.split for image in images] == ["train", "test"]


def test_tables_beside_images_are_refused(tmp_path: Path) -> None:
    """A folder with both is read as neither, and the refusal says what to give."""
    source = lay_out(tmp_path / "pics", "cat/1.png")
    write_table(source / "rows.parquet", label=["cat"])
    with pytest.raises(UserError) as error:
        read(source)
    assert str(error.value) == (
        f"data.source {source}: has a Parquet table, rows.parquet, beside other files, such as cat/1.png, but a folder "
        f"is read as one or the other; to read the table and the images that it names, give {source}/rows.parquet; "
        "to read the other files, move the table out of the folder"
    )


@pytest.mark.parametrize(
    ("folder", "front"), [("unlabeled", ""), ("seg_pred/seg_pred", "seg_"), ("Unlabelled", ""), ("train/unlabeled", "")]
)
def test_unlabelled_folders_are_no_classes(folder: str, front: str, tmp_path: Path) -> None:
    """A folder of images without labels beside splits is skipped, and a remark says what can use it."""
    classes = ("cat", "dog")
    labelled = [f"{front}{s}/{c}/{n}.png" for s in ("train", "test") for c in classes for n in range(6)]
    root = lay_out(tmp_path / "pics", *labelled, *(f"{folder}/{n}.png" for n in range(30)))
    found = survey(root, tmp_path / "staged")
    assert found.classes == ["cat", "dog"]
    assert found.passed_over == {"image without a label": 30}
    assert found.count_rejects() == {}
    assert found.remarks[1] == (
        "30 images lie in a folder for images without labels, such as unlabeled or seg_pred, beside or in splits, "
        "and were skipped; name that folder in data.unlabelled to use them"
    )
    unlabelled = str(root / folder)
    followed = survey(root, tmp_path / "followed", unlabelled=[unlabelled])
    assert len(followed.unlabelled) == 30
    assert len(followed.remarks) == 1


def test_unlabelled_without_splits_is_class(tmp_path: Path) -> None:
    """Where no split lies beside it, a folder of any name is a class."""
    root = lay_out(tmp_path / "pics", "cat/1.png", "unlabeled/1.png")
    assert read_labels(root) == {"cat/1.png": "cat", "unlabeled/1.png": "unlabeled"}


def test_unlabelled_tables_need_no_labels(tmp_path: Path) -> None:
    """Where labels are ignored anyway, a table without any is read."""
    root = lay_out(tmp_path / "pics", *(f"{c}/{n}.png" for c in ("cat", "dog") for n in range(6)))
    table = pa.table({"image": [encode(photograph()) for _ in range(5)]})
    pq.write_table(table, tmp_path / "more.parquet")
    found = survey(root, tmp_path / "staged", unlabelled=[str(tmp_path / "more.parquet")])
    assert found.unlabelled["reason"].null_count == 5


def test_class_named_none_is_rejected(tmp_path: Path) -> None:
    """Rows labelled None count as rejected for that reason; once the class has another name, they are kept."""
    lay_out(tmp_path, *(f"{number}.png" for number in range(18)))
    for name, rejected in (("None", {"no class": 6}), ("class None", {})):
        lines = [f"{number}.png,{('cat', 'dog', name)[number % 3]}" for number in range(18)]
        (tmp_path / "list.csv").write_text("\n".join(["image,label", *lines]))
        found = survey(tmp_path / "list.csv", tmp_path / f"staged {name}", max_rejected=0.5)
        assert found.count_rejects() == rejected
        details = {row["detail"] for row in found.rejected.to_pylist()}
        assert all(detail.endswith("labelled None, which stands for a missing label") for detail in details)
    assert found.classes == ["cat", "class None", "dog"]


def test_comments_never_stop_a_run() -> None:
    """A file that begins like a plain map with hundreds of comments is judged at once, whatever follows them."""
    hostile = b"P6\n" + b"#\n" * 5000 + b"zzzz" * 20
    assert image_formats.find_format(hostile) is None
    assert image_formats.find_format(b"P6\n# GIMP\n#x 3\n 3 3\n255\n") == "PPM"


def test_stray_quote_swallows_no_rows(tmp_path: Path) -> None:
    """A quotation mark that is closed lines later is named with both lines."""
    rows = 'image,label\na.png,cat\n"b.png,cat\nc.png,dog\nd.png",dog\n'
    (tmp_path / "list.csv").write_text(rows)
    with pytest.raises(UserError, match=r"list\.csv: .*line 3 .*line 5"):
        label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig())


@pytest.mark.parametrize(
    "rows",
    [
        'image,label,caption\na.png,cat,x\nb.png,cat,"5 inch\nc.png,dog,x\nd.png,dog,"6 inch"\n',
        'image,label,caption\na.png,cat,x\nb.png,cat,"5 inch\nc.png,dog,x\nd.png,dog,x\n',
        'image,label,caption\na,cat,x\nb,cat,"5 inch\nc,dog,x\nd,dog,"6 inch"\n',
        'image,caption,label\na.png,x,cat\nb.png,"5 inch,cat\nc.png,x,dog\nd.png,"6 inch,dog\n',
    ],
)
def test_stray_quote_in_other_column_is_refused(tmp_path: Path, rows: str) -> None:
    """A stray quotation mark in a column that is not read swallows no rows either."""
    (tmp_path / "list.csv").write_text(rows)
    with pytest.raises(UserError, match=r"list\.csv: .*line 3 .*line 5"):
        label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig())


def test_captions_of_several_lines_are_passed_over(tmp_path: Path) -> None:
    """A quoted text of several lines in a column that is not read costs nothing."""
    (tmp_path / "list.csv").write_text('image,label,caption\na.png,cat,"old,\nbig, grey, wet\n"\nb.png,dog,x\n')
    rows = label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig()).rows
    assert [(row.image, row.label.name) for row in rows] == [("a.png", "cat"), ("b.png", "dog")]


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    """Two columns called label are refused, as either could be meant."""
    (tmp_path / "list.csv").write_text("image,label,label\na.png,cat,7\n")
    with pytest.raises(UserError, match="2 columns are called label"):
        label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig())


def test_old_line_ends_are_read(tmp_path: Path) -> None:
    """A table whose lines end in carriage returns alone is read."""
    (tmp_path / "list.csv").write_bytes(b"image,label\ra.png,cat\rb.png,dog\r")
    rows = label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig()).rows
    assert [(row.image, row.label.name) for row in rows] == [("a.png", "cat"), ("b.png", "dog")]


@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
def test_few_values_find_their_scale(tmp_path: Path, dtype: type) -> None:
    """Images whose samples fill little of their format are no single colour: the scale is found, or asked for."""
    rng = np.random.default_rng(0)
    top = 4095 if dtype is np.int32 else 127
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(8):
            Image.fromarray(rng.integers(0, top + 1, (32, 32)).astype(dtype)).save(tmp_path / label / f"{number}.tif")
    found = survey_without_storing(DataConfig(source=[str(tmp_path)]))
    assert len(found.usable) == 16
    assert found.value_range is not None
    assert found.value_range.high == (4095 if dtype is np.int32 else 255)


def test_class_without_images_is_named(tmp_path: Path) -> None:
    """A folder whose images are all rejected is named, as it is no class of the data set."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog", "bird"):
        (tmp_path / label).mkdir()
        for number in range(8):
            path = tmp_path / label / f"{number}.png"
            Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)).save(path)
            if label == "bird" and number < 7:
                path.unlink()
            elif label == "bird":
                path.write_bytes(path.read_bytes()[:60])
    found = survey_without_storing(DataConfig(source=[str(tmp_path)]))
    assert found.classes == ["cat", "dog"]
    assert any(re.search(r"no image of bird .*is not a class", remark) for remark in found.remarks)


def test_folders_of_versions_are_no_classes(tmp_path: Path) -> None:
    """Folders such as raw and cropped in each class say how its images were made: the class is the folder above."""
    files = [
        f"{label}/{version}/{n}.png" for label in ("cat", "dog") for version in ("raw", "cropped") for n in range(3)
    ]
    labels = FolderLabels(files)
    assert {labels.find_label(file).name for file in files} == {"cat", "dog"}


def test_classes_in_several_folders_are_told() -> None:
    """Where the same folders lie in several others, either could be the classes: a sentence says which are."""
    files = [f"{outer}/{inner}/{n}.png" for outer in ("cat", "dog") for inner in ("2020", "2021") for n in range(3)]
    labels = FolderLabels(files)
    (sentence,) = labels.describe_nesting()
    assert re.search(r"2020 and 2021 .* cat and dog, .*data\.label_from", sentence)
    assert FolderLabels(["train/cat/1.png", "test/cat/2.png", "train/dog/3.png"]).describe_nesting() == []


def test_unused_value_range_is_told(tmp_path: Path) -> None:
    """A value range that no image needs is told, as nothing comes of it."""
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(8):
            Image.fromarray(photograph()).save(tmp_path / label / f"{number}.png")
    found = survey_without_storing(DataConfig(source=[str(tmp_path)], value_range=[0.0, 100.0]))
    assert any("value_range is not used" in remark for remark in found.remarks)


def test_links_above_a_target_lead_back(tmp_path: Path) -> None:
    """A link in a link's target that leads to a parent of it is skipped: no image is read twice."""
    pool = tmp_path / "pool"
    for label in ("felines", "canines"):
        (pool / label).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(photograph()).save(pool / label / f"{number}.png")
    (pool / "felines" / "all").symlink_to("..")
    source = tmp_path / "source"
    source.mkdir()
    (source / "cat").symlink_to(pool / "felines")
    (source / "dog").symlink_to(pool / "canines")
    found = survey_without_storing(DataConfig(source=[str(source)]))
    assert found.classes == ["cat", "dog"]
    assert (len(found.usable), len(found.rejected)) == (12, 0)
    assert found.passed_over == {"link that leads back": 1}


def test_refusals_name_no_copy_as_example() -> None:
    """Copies are no trouble, so the image that a refusal names is one that cannot be used, however many copies are."""
    rejected = pa.table(
        {
            "path": ["copy1.png", "copy2.png", "copy3.png", "torn.png", "torn2.png"],
            "reason": ["duplicate"] * 3 + ["truncated or damaged"] * 2,
            "detail": ["the same as a.png"] * 3 + ["ends early"] * 2,
            "came_in": pa.array([None] * 5, pa.string()),
        }
    )
    with pytest.raises(UserError, match=r"torn\.png: ends early") as caught:
        refusals.refuse_many_rejects("here", 0.2, pa.table({"label": ["cat"]}), rejected)
    assert "copy1.png" not in str(caught.value)
