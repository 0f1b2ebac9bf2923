"""Paths are understood at one place: links, separators, names of archives, and how tables write them."""

from __future__ import annotations

import os
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganaug_ray.config import LabelFrom
from ganaug_ray.data import sources
from ganaug_ray.data.ingest.remarks import describe_similar_names
from ganaug_ray.data.sources import manifests
from ganaug_ray.data.sources.label_text import make_class_name, make_path_class
from ganaug_ray.data.sources.path_matching import PathIndex
from ganaug_ray.data.sources.raw import REMARK
from tests.helpers.labelled import lay_out, png, read, read_labels, zip_names

FOUR = ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")


def reasons(root: Path) -> dict[str, str]:
    """Each path that gives no picture -> the reason."""
    contents = {raw.path: raw.content for raw in read(root) if not isinstance(raw.content, bytes)}
    return {path: content.reason for path, content in contents.items() if content.reason != REMARK}


@pytest.mark.parametrize(
    "links",
    [
        {"cat/all": "..", "dog/all": ".."},
        {"cat/more": "../dog", "dog/more": "../cat"},
        {"cat/up": "../..", "dog/up": "../../.."},
        {"cat/self": ".", "here": "."},
    ],
)
def test_links_back_are_passed_over(links: dict[str, str], tmp_path: Path) -> None:
    """Links to folders that are read anyway, or that hold the source, add nothing, and each is named."""
    root = lay_out(tmp_path / "deep" / "pics", *FOUR)
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert reasons(root) == dict.fromkeys(links, "link that leads back")
    assert {raw.path for raw in read(root) if isinstance(raw.content, bytes)} == set(FOUR)


def test_link_to_class_beside_is_named(tmp_path: Path) -> None:
    """A link beside the class that it leads to is no class, and the remark names both."""
    root = lay_out(tmp_path / "pets", "cat/1.png", "dog/2.png")
    (root / "doggo").symlink_to("dog")
    (remark,) = (raw.content.detail for raw in read(root) if getattr(raw.content, "reason", "") == REMARK)
    assert remark.startswith("doggo is a link to dog, so its images are used once, as those of dog")


def test_outside_links_are_followed_once(tmp_path: Path) -> None:
    """A link to a folder elsewhere is followed, and a circle of links out there comes to an end."""
    lay_out(tmp_path / "store", "a/1.png", "b/2.png")
    (tmp_path / "store" / "a" / "next").symlink_to("../b")
    (tmp_path / "store" / "b" / "next").symlink_to("../a")
    root = lay_out(tmp_path / "pics", "dog/3.png")
    (root / "cat").symlink_to("../store/a")
    assert read_labels(root) == {
        "dog/3.png": "dog",
        "cat/1.png": "cat",
        "cat/next/2.png": "cat",
        "cat/next/next": "<link that leads back>",
    }


def test_links_to_nothing_are_rejected(tmp_path: Path) -> None:
    """A link whose target is missing, or that is its own target, is an image that cannot be read."""
    root = lay_out(tmp_path, *FOUR)
    (root / "dog" / "3.png").symlink_to("../gone/3.png")
    (root / "dog" / "4.png").symlink_to("4.png")
    assert reasons(root) == {"dog/3.png": "link to nothing", "dog/4.png": "link to nothing"}


def test_backslashes_separate_folder_names(tmp_path: Path) -> None:
    """Names with backslashes lie in folders, in an archive, in an unpacked folder and in a table."""
    archive = zip_names(tmp_path / "win.zip", "pets\\cat\\1.png", "pets\\dog\\2.png")
    assert read_labels(archive) == {"pets/cat/1.png": "cat", "pets/dog/2.png": "dog"}
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    (unpacked / "cat\\1.png").write_bytes(png(1))
    assert list(read_labels(unpacked).values()) == ["cat"]
    lay_out(tmp_path / "table", "cat/1.png")
    (tmp_path / "table" / "list.csv").write_text("image,label\ncat\\1.png,cat\n")
    assert read_labels(tmp_path / "table" / "list.csv") == {"cat/1.png": "cat"}


@pytest.mark.parametrize("name", ["photos #2.zip", "what?.zip", "50% off.zip", "a&b=c.zip"])
def test_marks_mean_nothing_in_paths(name: str, tmp_path: Path) -> None:
    """Marks that mean something in an address are letters in a path."""
    assert read_labels(zip_names(tmp_path / name, "cat/1.png")) == {"cat/1.png": "cat"}


def test_spaces_around_folders_are_ignored(tmp_path: Path) -> None:
    """Spaces at the end of a folder's name make no other class."""
    archive = zip_names(tmp_path / "a.zip", "cat /1.png", "cat/2.png")
    assert set(read_labels(archive).values()) == {"cat"}


@pytest.mark.parametrize("mark", ["\u200b", "\u200e", "\ufeff", "\u00ad", "\u200d"])
def test_invisible_marks_make_no_class(mark: str, tmp_path: Path) -> None:
    """A character that nobody sees makes no other class of a folder, nor of a cell."""
    assert set(read_labels(lay_out(tmp_path / "pics", "cat/1.png", f"cat{mark}/2.png")).values()) == {"cat"}
    lay_out(tmp_path, "1.png", "2.png")
    (tmp_path / "list.csv").write_text(f"image,label\n1.png,cat\n2.png,c{mark}at{mark}\n", encoding="utf-8")
    assert set(read_labels(tmp_path / "list.csv").values()) == {"cat"}


def test_joiners_between_letters_stay() -> None:
    """Joiners that are seen, in the letters that they shape, are part of a class's name."""
    for name in ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f469\u200d\U0001f33e"):
        assert make_class_name(name) == make_path_class(name) == name


def test_unicode_path_of_zip_is_used(tmp_path: Path) -> None:
    """Where an old archive has the name in UTF-8 beside, that is the name."""
    old = "Dürer/1.png".encode("cp437")  # as a program for DOS writes it
    extra = struct.pack("<BI", 1, zlib.crc32(old)) + "Dürer/1.png".encode()
    entry = zipfile.ZipInfo("Xxrer/1.png")
    entry.extra = struct.pack("<HH", 0x7075, len(extra)) + extra
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(entry, png(1))
    content = (tmp_path / "a.zip").read_bytes().replace(b"Xxrer", old[:5])
    (tmp_path / "a.zip").write_bytes(content)
    assert read_labels(tmp_path / "a.zip") == {"Dürer/1.png": "Dürer"}


def test_unknown_zip_encoding_is_noted(tmp_path: Path) -> None:
    """Names in an unknown encoding are a note, not a silent change."""
    name = "小狗/1.png".encode("gbk")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("wxyz/1.png", png(1))
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"wxyz/1.png", name))
    remark, image = read(tmp_path / "a.zip")
    assert remark.content.reason == "remark"
    assert remark.content.detail == (
        f"1 name, {image.path}, is in an unknown encoding, so classes may be misnamed; pack the archive "
        "again with UTF-8 names"
    )
    assert isinstance(image.content, bytes)


def test_chance_utf8_of_zip_is_not_trusted(tmp_path: Path) -> None:
    """Beside names that are no UTF-8 one that could be is of their encoding, and as uncertain."""
    names = {b"xx/1.png": "猫/1.png".encode("gbk"), b"wxyz/1.png": "小狗/1.png".encode("gbk")}
    archive = zip_names(tmp_path / "a.zip", *(name.decode() for name in names))
    content = archive.read_bytes()
    for plain, name in names.items():
        content = content.replace(plain, name)
    archive.write_bytes(content)
    remark, *images = read(archive)
    assert remark.content.detail.startswith("2 names, such as ")
    assert {image.path for image in images} == {name.decode("cp437") for name in names.values()}


@pytest.mark.parametrize("front", [b"", b"#!/bin/sh\n"])
def test_wrong_utf8_flag_costs_nothing(front: bytes, tmp_path: Path) -> None:
    """A name that is flagged as UTF-8 and is none is read as any of unknown encoding; the others stay as they are."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, name in enumerate(("Kätze/1.png", "Dürer/1.png", "dog/1.png")):
            archive.writestr(name, png(number))
    content = (tmp_path / "a.zip").read_bytes().replace("Kä".encode(), b"K\xe4z")
    (tmp_path / "a.zip").write_bytes(front + content)
    remark, *images = read(tmp_path / "a.zip")
    assert [image.path for image in images] == ["Dürer/1.png", "KΣztze/1.png", "dog/1.png"]
    assert [image.content for image in images] == [png(1), png(0), png(2)]
    assert remark.content.detail.startswith("1 name, KΣztze/1.png, is in an unknown encoding")


def test_similar_class_names_are_noted() -> None:
    """Classes whose names differ in case, spaces or a line alone are named."""
    (note,) = describe_similar_names(["Cat", "cat", "dog", "ice bear", "ice_bear"])
    assert note.startswith("Cat and cat; ice bear and ice_bear are two classes")
    assert describe_similar_names(["cat", "dog"]) == []


FILES = ("cat/1.jpg", "dog/1.jpg", "dog/2.jpg", "dog/2.json", "A.JPG", "Dürer.png", "deep/down/7")


@pytest.mark.parametrize(
    ("written", "files"),
    [
        ("cat/1.jpg", ["cat/1.jpg"]),
        ("images/cat/1.jpg", ["cat/1.jpg"]),
        ("C:\\data\\cat\\1.jpg", ["cat/1.jpg"]),
        ("/home/me/cat/1.jpg", ["cat/1.jpg"]),
        ("../cat/1.jpg", ["cat/1.jpg"]),
        ("./cat/1", ["cat/1.jpg"]),
        ("1.jpg", ["cat/1.jpg", "dog/1.jpg"]),
        ("2", ["dog/2.jpg"]),
        ("CAT/1.JPG", ["cat/1.jpg"]),
        ("a", ["A.JPG"]),
        ("Du\u0308rer.png", ["Dürer.png"]),
        ("down/7", ["deep/down/7"]),
        ("bird/1.jpg", []),
        ("3.jpg", []),
    ],
)
def test_table_paths_find_files(written: str, files: list[str]) -> None:
    """A path in a table finds the file it means; where it fits several, it finds all of them; another finds none."""
    assert sorted(PathIndex(FILES).find_files(written)) == files


def test_bare_names_never_guess(tmp_path: Path) -> None:
    """A bare name that two files have gives neither a label; a row with the whole path does."""
    root = lay_out(tmp_path / "pics", "a/1.png", "b/1.png", "b/2.png")
    (tmp_path / "labels.csv").write_text("image,label\n1.png,cat\n2.png,dog\n")
    by_table = LabelFrom(csv=str(tmp_path / "labels.csv"))
    conflict = "<label conflict>"
    assert read_labels(root, by_table) == {"a/1.png": conflict, "b/1.png": conflict, "b/2.png": "dog"}
    (tmp_path / "labels.csv").write_text("image,label\n1.png,cat\n2.png,dog\nb/1.png,dog\n")
    assert read_labels(root, by_table) == {"a/1.png": conflict, "b/1.png": "dog", "b/2.png": "dog"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_late_rows_find_decomposed_names(kind: str, tmp_path: Path) -> None:
    """A row whose path is spelled in another Unicode form finds its file, late in a table whose paths hold."""
    plain = [f"{number}.png" for number in range(40)]
    umlaut = unicodedata.normalize("NFD", "Dürer.png")
    root = lay_out(tmp_path, *plain, umlaut)
    names = [*plain, "Dürer.png"]
    table = root / f"list.{kind}"
    if kind == "csv":
        table.write_text("image,label\n" + "".join(f"{name},cat\n" for name in names))
    else:
        pq.write_table(pa.table({"image": names, "label": ["cat"] * len(names)}), table)
    contents = [raw.content for raw in read(table) if raw.label]
    assert contents == [(root / name).read_bytes() for name in (*plain, umlaut)]


def test_missing_files_take_no_others(tmp_path: Path) -> None:
    """A row whose file is gone does not get a file of the same name that another row means."""
    root = lay_out(tmp_path, "1.png", "2.png")
    (root / "list.csv").write_text("image,label\n1.png,cat\n2.png,cat\ndog/1.png,dog\n")
    assert read_labels(root / "list.csv") == {"1.png": "cat", "2.png": "cat", "dog/1.png": "<cannot be read>"}


def test_files_elsewhere_are_told(tmp_path: Path) -> None:
    """A path that is taken for a file of another folder is told, where other paths of the table hold."""
    root = lay_out(tmp_path, "1.png", "old/2.png")
    (root / "list.csv").write_text("image,label\n1.png,cat\n2.png,dog\n")
    remark, *images = read(root / "list.csv")
    assert [image.path for image in images] == ["1.png", "old/2.png"]
    assert "such as 2.png for old/2.png" in remark.content.detail


def test_addresses_of_files_are_paths(tmp_path: Path) -> None:
    """A table's file:///... is the path that it means."""
    root = lay_out(tmp_path / "a b", "1.png")
    (tmp_path / "list.csv").write_text(f"image,label\nfile://{tmp_path}/a%20b/1.png,cat\n")
    (image,) = read(tmp_path / "list.csv")
    assert (image.label, image.content) == ("cat", (root / "1.png").read_bytes())


@pytest.mark.parametrize("kind", ["manifest", "labels", "parquet"])
def test_encoded_paths_are_decoded(kind: str, tmp_path: Path) -> None:
    """A path with %20 for a space finds its file, with a remark, unless a file is called that."""
    root = lay_out(tmp_path / "pics", "a b.png", "c%20d.png", "c d.png")
    names = ["a%20b.png", "c%20d.png"]
    table = root / ("list.parquet" if kind == "parquet" else "list.csv")
    if kind == "parquet":
        pq.write_table(pa.table({"image": names, "label": ["cat", "dog"]}), table)
    else:
        table.write_text("image,label\n" + "".join(f"{name},{name[0]}\n" for name in names))
    rows = read(root, LabelFrom(csv=str(table))) if kind == "labels" else read(table)
    remarks = [row.content.detail for row in rows if getattr(row.content, "reason", "") == "remark"]
    assert remarks == [f"{table.name}: 1 path is written as in an address and decoded, such as a%20b.png for a b.png"]
    labelled = [row for row in rows if row.label]
    assert [row.content for row in labelled] == [(root / name).read_bytes() for name in ("a b.png", "c%20d.png")]


def test_strange_folders_stop_no_manifest(tmp_path: Path) -> None:
    """What else lies beside a table stops nothing as long as some of its paths hold; its lost file is rejected."""
    root = lay_out(tmp_path, "1.png")
    Path(os.fsdecode(os.fsencode(root) + b"/D\xfcrer.txt")).touch()  # no folder with such a name is read
    (root / "list.csv").write_text("image,label\n1.png,cat\n2.png,dog\n")
    assert read_labels(root / "list.csv") == {"1.png": "cat", "2.png": "<cannot be read>"}


def test_tables_that_hold_list_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a table is not walked where all paths are there as they are written."""
    root = lay_out(tmp_path, "1.png", "2.png")
    (root / "list.csv").write_text("image,label\n1.png,cat\n2.png,dog\n")
    monkeypatch.setattr(manifests, "walk_folder", lambda *_: pytest.fail("the folder was walked"))
    assert read_labels(root / "list.csv") == {"1.png": "cat", "2.png": "dog"}


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("pets/train/cat", "pets/test/cat"), ["train", "test"]),
        (("pets/cat", "pets/dog"), [None, None]),
        (("train/cat", "train/dog"), ["train", "train"]),
        (("pets/cat", "birds/validate"), [None, "val"]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("place", ["dev/list", "list"])
def test_folders_in_front_are_no_splits(
    place: str, kind: str, folders: tuple[str, ...], splits: list[str | None], tmp_path: Path
) -> None:
    """A folder that happens to be called dev, far above the images of a table of absolute paths, is no split."""
    files = [f"{folder}/{number}.png" for number, folder in enumerate(folders)]
    root = lay_out(tmp_path / "dev" / "work", *files)
    table = tmp_path / f"{place}.{kind}"
    rows = {"image": [f"{root}/{file}" for file in files], "label": ["cat", "dog"]}
    if kind == "csv":
        table.write_text("image,label\n" + "".join(f"{path},cat\n" for path in rows["image"]))
    else:
        pq.write_table(pa.table(rows), table)
    (part,) = sources.list_parts([str(table)], LabelFrom())
    assert [raw.split for raw in part()] == splits
    assert part.labelled_splits == {split or "" for split in splits}
