"""Files that stand beside images, whatever they are, are skipped with a count by prepare and by predict."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from ganaug_ray.classify.image_files import IMAGE, OTHER_FILE, read_batches
from ganaug_ray.classify.image_files import list_parts as list_predicted_parts
from ganaug_ray.config import DataConfig, LabelFrom
from ganaug_ray.data import sources
from ganaug_ray.data.ingest.scan import survey_without_storing as survey
from tests.helpers.labelled import lay_out, read_labels

ASIDE = "<sidecar file>"
MOVIE = b"\0\0\0\x14ftypqt  \0\0\2\0qt  " + bytes(64)
CAT = (
    "cat/1.pgw",
    "cat/1.jgw",
    "cat/2.tfw",
    "cat/2.png.aux.xml",
    "cat/3.MOV",
    "cat/4.mp4",
    "cat/5.xmp",
    "cat/clip.avi",
)
DOG = ("dog/1.acr", "dog/2.PNG.work", "dog/3.on1", "dog/4.tags.bin", "dog/5.nothing")
REJECTED = ("dog/blank.acr", "dog/1")  # called as no image, and without a suffix


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of 16 images, all that may stand beside them, and what is called otherwise."""
    folder = lay_out(tmp_path / "pics", *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(8)))
    for path in (*CAT, *DOG, *REJECTED):
        (folder / path).write_bytes(b"" if path.endswith(".nothing") else MOVIE)
    return folder


def pack(root: Path, kind: str) -> Path:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if kind == "folder":
        return root
    if kind == "zip":
        with zipfile.ZipFile(root.parent / "pics.zip", "w") as archive:
            for file in files:
                archive.write(file, str(file.relative_to(root)))
        return root.parent / "pics.zip"
    with tarfile.open(root.parent / "pics.tar", "w") as archive:
        for file in files:
            entry = tarfile.TarInfo(str(file.relative_to(root)))
            entry.size = file.stat().st_size
            archive.addfile(entry, io.BytesIO(file.read_bytes()))
    return root.parent / "pics.tar"


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_files_beside_images_are_passed_over(kind: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """World files, videos and unknown files under an image's name are counted; found = kept + rejected + these."""
    source = str(pack(root, kind))
    if kind == "folder":
        monkeypatch.setattr("ganaug_ray.data.sources.folders.MAX_IMAGE_BYTES", 2000)
        for path in ("cat/3.MOV", "dog/3.on1"):
            (root / path).write_bytes(MOVIE + bytes(2000))
    beside = len(CAT) + len(DOG)
    found = survey(DataConfig(source=[source]))
    assert found.passed_over == {"sidecar file": beside}
    assert sorted(found.rejected["path"].to_pylist()) == sorted(REJECTED)
    assert len(found.usable) == 16
    assert sources.count_images(sources.list_parts([source], LabelFrom())) == 16 + len(REJECTED)
    batches = [batch for part in list_predicted_parts([source]) for batch in read_batches(part)]
    kinds = [kind for batch in batches for kind in batch["kind"].to_pylist()]
    assert (kinds.count(IMAGE), kinds.count(OTHER_FILE)) == (16 + len(REJECTED), beside)


def test_image_of_strange_name_is_kept(tmp_path: Path) -> None:
    """A file under an image's name and a suffix of its own is an image if it holds one."""
    root = lay_out(tmp_path, "cat/1.png", "cat/1.bak", "cat/2.mov", "dog/1.png", "dog/1.png.old")
    labels = read_labels(root)
    assert labels == {path: path.split("/")[0] for path in labels}
    assert len(labels) == 5


RAW = b"II*\0\x10\0\0\0CR\2\0" + bytes(40)
HEIC = b"\0\0\0\x18ftypheic" + bytes(40)


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_other_versions_of_images_are_counted_apart(kind: str, tmp_path: Path) -> None:
    """Raws and other formats that are not read, under the name of an image that is, have counts of their own.

    Alone they are rejected; prepare and predict say the same of each.
    """
    root = lay_out(tmp_path / "pics", *(f"{name}/{number}.jpg" for name in ("cat", "dog") for number in range(8)))
    for path, content in {
        "cat/1.CR2": RAW, "cat/2.nef": RAW, "cat/3.dng": b"torn", "dog/1.heic": HEIC, "dog/2.pdf": b"%PDF-1.7",
        "dog/3.eps": b"%!PS", "dog/alone.CR2": RAW, "dog/9.heic": HEIC,
    }.items():  # fmt: skip
        (root / path).write_bytes(content)
    source = str(pack(root, kind))
    found = survey(DataConfig(source=[source]))
    assert found.passed_over == {
        "camera raw beside an image": 3, "unread format beside an image": 1, "sidecar file": 2
    }  # fmt: skip
    assert {row["path"]: row["reason"] for row in found.rejected.to_pylist()} == dict.fromkeys(
        ("dog/alone.CR2", "dog/9.heic"), "unsupported format"
    )
    assert "3 camera raws lie beside images of the same name and were skipped, since the images are used" in (
        found.remarks
    )
    batches = [batch for part in list_predicted_parts([source]) for batch in read_batches(part)]
    kinds = [kind for batch in batches for kind in batch["kind"].to_pylist()]
    assert (kinds.count(IMAGE), kinds.count(OTHER_FILE)) == (18, 6)


def test_overviews_and_masks_are_no_images(tmp_path: Path) -> None:
    """The smaller copies and masks that programs for maps put beside an image are no images of their own."""
    root = lay_out(tmp_path, "cat/1.tif", "cat/1.tif.ovr", "cat/1.msk", "dog/1.png")
    labels = read_labels(root)
    assert labels == {"cat/1.tif": "cat", "cat/1.tif.ovr": ASIDE, "cat/1.msk": ASIDE, "dog/1.png": "dog"}


def test_table_without_suffixes_finds_images(tmp_path: Path) -> None:
    """A table that names images without their suffix means the images, not what stands beside them."""
    root = lay_out(tmp_path / "pics", "1.png", "2.png")
    for name in ("1.tfw", "1.acr", "2.acr"):
        (root / name).write_bytes(b"0.5")
    (tmp_path / "labels.csv").write_text("image,label\n1,cat\n2,dog\n")
    labels = read_labels(root, LabelFrom(csv=str(tmp_path / "labels.csv")))
    assert (labels["1.png"], labels["2.png"]) == ("cat", "dog")
