"""Refusals of inputs name the likely cause, and what they advise works."""

from __future__ import annotations

import base64
import errno
import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganaug_ray.config import ColumnsConfig, DataConfig, LabelFrom
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.data.sources import label_files, listing_tables
from ganaug_ray.data.sources.labels import FileLabels
from ganaug_ray.errors import UserError
from tests.helpers.image_files import encode, png16
from tests.helpers.labelled import lay_out, png, read, zip_names


def refuse(source: Path, **settings: object) -> str:
    with pytest.raises(UserError) as refusal:
        survey_without_storing(DataConfig(source=[str(source)], **settings))
    return str(refusal.value)


@pytest.mark.parametrize("tables", [["metadata.csv", "more.csv"], ["metadata.csv", "more.jsonl"]])
def test_table_beside_images_is_suggested(tables: list[str], tmp_path: Path) -> None:
    """Images without class folders beside two tables are refused with the setting that reads one; it works."""
    names = [f"{number}.png" for number in range(16)]
    root = lay_out(tmp_path / "cats, {dogs} #1", *names)
    classes = {name: "cat" if number % 2 else "dog" for number, name in enumerate(names)}
    for table in tables:
        if table.endswith(".jsonl"):
            lines = [json.dumps({"image": name, "label": label}) for name, label in classes.items()]
        else:
            lines = ["image,label", *(f"{name},{label}" for name, label in classes.items())]
        (root / table).write_text("\n".join(lines))
    advice = re.search(r"set data\.label_from: (\{.*\})", refuse(root))
    assert advice is not None
    label_from = LabelFrom.model_validate(parse_yaml(advice[1], "the advice"))
    found = survey_without_storing(DataConfig(source=[str(root)], label_from=label_from))
    assert found.classes == ["cat", "dog"]


def test_suggested_table_keeps_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an object store the address of the suggested table has the query that the source's has, at its end."""
    for module in (listing_tables, label_files):
        monkeypatch.setattr(module, "is_small_file", lambda *given: False)  # asks the store, which is not there
    labels = FileLabels(LabelFrom(), ColumnsConfig(), ["1.png", "t.csv"], "s3://pics/a?region=eu-west-1")
    objection = labels.find_label("1.png").objection
    assert objection is not None
    assert "s3://pics/a/t.csv?region=eu-west-1" in objection[1]


def test_tables_in_doubt_are_named(tmp_path: Path) -> None:
    """Of several tables that list images none is taken for that of the labels unasked; the one that is set is."""
    names = [f"{number}.png" for number in range(16)]
    root = lay_out(tmp_path / "pets", *names)
    for table, words in (("a.csv", ("cat", "dog")), ("b.csv", ("big", "small"))):
        rows = [f"{name},{words[number % 2]}" for number, name in enumerate(names)]
        (root / table).write_text("\n".join(["image,label", *rows]))
    message = refuse(root)
    assert "a.csv and b.csv list images" in message
    assert list_followed_classes(root, message) == ["cat", "dog"]


def list_followed_classes(root: Path, message: str) -> list[str]:
    """List the classes of a folder with the settings that a message advises."""
    settings = {
        key: parse_yaml(text, "the advice")
        for key, text in re.findall(r"data\.(label_from|columns): (\{[^}]*\})", message)
    }
    config = DataConfig.model_validate({"source": [str(root)], "image_size": 16, **settings})
    return survey_without_storing(config).classes


def test_saved_arrow_folder_is_named(tmp_path: Path) -> None:
    """Arrow files without what names them are refused with what to write instead, not as broken images."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "data-00000-of-00001.arrow").write_bytes(b"{}")
    assert re.search(r"no state\.json, which save_to_disk", refuse(tmp_path))
    (tmp_path / "train" / "state.json").write_bytes(b"{}")
    assert "train/state.json is not a file that datasets wrote" in refuse(tmp_path)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparent_image_is_named(dtype: type, tmp_path: Path) -> None:
    """An image that shows nothing since all of it is transparent is rejected with that as its cause."""
    root = lay_out(tmp_path, *(f"{label}/{number}.png" for label in ("cat", "dog") for number in range(8)))
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (16, 16, 4)).astype(dtype)
    pixels[..., 3] = 0
    (root / "cat" / "clear.png").write_bytes(encode(pixels, "PNG") if dtype is np.uint8 else png16(pixels))
    (row,) = survey_without_storing(DataConfig(source=[str(root)])).rejected.to_pylist()
    assert (row["path"], row["reason"]) == ("cat/clear.png", "single colour")
    assert "fully transparent" in row["detail"]


def test_forbidden_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be read is named, wherever in the source it lies."""
    root = lay_out(tmp_path, "cat/1.png", "dog/1.png")
    scandir = os.scandir

    def scan(folder: Path) -> object:
        if Path(folder).name == "dog":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(UserError, match=re.escape(f"{root}/dog") + r".*right to read"):
        read(root)


def test_forbidden_hidden_folder_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hidden folder that may not be read is skipped as one that may hold images, not without a word."""
    root = lay_out(tmp_path, *(f"{label}/{number}.png" for label in ("cat", "dog") for number in range(6)))
    (root / ".new").mkdir()
    scandir = os.scandir

    def scan(folder: Path) -> object:
        if str(folder).endswith(".new"):  # it may be a number too
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    found = survey_without_storing(DataConfig(source=[str(root)]))
    assert found.passed_over == {"hidden file or folder": 1}


@pytest.mark.parametrize("name", ["list.csv", "pets.zip", "pets.tar", "pets.parquet"])
def test_forbidden_file_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is one file which may not be read is refused by its name."""
    (tmp_path / name).write_bytes(b"x")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=f"{name}: cannot be read"):
        read(tmp_path / name)


def test_values_beyond_set_scale_are_told(tmp_path: Path) -> None:
    """Images that a wrong value range makes one colour are refused with the values that they have."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(4):
            pixels = rng.integers(300, 4001, (16, 16)).astype(np.uint16)
            pixels[0, :2] = 300, 4000
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    assert re.search(r"300 to 4000.*data\.value_range", refuse(tmp_path, value_range=[0.0, 1.0]))


def test_base64_in_tables_is_named(tmp_path: Path) -> None:
    """Images as text in a table are called that, and their text is not repeated."""
    cells = [base64.b64encode(png(number)).decode() for number in range(4)]
    pq.write_table(pa.table({"image": cells, "label": ["cat", "dog"] * 2}), tmp_path / "rows.parquet")
    message = refuse(tmp_path / "rows.parquet")
    assert re.search(r"iVBORw0KGgo\S*… is an image in base64; write its bytes", message)
    assert len(message) < 400


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cat/{}.npy", "dog/{}.npy"], "cat/0.npy: holds arrays, which are not read; save each image as a PNG file"),
        (["readme-{}.md", "cat/{}.pt"], "cat/0.pt: holds arrays, which are not read"),
        (["cat/{}.mp4", "dog/{}.MOV"], "cat/0.mp4: is a video, which is not read; save its frames as images"),
        (
            ["{}-train-images-idx3-ubyte"],
            "0-train-images-idx3-ubyte: is in the file format of MNIST; give idx: and its",
        ),
        (["data_batch_{}"], "data_batch_0: is in the file format of CIFAR; give torchvision:CIFAR10"),
    ],
)
def test_folder_of_other_data_names_a_way(names: list[str], words: str, tmp_path: Path) -> None:
    """A folder of arrays, videos or other programs' files is refused with what to give in its place."""
    for name in names:
        for number in range(3):
            path = tmp_path / name.format(number)
            path.parent.mkdir(exist_ok=True)
            np.save(path.open("wb"), np.full((8, 8), number))
    assert words in refuse(tmp_path)


@pytest.mark.parametrize("way", ["save each image as a PNG file", "write the files' bytes into a Parquet table"])
def test_advice_for_arrays_works(way: str, tmp_path: Path) -> None:
    """A folder of arrays is read once its arrays are PNG files, or rows of a Parquet table, as the message says."""
    rng = np.random.default_rng(0)
    rows = []
    for label in ("cat", "dog"):
        for number in range(16):
            array = rng.integers(0, 256, (16, 16, 3), np.uint8)
            path = tmp_path / "in" / label / f"{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array)
            rows.append({"image": encode(Image.fromarray(array), "PNG"), "label": label})
    assert way in refuse(tmp_path / "in")
    source = tmp_path / "in"
    if "Parquet" in way:
        source = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist(rows), source)
    else:
        for path in source.rglob("*.npy"):
            Image.fromarray(np.load(path)).save(path.with_suffix(".png"))
    found = survey_without_storing(DataConfig(source=[str(source)]))
    assert (found.classes, len(found.usable), found.rejected.num_rows) == (["cat", "dog"], 32, 0)


def test_advice_for_mnist_files_works(tmp_path: Path) -> None:
    """A folder with MNIST's files is read once idx: stands before it, as the message says."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    labels = np.arange(40, dtype=np.uint8) % 2
    header = b"\0\0\x08"
    sides = [np.array(shape, ">u4").tobytes() for shape in ([40, 8, 8], [40])]
    (tmp_path / "train-images-idx3-ubyte").write_bytes(header + b"\3" + sides[0] + images.tobytes())
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(header + b"\1" + sides[1] + labels.tobytes())
    assert "give idx: and its folder, such as idx:FOLDER" in refuse(tmp_path)
    found = survey_without_storing(DataConfig(source=[f"idx:{tmp_path}"]))
    assert (found.classes, len(found.usable)) == (["0", "1"], 40)


def test_arrays_beside_images_are_sidecars(tmp_path: Path) -> None:
    """Files of arrays beside images are skipped, and the images are used."""
    root = lay_out(tmp_path, *(f"{label}/{number}.png" for label in ("cat", "dog") for number in range(16)))
    np.save(root / "cat" / "features.npy", np.zeros((8, 8)))
    found = survey_without_storing(DataConfig(source=[str(root)]))
    assert (len(found.usable), found.passed_over) == (32, {"sidecar file": 1})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("1.png", "give the folder that it lies in"),
        ("list.XLSX", "save the table as .csv"),
        ("list.json", "with the suffix .jsonl"),
        ("list.csv.gz", "unpack it"),
        ("pets.tar.xz", "pack it as .zip or .tar.gz"),
        ("pets.npz", "holds arrays, which are not read; save each image as a PNG file"),
        ("train-images-idx3-ubyte.gz", "give idx: and its folder"),
        ("pets.bin", "`ganaug explain data.source`"),
    ],
)
def test_files_of_other_kinds_name_a_way(name: str, words: str, tmp_path: Path) -> None:
    """A file that is no source is refused with what to give in its place."""
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=re.escape(words)):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("labels.xlsx", b"PK\3\4\x80\xff\0", "is of a kind that is not read; save the table as .csv"),
        ("labels.csv.gz", b"\x1f\x8b\x08\0\0", "is of a kind that is not read; unpack it"),
        ("labels.csv", "image,label\n1.png,Kätzchen\n".encode("latin-1"), "is text, but not in UTF-8; save it as"),
        (
            "labels.json",
            b'{"images": [{"id": 1}], "annotations": [], "categories": []}',
            "annotations in COCO's format",
        ),
        ("coco.json", b'{\n "images": [],\n "annotations": []\n}', "write a line for each image"),
        ("labels.csv", b"PK\3\4\x14\0", "is an Excel workbook or an archive, whatever its name; save"),
        ("labels.csv", b"PAR1\x15\0", "is a Parquet file; rename it with the suffix .parquet"),
        (
            "labels.json",
            b'{"1.png": "cat", "2.png": "dog"}',
            "1.png seems to be an image; give each image a row",
        ),
    ],
)
def test_unread_tables_name_a_way(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    """A table of labels in a form that is not read is refused with what to do."""
    (tmp_path / name).write_bytes(content)
    assert words in refuse(lay_out(tmp_path / "in", "1.png"), label_from=LabelFrom(csv=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.zip", b"", "it is empty; download or copy it again"),
        ("a.zip", b"<!DOCTYPE html><html>", "it is HTML or XML, such as a page that asks to log in"),
        ("a.zip", b"PK\3\4" + bytes(80), "its end is missing, and with it the list of its files"),
        ("a.tar.gz", b"\n<html><body>Sign in</body></html>", "it is HTML or XML, such as a page that asks to log in"),
        ("a.tar", b"", "it is empty; download or copy it again"),
        ("a.tar", b"PK\3\4" + bytes(80), "it is a zip archive; rename it with the suffix .zip"),
        ("a", b"PK\3\4" + bytes(80), "it is a zip archive; rename it with the suffix .zip"),
        ("a.zip", b"PK\5\6" + bytes(18), "it is an archive without files"),
        ("a.zip", b"\x1f\x8b" + bytes(80), "rename it with the suffix .tar or .tar.gz"),
        ("a.tar", b"BZh9" + bytes(80), "it is compressed by bzip2; unpack it, or pack it as .zip or .tar.gz"),
    ],
)
def test_files_that_are_no_archives_are_named(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    """A file that is no archive, whatever its name, is called what it is."""
    (tmp_path / name).write_bytes(content)
    assert words in refuse(tmp_path / name)


def test_class_files_of_webdataset_are_named(tmp_path: Path) -> None:
    """Images without folders beside files with their classes are refused with the name of one of these."""
    lay_out(tmp_path, "00000.png", "00001.png")
    for number in range(2):
        (tmp_path / f"0000{number}.cls").write_text(str(number))
    assert "00000.cls seems to hold its class, as in shards of WebDataset, and is not read" in refuse(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (base64.b64encode(png(1)), "PNG in base64; decode it, and write the bytes"),
        (b"data:image/png;base64," + base64.b64encode(png(1)), "a data: URI; decode what follows its comma"),
        (gzip.compress(png(1)), "gzip data; unpack it"),
    ],
)
def test_wrapped_images_are_named(content: bytes, words: str, tmp_path: Path) -> None:
    """An image that was written as text or packed is rejected with what to do."""
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(content)
    assert words in refuse(tmp_path)


def test_folders_called_as_kinds_are_renamed(tmp_path: Path) -> None:
    """Where all folders are called as kinds of images, the refusal says to rename one, and following it works."""
    root = lay_out(tmp_path, *(f"{name}/{number}.png" for name in ("original", "augmented") for number in range(8)))
    advice = re.search(r"lies in (\w+), .* if it is one, rename it, such as to (.*)$", refuse(root))
    assert advice
    (root / advice[1]).rename(root / advice[2])
    assert len(survey_without_storing(DataConfig(source=[str(root)])).classes) == 2


def test_sources_that_are_classes_go_into_one_folder(tmp_path: Path) -> None:
    """Sources that are a class each are refused with the way to give them, and following it works."""
    root = lay_out(tmp_path / "pets", *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(8)))
    with pytest.raises(UserError, match="if each source is a class, give the folder above them"):
        survey_without_storing(DataConfig(source=[str(root / "cat"), str(root / "dog")]))
    assert survey_without_storing(DataConfig(source=[str(root)])).classes == ["cat", "dog"]


def test_archives_that_are_classes_go_into_one(tmp_path: Path) -> None:
    """Archives that are a class each are refused with the way to give them, named in a list or in their folder."""
    advice = "is a class, pack one archive with a folder for each of them"
    archives = [zip_names(tmp_path / f"{name}.zip", "1.png", "2.png") for name in ("cat", "dog")]
    assert advice in refuse(tmp_path)
    with pytest.raises(UserError, match=advice):
        survey_without_storing(DataConfig(source=[str(archive) for archive in archives]))
    names = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(8)]
    assert survey_without_storing(DataConfig(source=[str(zip_names(tmp_path / "pets.zip", *names))])).classes


@pytest.mark.parametrize("suffix", ["parq", "pq", "bin"])
def test_parquet_files_get_their_suffix(suffix: str, tmp_path: Path) -> None:
    """A Parquet file of another suffix is called one, by itself and in a folder; with the suffix it is read."""
    file = tmp_path / f"rows.{suffix}"
    rows = [{"image": png(number), "label": "cat" if number % 2 else "dog"} for number in range(32)]
    pq.write_table(pa.Table.from_pylist(rows), file)
    for source in (file, tmp_path):
        assert "a Parquet file; rename it with the suffix .parquet" in refuse(source)
    named = file.rename(file.with_suffix(".parquet"))
    for source in (named, tmp_path):
        assert survey_without_storing(DataConfig(source=[str(source)])).classes == ["cat", "dog"]


@pytest.mark.parametrize("form", ["{}.{}.png", "{}_{}.png", "{}{}.png", "photos/{} ({}).png", "train/{}-{}.png"])
def test_classes_in_names_are_taken(form: str, tmp_path: Path) -> None:
    """Images without class folders whose names begin with their classes are refused with the setting for these."""
    names = ("cat", "black_dog")
    lay_out(tmp_path, *(form.format(name, number) for name in names for number in range(16)))
    advice = re.search(r"set data\.label_from: (\{.*\})", refuse(tmp_path))
    assert advice is not None
    label_from = LabelFrom.model_validate(parse_yaml(advice[1], "the advice"))
    found = survey_without_storing(DataConfig(source=[str(tmp_path)], label_from=label_from))
    assert (found.classes, len(found.usable)) == (["black_dog", "cat"], 32)


def test_names_without_classes_advise_nothing(tmp_path: Path) -> None:
    """Names that differ in each image, and those of one camera, are not taken for classes; a table goes first."""
    root = lay_out(tmp_path / "table", *(f"{name}{number}.png" for name in ("cat", "dog") for number in range(16)))
    (root / "t.csv").write_text("image,label\ncat1.png,young\n")
    assert "regex" not in refuse(root)
    letters = [f"{chr(97 + number)}x1.png" for number in range(16)]
    assert "regex" not in refuse(lay_out(tmp_path / "letters", *letters))
    assert "regex" not in refuse(lay_out(tmp_path / "camera", *(f"IMG_{number}.png" for number in range(16))))


@pytest.mark.parametrize("way", ["table", "labels", "parquet"])
def test_other_suffix_of_an_image_is_named(way: str, tmp_path: Path) -> None:
    """A refusal of a table whose images have another suffix names one that is there; with its suffix they are read."""
    root = lay_out(tmp_path / "in", *(f"im/{number}.png" for number in range(32)))

    def write_table(suffix: str) -> dict[str, Any]:
        rows = [{"image": f"im/{n}.{suffix}", "label": "cat" if n % 2 else "dog"} for n in range(32)]
        if way == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), root / "t.parquet")
            return {"source": [str(root / "t.parquet")]}
        (root / "t.csv").write_text("\n".join(["image,label", *(f"{row['image']},{row['label']}" for row in rows)]))
        if way == "table":
            return {"source": [str(root / "t.csv")]}
        return {"source": [str(root)], "label_from": LabelFrom(csv=str(root / "t.csv"))}

    with pytest.raises(UserError, match=r"there with another suffix, such as im/0\.png for im/0\.jpeg; write the suff"):
        survey_without_storing(DataConfig(**write_table("jpeg")))
    assert survey_without_storing(DataConfig(**write_table("png"))).classes == ["cat", "dog"]


def test_small_classes_name_outer_folders(tmp_path: Path) -> None:
    """Classes that are too small since they lie in the folders that are meant are refused with that cause."""
    paths = [f"{name}/patient{n % 8}{name}/images/{n}.png" for name in ("cat", "dog") for n in range(16)]
    words = r"has 2 usable images.*; patient0cat and patient0dog lie in several folders, such as cat and dog, and are"
    assert re.search(words, refuse(lay_out(tmp_path, *paths)))
