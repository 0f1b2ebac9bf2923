"""Inputs of whole kinds that were rejected with a false reason, or changed labels, splits or pixels without a word."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganaug_ray.config import ColumnsConfig, DataConfig, LabelFrom
from ganaug_ray.data import images
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.data.sources import count_images, list_parts
from ganaug_ray.data.sources.folder_labels import FolderLabels
from ganaug_ray.data.sources.labels import FileLabels
from ganaug_ray.data.sources.raw import REMARK
from ganaug_ray.errors import UserError
from tests.helpers.labelled import lay_out, png, read, read_labels, zip_names


def list_remarks(source: Path, label_from: LabelFrom | None = None) -> list[str]:
    contents = [raw.content for raw in read(source, label_from)]
    return [error.detail for error in contents if isinstance(error, UnreadableError) and error.reason == REMARK]


@pytest.mark.parametrize("other", ["Cat", "CAT"])
def test_spellings_across_splits_are_one_class(other: str) -> None:
    """Class folders whose names differ by case, each in a split of its own, are one class, and a remark says so."""
    labels = FolderLabels(["train/cat/1.png", f"test/{other}/2.png", "train/dog/3.png", "test/dog/4.png"])
    label = labels.find_label(f"test/{other}/2.png")
    assert (label.name, label.split) == ("cat", "test")
    (remark,) = labels.describe_spellings()
    assert remark.startswith(f"{other} and cat, which lie in different splits, are taken for one class, cat")


def test_spellings_in_one_split_stay_two() -> None:
    """Where one split has both spellings they are two classes."""
    labels = FolderLabels(["train/cat/1.png", "train/Cat/2.png", "test/Cat/3.png"])
    assert labels.find_label("test/Cat/3.png").name == "Cat"
    assert labels.describe_spellings() == []


def test_contradicted_folder_split_is_remarked(tmp_path: Path) -> None:
    """A table whose splits are not those of the folders is told, in all ways in which a table gives labels."""
    names = [f"{split}/{number}.png" for split in ("train", "test") for number in range(4)]
    root = lay_out(tmp_path, *names)
    rows = [(name, "cat" if number % 2 else "dog", "test") for number, name in enumerate(names)]
    (root / "list.csv").write_text("image,label,split\n" + "\n".join(map(",".join, rows)))
    pq.write_table(pa.Table.from_pylist([dict(zip(("image", "label", "split"), row, strict=True)) for row in rows]),
                   root / "list.parquet")  # fmt: skip
    expected = "4 images lie in a folder of another split than the table gives, such as train/0.png in train with test"
    assert any(expected in remark for remark in list_remarks(root / "list.csv"))
    assert any(expected in remark for remark in list_remarks(root / "list.parquet"))
    (root / "list.parquet").unlink()
    assert any(expected in remark for remark in list_remarks(root, LabelFrom(csv=str(root / "list.csv"))))


def test_image_in_two_splits_is_in_the_last(tmp_path: Path) -> None:
    """An image that a table puts into train and test is one of test, and a remark says so."""
    (tmp_path / "t.csv").write_text("image,label,split\n1.png,cat,train\n1.png,cat,test\n2.png,dog,train\n")
    labels = FileLabels(LabelFrom(csv=str(tmp_path / "t.csv")), ColumnsConfig(), ["1.png", "2.png"])
    assert (labels.find_label("1.png").name, labels.find_label("1.png").split) == ("cat", "test")
    assert (
        "t.csv: 1 image is in several splits, such as 1.png, and is used only in the last of train, val and test"
        in (labels.remarks)
    )


@pytest.mark.parametrize(
    ("image", "mask"),
    [("photos/cat.1.jpg", "masks/cat.1.png"), ("pics/cat.1.jpg", "masks/cat.1_mask.png"), ("cat.1.jpg", "gt/cat.1.png"),
     ("a/images/cat.1.jpg", "a/labels/cat.1.png")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["regex", "table", "metadata"])
def test_masks_are_not_labelled(image: str, mask: str, kind: str, tmp_path: Path) -> None:
    """Masks in a folder beside images are skipped where names or a table have the labels."""
    paths = [path.replace("1", str(number)) for path in (image, mask) for number in range(2)]
    root = lay_out(tmp_path / "in", *paths)
    label_from = LabelFrom(regex="^(?P<label>cat)")
    if kind != "regex":
        table = tmp_path / "t.csv" if kind == "table" else root / "metadata.csv"
        column = "image" if kind == "table" else "file_name"
        table.write_text(f"{column},label\ncat.0,cat\ncat.1,cat\n")
        label_from = LabelFrom(csv=str(table)) if kind == "table" else LabelFrom()
    labels = read_labels(root, label_from)
    assert {path: labels[path] for path in paths} == {
        path: "cat" if path.endswith("jpg") else "<sidecar file>" for path in paths
    }
    assert count_images(list_parts([str(root)], label_from)) == 2


def test_masks_that_a_table_names_are_images(tmp_path: Path) -> None:
    """A table whose rows name the masks themselves labels these."""
    root = lay_out(tmp_path / "in", "images/1.jpg", "masks/1.png")
    (tmp_path / "t.csv").write_text("image,label\nmasks/1.png,cat\n")
    labels = read_labels(root, LabelFrom(csv=str(tmp_path / "t.csv")))
    assert labels == {"images/1.jpg": "<no class>", "masks/1.png": "cat"}


def write_shard(path: Path, labels: list[object], names: list[str] | None) -> None:
    path.parent.mkdir(exist_ok=True)
    table = pa.table({"image": [{"bytes": png(hash((path.name, number)) % 9999)} for number in range(len(labels))],
                      "label": labels})  # fmt: skip
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


def test_shards_share_class_names(tmp_path: Path) -> None:
    """Numbers in a shard without names have the names of the other shards; a remark says so."""
    write_shard(tmp_path / "d" / "0.parquet", [0, 1], ["cat", "dog"])
    write_shard(tmp_path / "d" / "1.parquet", [1, 0], None)
    write_shard(tmp_path / "d" / "2.parquet", ["cat", "dog"], None)
    assert list(read_labels(tmp_path / "d").values()) == ["cat", "dog", "dog", "cat", "cat", "dog"]
    assert [remark for remark in list_remarks(tmp_path / "d") if "1.parquet" in remark]


def test_shards_with_different_names_are_refused(tmp_path: Path) -> None:
    """Numbers without names beside shards that name them differently are refused."""
    write_shard(tmp_path / "d" / "0.parquet", [0, 1], ["cat", "dog"])
    write_shard(tmp_path / "d" / "1.parquet", [0, 1], ["dog", "cat"])
    write_shard(tmp_path / "d" / "2.parquet", [0, 1], None)
    with pytest.raises(UserError, match=r"2\.parquet: column label has numbers without names"):
        read(tmp_path / "d")


@pytest.mark.parametrize(
    "suffix", [".pgw", ".JGW", ".tfw", ".MOV", ".mp4", ".png.aux.xml", ".xmp", ".png.xmp", ".THM", ".pp3"]
)
def test_files_called_as_an_image_are_passed_over(suffix: str, tmp_path: Path) -> None:
    """What is called as an image beside it is counted as a sidecar, and the counts add up."""
    root = lay_out(tmp_path, *(f"{label}/{number}.png" for label in ("cat", "dog") for number in range(8)))
    for path in list(root.rglob("*.png")):
        path.with_suffix(suffix).write_bytes(b"\0\0\0\x14ftypqt  ")
    found = survey_without_storing(DataConfig(source=[str(root)]))
    assert (len(found.usable), len(found.rejected), found.passed_over) == (16, 0, {"sidecar file": 16})
    for label_from in (LabelFrom(), None):
        assert count_images(list_parts([str(root)], label_from)) == 16


def test_image_of_unknown_suffix_is_kept(tmp_path: Path) -> None:
    """A file of an unknown suffix that is an image is one, also beside another of its name; one alone is rejected."""
    root = lay_out(tmp_path, "cat/1.png", "cat/1.weird", "cat/2.weird")
    (root / "cat" / "3.strange").write_bytes(b"\0\0\0\x14ftypqt  ")
    found = read(root)
    assert [raw.is_beside for raw in found] == [False, True, False, False]
    assert images.decode(found[1].content).format == "PNG"


@pytest.mark.parametrize("content", [b"<!---->" * 80, b"<!-- -->" * 64, b" " * 600, b"<!--" * 150])
def test_text_like_a_drawing_is_told_at_once(content: bytes) -> None:
    """Comments in front of a drawing can be many; a file of nothing else must not be looked at for ever."""
    with pytest.raises(images.UnreadableError, match="not an image"):
        images.decode(content)


def save(kind: str, mode: str = "RGB") -> bytes:
    sink = io.BytesIO()
    Image.new(mode, (8, 8)).save(sink, kind)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n\0", "PAM"),
        (b"qoif" + bytes(20), "QOI"),
        (b"PF\n2 2\n-1.0\n" + bytes(48), "PFM with colours"),
        (b"\xff\xd8\xff\xf7\0\x0b\x08" + bytes(20), "JPEG-LS"),
        (b"II\xbc\x01\x20\0\0\0" + bytes(20), "JPEG XR"),
        (b"MM\0\x2b\0\x08\0\0" + bytes(20), "BigTIFF in big-endian order"),
        (save("PCX"), "PCX"),
        (save("SGI"), "SGI"),
        (save("BLP", "P"), "BLP"),
        (save("DIB"), "DIB"),
        (save("IM"), "IM"),
        (save("SPIDER", "F"), "SPIDER"),
        (save("TGA"), "TGA"),
        (struct.pack(">7f", 1, 8, 8, 0, 1, 0, 0) + bytes(20), "SPIDER"),
        (b"\0\0\2\0\1\0\x20\x20" + bytes(20), "CUR"),
        (b"\x80\0\0\0\x11\xaf\1\0\x40\1\xc8\0\x08\0\3\0" + bytes(20), "FLI or FLC animation"),
        (b"\x80\0\0\0\x12\xaf\1\0\x40\1\xc8\0\x08\0\3\0" + bytes(20), "FLI or FLC animation"),
        (struct.pack(">5I", 30, 2, 8, 8, 1) + b"GIMP\0\0\0\x0abrush", "GIMP brush"),
        (struct.pack(">5I", 26, 1, 8, 8, 1) + b"brush\0", "GIMP brush"),
        (b"\x8aMNG\r\n\x1a\n" + bytes(20), "MNG"),
        (b"\x8bJNG\r\n\x1a\n" + bytes(20), "JNG"),
        (b"BPG\xfb\x20\0\x08\x08", "BPG"),
        (b"FLIF31" + bytes(20), "FLIF"),
        (b"AT&TFORM\0\0\1\0DJVUINFO", "DjVu"),
        (b'<?xml version="1.0"?>\n<!-- a -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"8BPS\0\1" + bytes(20), "Photoshop"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\4CgBI\x50\0\x20\2", "PNG as Apple's Xcode writes for iOS"),
        (b"FUJIFILMCCD-RAW 0201", "RAF camera raw; develop it"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "CR2 camera raw; develop it"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1", "CR3 camera raw; develop it"),
    ],
)
def test_other_formats_are_named(content: bytes, name: str) -> None:
    """Formats that are known and not read are called what they are, with what to do."""
    with pytest.raises(UnreadableError) as refusal:
        images.decode(content)
    assert refusal.value.reason == "unsupported format"
    assert refusal.value.detail.startswith(name)
    assert "save it as PNG" in refusal.value.detail


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"%PDF-1.7\n1 0 obj\n", "PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS drawing"),
        (b"\xc5\xd0\xd3\xc6" + bytes(28), "EPS drawing"),
        (b"%!PS-Adobe-3.0\n", "PostScript document"),
    ],
)
def test_documents_are_named(content: bytes, name: str) -> None:
    """Documents and drawings that hold images are called what they are, with what to do."""
    with pytest.raises(UnreadableError) as refusal:
        images.decode(content)
    assert refusal.value.reason == "unsupported format"
    assert refusal.value.detail == f"{name}; convert it to PNG or JPEG"


def make_tiff(extra: dict[int, object], pages: int = 1) -> bytes:
    sink = io.BytesIO()
    page = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    page.save(sink, "TIFF", tiffinfo=extra, save_all=True, append_images=[page] * (pages - 1))
    return sink.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (make_tiff({50706: b"\1\4\0\0"}), "DNG camera raw"),
        (make_tiff({254: 1}, pages=2), "camera raw, or another TIFF file with a preview in front"),
    ],
)
def test_preview_in_camera_file_is_not_kept(content: bytes, name: str) -> None:
    """A camera's file whose first image is a preview is rejected, and the preview is not kept in its place."""
    with pytest.raises(UnreadableError) as refusal:
        images.decode(content)
    assert refusal.value.detail.startswith(name)


def test_plain_tiff_is_kept() -> None:
    """A TIFF file without a preview is decoded, of one page or several."""
    assert images.decode(make_tiff({})).format == "TIFF"
    assert images.decode(make_tiff({254: 2}, pages=2)).format == "TIFF"


@pytest.mark.parametrize(
    ("header", "image"),
    [("ImageId,Label", "1"), ("Image ID;class-label", "1.png"), ("id,breed", "1"), ("image_url,class_label", "1.png"),
     ("imageName,ClassName", "1.png")],
)  # fmt: skip
def test_usual_headers_are_understood(header: str, image: str, tmp_path: Path) -> None:
    """Columns are found by their usual names in whatever spelling; ids stand for files without a suffix."""
    root = lay_out(tmp_path, "1.png", "2.png")
    separator = ";" if ";" in header else ","
    rows = [f"{image}{separator}cat", f"{image.replace('1', '2')}{separator}dog"]
    (root / "t.csv").write_text("\n".join([header, *rows]))
    assert read_labels(root / "t.csv") == {"1.png": "cat", "2.png": "dog"}


def test_columns_that_differ_by_separators_stay_two(tmp_path: Path) -> None:
    """Columns that are set are those of exactly these names."""
    (tmp_path / "t.csv").write_text("image,b1,b_1\n1.png,0,1\n")
    labels = FileLabels(LabelFrom(csv=str(tmp_path / "t.csv")), ColumnsConfig(label=["b1", "b_1"]), ["1.png"])
    assert labels.find_label("1.png").name == "b_1"


def test_addresses_of_images_are_refused(tmp_path: Path) -> None:
    """A table of addresses is refused with a sentence, since nothing is fetched."""
    (tmp_path / "t.csv").write_text("image_url,label\nhttps://a.org/1.png,cat\nhttps://a.org/2.png,dog\n")
    with pytest.raises(UserError, match=r"addresses, such as https://a\.org/1\.png in line 2, which are not"):
        read(tmp_path / "t.csv")


def test_leading_slashes_in_archives_are_dropped(tmp_path: Path) -> None:
    """Entries that begin with a slash are read as other programs unpack them; those that lead out are not."""
    archive = zip_names(tmp_path / "a.zip", "/cat/1.png", "\\dog\\2.png", "/cat/../../3.png")
    labels = read_labels(archive)
    assert (labels["cat/1.png"], labels["dog/2.png"]) == ("cat", "dog")
    assert "<unsafe path>" in labels.values()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name in ("/cat/1.png", "/dog/2.png"):
            entry = tarfile.TarInfo(name)
            entry.size = len(png(0))
            tar.addfile(entry, io.BytesIO(png(0)))
    assert read_labels(tmp_path / "a.tar") == {"cat/1.png": "cat", "dog/2.png": "dog"}


def test_repeated_names_in_archives_are_remarked(tmp_path: Path) -> None:
    """Two files of one name in an archive are both read, and a remark says so."""
    archive = zip_names(tmp_path / "a.zip", "cat/1.png", "cat/1.png", "dog/2.png")
    assert list_remarks(archive)[0].startswith("1 name, cat/1.png, is in the archive more than once")


def test_tar_without_end_mark_is_read(tmp_path: Path) -> None:
    """A tar archive whose last entry is whole is read without its end mark, with a remark; a cut one is refused."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name in ("cat/1.png", "dog/2.png"):
            entry = tarfile.TarInfo(name)
            entry.size = len(png(0))
            tar.addfile(entry, io.BytesIO(png(0)))
        size = tar.offset
    path = tmp_path / "a.tar"
    path.write_bytes(sink.getvalue()[:size])
    assert read_labels(path) == {"cat/1.png": "cat", "dog/2.png": "dog"}
    assert "ends after 2 files without the mark of an archive's end" in list_remarks(path)[0]
    path.write_bytes(sink.getvalue())
    assert list_remarks(path) == []
    path.write_bytes(sink.getvalue()[: size - 600])
    with pytest.raises(UserError, match="not a readable tar archive"):
        read(path)
