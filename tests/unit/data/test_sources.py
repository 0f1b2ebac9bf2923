"""Every kind of source gives the same images; hostile ones harm nothing and are named."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ganaug_ray.config import ColumnsConfig, DataConfig, LabelFrom, SplitConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import sources
from ganaug_ray.data.images import UnreadableError
from ganaug_ray.data.ingest.scan import survey_without_storing as survey
from ganaug_ray.data.sources import archive_entries, label_tables, packaged, raw, zip_archives
from ganaug_ray.errors import UserError

PUBLIC = os.environ.get("GANAUG_DATA") or str(Path(__file__).parents[4] / "shared" / "data")


def png(seed: int) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)).save(sink, "PNG")
    return sink.getvalue()


FILES = {f"{name}/{i}.png": png(10 * n + i) for n, name in enumerate(("cat", "dog")) for i in range(4)}


def read(source: Path | str, label_from: LabelFrom | None = None) -> list[raw.RawImage]:
    parts = sources.list_parts([str(source)], label_from or LabelFrom())
    return [row for part in parts for row in part()]


def lay_out(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def csv_of(root: Path) -> Path:
    lay_out(root, FILES)
    (root / "labels.csv").write_text("image,label\n" + "".join(f"{n},{n.split('/')[0]}\n" for n in FILES))
    return root / "labels.csv"


def parquet_of(path: Path) -> Path:
    pq.write_table(pa.table({"image": list(FILES.values()), "label": [n.split("/")[0] for n in FILES]}), path)
    return path


MAKERS = {
    "folder": lambda root: lay_out(root / "deep" / "down", FILES).parent,
    "zip": lambda root: zipped(root / "a.zip", FILES),
    "tar": lambda root: tarred(root / "a.tar", FILES),
    "tgz": lambda root: tarred(root / "a.tar.gz", FILES),
    "csv": csv_of,
    "parquet": lambda root: parquet_of(root / "a.parquet"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_source_kind_reads_alike(kind: str, tmp_path: Path) -> None:
    """Every kind of source gives the same images and labels."""
    rows = read(MAKERS[kind](tmp_path))
    assert sorted((row.label, row.content) for row in rows) == sorted(
        (name.split("/")[0], content) for name, content in FILES.items()
    )
    assert len({row.path for row in rows}) == 8


@pytest.mark.parametrize("kind", MAKERS)
def test_images_are_counted_before_reading(kind: str, tmp_path: Path) -> None:
    """The images of every kind of source can be counted, of all but tar without reading one."""
    source = str(MAKERS[kind](tmp_path))
    counted = sources.count_images(sources.list_parts([source, "sklearn:digits"], LabelFrom()))
    assert counted == 8 + len(read("sklearn:digits"))
    counts = {part.images for part in sources.list_parts([source], LabelFrom())}
    assert counts == ({None} if kind in ("tar", "tgz") else {8})


def test_several_sources_form_single_dataset(tmp_path: Path) -> None:
    """A list of sources is one dataset, and every image keeps its provenance."""
    one = zipped(tmp_path / "one.zip", {name: png(i + 100) for i, name in enumerate(FILES)})
    two = lay_out(tmp_path / "two", FILES)
    found = survey(DataConfig(source=[str(one), str(two)]))
    assert found.classes == ["cat", "dog"]
    assert set(found.usable["provenance"].to_pylist()) == {str(one), str(two)}
    assert len(found.usable) == 16


def test_labels_from_names_and_csv(tmp_path: Path) -> None:
    """Labels are read from file names and from a CSV file."""
    flat = lay_out(tmp_path / "flat", {"cat.0.jpg": b"x", "dog.1.jpg": b"x", "readme.jpg": b"x"})
    rows = read(flat, LabelFrom(regex=r"^(?P<label>cat|dog)\."))
    assert [row.label for row in rows] == ["cat", "dog", None]
    lay_out(tmp_path / "art", {"Vincent_van_Gogh_12.jpg": b"x", "Albrecht_Dürer_1.jpg": b"x"})
    rows = read(tmp_path / "art", LabelFrom(regex=r"^(?P<label>.+)_\d+\.jpg$"))
    assert {row.label for row in rows} == {"Vincent_van_Gogh", "Albrecht_Dürer"}
    (tmp_path / "labels.csv").write_text("image,label\ncat.0.jpg,Katze\ndog.1.jpg,Hund\n")
    assert [row.label for row in read(flat, LabelFrom(csv=str(tmp_path / "labels.csv")))] == ["Katze", "Hund", None]


def test_umlaut_spellings_share_a_class(tmp_path: Path) -> None:
    """All ways of writing an umlaut are one class, also what old zip programs made of it."""
    names = [unicodedata.normalize(form, "Dürer") for form in ("NFC", "NFD")]
    names += [names[1].encode().decode("cp437"), names[1].encode().decode("cp437").encode().decode("cp437")]
    assert len(set(names)) == 4
    found = zipped(tmp_path / "a.zip", {f"{name}/1.png": png(i) for i, name in enumerate(names)})
    assert [row.label for row in read(found) if row.label] == ["Dürer"] * 4


def idx(folder: Path, stem: str, images: np.ndarray, labels: np.ndarray) -> None:
    for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
        header = b"\x00\x00\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        (folder / f"{name}.gz").write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.mark.parametrize("given", [None, False])
def test_idx_parts_are_given_splits(given: bool | None, tmp_path: Path) -> None:
    """The files train and t10k stay apart as folders train and test do, which a remark says and a setting undoes."""
    rng = np.random.default_rng(0)
    for name, n in (("train", 40), ("t10k", 20)):
        idx(tmp_path, name, rng.integers(0, 256, (n, 16, 16)), np.arange(n) % 2)
    found = survey(DataConfig(source=[f"idx:{tmp_path}"], split=SplitConfig(given=given)))
    (remark,) = found.remarks
    in_test = found.usable.filter(pc.equal(found.usable["split"], "test"))
    came_in = set(in_test["came_in"].to_pylist())
    if given is None:
        assert (came_in, len(in_test)) == ({"test"}, 20)
        assert "given: false" in remark
    else:
        assert came_in == {"train", "test"}
        assert "split: given" in remark


def test_forbidden_idx_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idx file that may not be read is named."""
    idx(tmp_path, "train", np.zeros((3, 4, 5)), np.zeros(3))

    def refuse(*_: object) -> bytes:
        raise PermissionError("Permission denied")

    monkeypatch.setattr(Folder, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz cannot be read"):
        read(f"idx:{tmp_path}")


def test_torchvision_parts_are_given_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of a torchvision data set say before they are read whether they are for training or for test."""
    monkeypatch.setattr(packaged, "_load_torchvision", lambda *_: range(300))
    parts = list(sources.list_parts(["torchvision:MNIST"], None))
    assert [part.labelled_splits for part in parts] == [{"train"}, {"train"}, {"test"}, {"test"}]


def test_idx_files_are_validated(tmp_path: Path) -> None:
    """IDX files are read, and what is wrong with them is an error that says so."""
    images = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    idx(tmp_path, "train", images, np.array([7, 8, 9]))
    rows = read(f"idx:{tmp_path}")
    assert [row.label for row in rows] == ["7", "8", "9"]
    assert all(np.array_equal(row.content, images[i]) for i, row in enumerate(rows))
    idx(tmp_path, "train", images, np.array([7, 8]))
    with pytest.raises(UserError, match=r"\[3, 4, 5\].*\[2\]"):
        read(f"idx:{tmp_path}")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(UserError, match="cannot be unzipped"):
        read(f"idx:{tmp_path}")
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match="labels-idx1"):
        read(f"idx:{tmp_path}")


@pytest.mark.parametrize("maker", [zipped, tarred])
def test_escaping_entries_write_nothing(maker, tmp_path: Path) -> None:
    """Entries that lead out of an archive are named, and nothing is written."""
    suffix = "zip" if maker is zipped else "tar"
    (tmp_path / "inside").mkdir()
    evil = maker(
        tmp_path / "inside" / f"evil.{suffix}", {**FILES, "../escaped.png": png(1), "/etc/escaped.png": png(2)}
    )
    rows = {row.path: row.content for row in read(evil)}
    problems = {path: content.reason for path, content in rows.items() if isinstance(content, UnreadableError)}
    assert set(problems.values()) == {"unsafe path"}
    assert len(problems) == 1
    assert "etc/escaped.png" in rows, "a slash in front is dropped"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [f"evil.{suffix}"]


def test_archive_links_are_not_followed(tmp_path: Path) -> None:
    """Links in archives are not followed."""
    (tmp_path / "secret.png").write_bytes(png(5))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            entry = tarfile.TarInfo(f"cat/{int(kind)}.png")
            entry.type, entry.linkname = kind, str(tmp_path / "secret.png")
            archive.addfile(entry)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        link = zipfile.ZipInfo("cat/1.png")
        link.external_attr = 0xA1FF << 16
        packed.writestr(link, str(tmp_path / "secret.png"))
    for name in ("a.tar", "a.zip"):
        assert {row.content.reason for row in read(tmp_path / name)} == {"link"}


def test_inflating_entry_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that inflates is cut off, whatever size it declares."""
    monkeypatch.setattr(zip_archives, "MAX_IMAGE_BYTES", 10_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/bomb.png", b"\0" * 10_000_000)
        archive.writestr("cat/1.png", png(1))
    reasons = {row.path: getattr(row.content, "reason", "fine") for row in read(tmp_path / "bomb.zip")}
    assert reasons == {"cat/bomb.png": "too large", "cat/1.png": "fine"}


@pytest.mark.parametrize("maker", [zipped, tarred])
def test_too_many_entries_are_refused(maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive with too many entries is refused with the limit."""
    monkeypatch.setattr(archive_entries, "MAX_ENTRIES", 100)
    suffix = "zip" if maker is zipped else "tar"
    many = maker(tmp_path / f"many.{suffix}", {f"cat/{i}": b"" for i in range(200)})
    with pytest.raises(UserError, match=rf"many\.{suffix}.*entries.*at most 100"):
        read(many)


def test_oversized_zip_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip file of very many entries is refused before its list is read."""
    many = zipped(tmp_path / "many.zip", {f"cat/{i}": b"" for i in range(70_000)})
    monkeypatch.setattr(archive_entries, "MAX_ENTRIES", 66_000)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(UserError, match=r"many\.zip.*70,000 entries"):
        read(many)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.parquet", "a.csv", "a.xyz"])
def test_misnamed_file_is_refused(name: str, tmp_path: Path) -> None:
    """A file that is not what its name says, or that is missing, is an error that names it."""
    (tmp_path / name).write_bytes(b"\xff\xfenonsense" * 10)
    with pytest.raises(UserError, match=name):
        read(tmp_path / name)
    with pytest.raises(UserError, match=f"gone-{name}"):
        read(tmp_path / f"gone-{name}")


def test_manifest_rejects_missing_files(tmp_path: Path) -> None:
    """A manifest gives missing files as rejects and fetches nothing."""
    lay_out(tmp_path, {"1.png": png(1)})
    (tmp_path / "list.csv").write_text("image,label\n1.png,cat\n2.png,cat\nhttps://example.com/3.png,dog\n")
    remark, *rows = read(tmp_path / "list.csv")
    assert [getattr(row.content, "reason", "fine") for row in rows] == ["fine", "cannot be read", "address"]
    assert remark.content.detail.startswith(
        "list.csv: 1 of 3 rows names an address, such as https://example.com/3.png in line 4, which is not downloaded"
    )


def test_unknown_packaged_sources_are_refused() -> None:
    """A packaged source that does not exist is an error that names it."""
    for source in ("sklearn:faces", "torchvision:ImageNet"):
        with pytest.raises(UserError, match=source):
            read(source)


def test_too_many_rejects_stop_preparation(tmp_path: Path) -> None:
    """Small and empty pictures are rejected, and a source with too many bad ones is refused."""
    tiny, flat = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (4, 40)).save(tiny, "PNG")
    Image.new("RGB", (40, 40), (9, 9, 9)).save(flat, "PNG")
    files = {f"{name}/{i}.png": png(20 * n + i) for n, name in enumerate(("cat", "dog")) for i in range(10)}
    root = lay_out(tmp_path, {**files, "cat/tiny.png": tiny.getvalue(), "dog/flat.png": flat.getvalue()})
    found = survey(DataConfig(source=[str(root)]))
    assert dict(zip(*(found.rejected[name].to_pylist() for name in ("path", "reason")), strict=True)) == {
        "cat/tiny.png": "too small",
        "dog/flat.png": "single colour",
    }
    lay_out(tmp_path, {f"cat/bad{i}.png": b"<html>" for i in range(10)})
    with pytest.raises(UserError, match=r"12 of 32 images.*10 × not an image.*data\.max_rejected \(now 0\.2\)"):
        survey(DataConfig(source=[str(root)]))
    assert len(survey(DataConfig(source=[str(root)], max_rejected=0.5)).rejected) == 12


CATS_DOGS = f"{PUBLIC}/cats_dogs/cats_dogs-train.zip"


@pytest.mark.skipif(not Path(CATS_DOGS).exists(), reason="the cat and dog photographs are not on this machine")
def test_photograph_zip_is_read_entirely() -> None:
    """The zip file of real photographs is read in place, and every image is kept."""
    found = survey(DataConfig(source=[CATS_DOGS], image_size=64))
    assert len(found.rejected) == 0
    assert found.classes == ["cat", "dog"]
    assert len(found.usable) == 1700
    assert found.channels == 3


@pytest.mark.skipif(not Path(PUBLIC, "fashion-mnist").exists(), reason="Fashion-MNIST is not on this machine")
def test_fashion_mnist_idx_is_read() -> None:
    """Fashion-MNIST is read from its IDX files."""
    rows = read(f"idx:{PUBLIC}/fashion-mnist")
    assert len(rows) == 70_000
    assert {row.label for row in rows} == {str(i) for i in range(10)}
    assert np.stack([row.content for row in rows[10_000:]]).mean() / 255 == pytest.approx(0.2860, abs=1e-4)


def test_non_utf8_file_name_is_named(tmp_path: Path) -> None:
    """A file name that is not UTF-8 is an error that names the file."""
    (tmp_path / "cat").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "cat") + b"/D\xfcrer.png")).write_bytes(png(1))
    with pytest.raises(UserError, match=r"D\\xfcrer.png is not a UTF-8 name"):
        read(tmp_path)


def test_irregular_csv_rows_are_read(tmp_path: Path) -> None:
    """Quotes, spaces, columns in another order, more or fewer of them, empty lines, an editor's mark at the start."""
    lines = ["", "label,note,image", 'cat,"a, b",1.png,', " dog ,, 2.png ", "", "cat", ",,3.png", "dog,x,4.png,more"]
    (tmp_path / "list.csv").write_text("\ufeff" + "\n".join(lines))
    rows = label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig()).rows
    named = [(row.image, row.label.name) for row in rows]
    assert named == [("1.png", "cat"), ("2.png", "dog"), ("", None), ("3.png", None), ("4.png", None)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found no columns"),
        (b"picture,label\n", "found the columns picture, label; expected image and label"),
        (b"image,label\n1.png,\xff\n", "is text, but not in UTF-8"),
        (b"image,label\n1.png,cat\n2.png," + b"x" * 200_000, "line 3 is not CSV"),
    ],
)
def test_invalid_image_list_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """A file that is no list of images is an error that says what is wrong."""
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(UserError, match=words):
        label_tables.read_table(str(tmp_path / "list.csv"), ColumnsConfig())


def test_answers_beside_images_are_passed_over(tmp_path: Path) -> None:
    """Where no labels are asked for, a table beside images, such as their predictions, is skipped and counted."""
    Image.new("L", (8, 8), 200).save(tmp_path / "cat.png")
    pq.write_table(pa.table({"path": ["cat.png"], "label": ["cat"]}), tmp_path / "predictions.parquet")
    found = [row for part in sources.list_parts([str(tmp_path)], None) for row in part()]
    contents = {row.path: row.content for row in found}
    assert isinstance(contents["cat.png"], bytes)
    table = contents["predictions.parquet"]
    assert isinstance(table, UnreadableError)
    assert table.reason == raw.SIDECAR
    with pytest.raises(UserError, match=r"predictions\.parquet.*cat\.png"):
        list(sources.list_parts([str(tmp_path)], LabelFrom()))
