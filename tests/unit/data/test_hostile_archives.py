"""Archives made to do harm: what is wrong is named, nothing is written outside, and the memory stays bounded."""

from __future__ import annotations

import bz2
import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from ganaug_ray.data.sources.raw import REMARK
from ganaug_ray.errors import UserError
from tests.helpers.archives import (
    BZIP2,
    DEFLATED,
    MIB,
    Entry,
    bzipped_zeros,
    deflated,
    gzipped,
    info,
    pictures,
    prepare,
    tar_of,
    zip64_end,
    zip_end,
    zip_of,
)
from tests.helpers.labelled import png, read

MEMORY = 1280  # MiB of addresses: twice what an honest archive takes, and far below every bomb
BOMB = 8 * MEMORY

PICTURES = pictures()
ONE = PICTURES["cat/1.png"]
IN_ZIP = [Entry(name, content) for name, content in PICTURES.items()]


def in_tar() -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(info(name), content) for name, content in PICTURES.items()]


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder deep enough for ../.. to lead to one that is looked at."""
    (tmp_path / "deep" / "down").mkdir(parents=True)
    return tmp_path / "deep" / "down"


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_hostile_zip_entries_are_named(room: Path, tmp_path: Path) -> None:
    """Every hostile entry of a zip file is named, and the honest ones are kept."""
    broken = bytearray(zlib.compress(ONE)[2:-4])
    broken[len(broken) // 2 :] = b"\xff" * 99
    hostile = {
        Entry("../../escaped.png", ONE): "unsafe path",
        Entry("cat/../../../escaped.png", ONE): "unsafe path",
        Entry("..\\..\\escaped.png", ONE): "unsafe path",
        Entry("cat/link.png", b"/etc/passwd", mode=0o120777): "link",
        Entry("cat/encrypted.png", bytes(12) + ONE, flags=1): "encrypted",
        Entry("cat/unknown-method.png", ONE, method=97): "unsupported compression",
        Entry("cat/other-name-inside.png", ONE, name_inside="dog/other.png"): "damaged in the archive",
        Entry("cat/wrong-sum.png", ONE, crc=1): "damaged in the archive",
        Entry("cat/broken-stream.png", bytes(broken), DEFLATED, size=len(ONE)): "damaged in the archive",
        Entry("cat/stream-that-stops.png", zlib.compress(ONE)[2:99], DEFLATED, size=len(ONE)): "damaged in the archive",
        Entry("cat/nested.zip", zip_of(IN_ZIP)): "archive",
        Entry("cat/nested.png", zip_of(IN_ZIP)): "not an image",
    }
    found = prepare(written(room / "evil.zip", zip_of([*hostile, *IN_ZIP])))
    assert found.code == 0, found.said
    assert found.reasons() == {entry.name: reason for entry, reason in hostile.items()}
    assert found.kept == set(PICTURES)
    assert "encrypted" in found.rejected["cat/encrypted.png"][1]
    assert not list(tmp_path.rglob("escaped*"))


def test_hostile_tar_entries_are_named(room: Path, tmp_path: Path) -> None:
    """Every hostile entry of a tar file is named, and the honest ones are kept."""
    hostile = {
        info("../../escaped.png"): "unsafe path",
        info("cat/link.png", tarfile.SYMTYPE, "/etc/passwd"): "link",
        info("cat/hard-link.png", tarfile.LNKTYPE, "cat/1.png"): "link",  # which comes later
        info("cat/outside.png", tarfile.LNKTYPE, "../../secret.png"): "link",
        info("cat/pipe.png", tarfile.FIFOTYPE): "not a file",
        info("cat/disk.png", tarfile.BLKTYPE): "not a file",
        info("cat/empty.png"): "empty",
    }
    nested = (info("cat/nested.tar"), tar_of(in_tar()))
    content = tar_of([*((entry, b"") for entry in hostile), nested, *in_tar()])
    found = prepare(written(room / "evil.tar", content))
    assert found.code == 0, found.said
    assert found.reasons() == {entry.name: why for entry, why in hostile.items()} | {"cat/nested.tar": "archive"}
    assert found.kept == set(PICTURES)
    assert not list(tmp_path.rglob("escaped*"))


def test_hard_links_in_tar_are_read(room: Path) -> None:
    """A file that tar has packed once, with a hard link for its second name, is read under both names."""
    entries = [(info("bird/1.png"), png(77)), (info("bird/2.png", tarfile.LNKTYPE, "./bird/1.png"), b""),
               (info("bird/3.png", tarfile.LNKTYPE, "bird/2.png"), b""), *in_tar()]  # fmt: skip
    read_images = {raw.path: raw for raw in read(written(room / "links.tar", tar_of(entries)))}
    assert read_images.keys() == {entry.name for entry, _ in entries}
    assert all(read_images[f"bird/{number}.png"].content == png(77) for number in (1, 2, 3))
    assert read_images["bird/3.png"].label == "bird"


def test_special_files_in_tar_are_named(room: Path) -> None:
    """What is no file says what it is, and a symbolic link how it can be packed as a file."""
    entries = [(info("cat/a.png", tarfile.FIFOTYPE), b""), (info("cat/b.png", tarfile.SYMTYPE, "1.png"), b"")]
    pipe, link = (raw.content for raw in read(written(room / "special.tar", tar_of(entries))))
    assert pipe.detail == "a pipe, a device or another special file"
    assert "tar --dereference" in link.detail


def test_non_unicode_entry_is_named(room: Path) -> None:
    """A rejected entry whose name is not valid Unicode is named all the same."""
    latin = info("cat/D\udcfcrer.png")  # ü in Latin-1, as old archives have it
    found = prepare(written(room / "old.tar", tar_of([(latin, b"<html>"), *in_tar()])))
    assert found.code == 0, found.said
    ((path, reason),) = found.reasons().items()
    assert path.startswith("cat/D")
    assert path.endswith("rer.png")
    assert reason == "not an image"
    assert found.kept == set(PICTURES)


def test_duplicate_entry_names_are_read(room: Path) -> None:
    """Of two entries with the same name neither hides the other."""
    first = [Entry("cat/1.png", b"<html>"), Entry("dog/1.png", PICTURES["dog/1.png"])]
    found = prepare(written(room / "twice.zip", zip_of([*first, *IN_ZIP])))
    assert found.code == 0, found.said
    assert found.reasons() == {"cat/1.png": "not an image", "dog/1.png": "duplicate"}
    assert found.kept == set(PICTURES)


@pytest.mark.parametrize("method", [DEFLATED, BZIP2])
def test_encryption_is_told_before_the_method(room: Path, method: int) -> None:
    """Of an entry that is encrypted and packed by whatever method, the encryption is told, and what to do."""
    secret = Entry("cat/secret.png", bytes(12) + ONE, method, flags=1)
    found = prepare(written(room / "secret.zip", zip_of([secret, *IN_ZIP])))
    assert found.code == 0, found.said
    assert found.rejected.keys() == {"cat/secret.png"}
    reason, detail = found.rejected["cat/secret.png"]
    assert reason == "encrypted"
    assert "unpack the archive with its password, and give the folder" in detail


def test_bzip2_entries_are_told(room: Path) -> None:
    """An entry that is packed with bzip2 is rejected with its method and two ways out."""
    packed = Entry("cat/packed.png", bz2.compress(ONE), BZIP2, size=len(ONE), crc=zlib.crc32(ONE))
    found = prepare(written(room / "packed.zip", zip_of([packed, *IN_ZIP])))
    assert found.code == 0, found.said
    reason, detail = found.rejected["cat/packed.png"]
    assert reason == "unsupported compression"
    assert "method 12; pack the archive again with Deflate, or unpack it and give the folder" in detail


def test_repeated_tar_names_are_told(room: Path) -> None:
    """Two files of one name in a tar archive are both read, and a remark names one and says what to do."""
    archive = written(room / "twice.tar", tar_of([(info("cat/1.png"), PICTURES["dog/1.png"]), *in_tar()]))
    images = [raw for raw in read(archive) if raw.path == "cat/1.png"]
    assert len(images) == 2
    remarks = [raw.content.detail for raw in read(archive) if getattr(raw.content, "reason", "") == REMARK]
    (remark,) = [sentence for sentence in remarks if "more than once" in sentence]
    assert remark.startswith("1 name, cat/1.png, is in the archive more than once, and every file of that name is read")


def test_inflating_zip_entries_are_stopped(room: Path) -> None:
    """Zip entries that inflate to gigabytes are cut off, whatever size they declare."""
    packed = {"deflate": (DEFLATED, deflated((bytes(MIB), BOMB))), "bzip2": (BZIP2, bzipped_zeros(BOMB))}
    sizes = {"told": 0xFFFFFFFE, "kept-secret": 5000}
    bombs = [
        Entry(f"cat/{name}-{size}.png", content, method, sizes[size])
        for name, (method, content) in packed.items()
        for size in sizes
    ]
    found = prepare(written(room / "bombs.zip", zip_of([*bombs, *IN_ZIP])), MEMORY)
    assert found.code == 0, found.said
    assert found.rejected.keys() == {bomb.name for bomb in bombs}
    assert found.kept == set(PICTURES)


def test_large_entries_never_accumulate(room: Path) -> None:
    """Entries that are each just small enough do not add up in memory."""
    packed = deflated((bytes(MIB), 250))
    large = [Entry(f"cat/{i}.bmp", packed, DEFLATED, 250 * MIB) for i in range(MEMORY // 2 // 250 + 1)]
    found = prepare(written(room / "large.zip", zip_of([*large, *IN_ZIP])), MEMORY)
    assert found.code == 0, found.said
    assert found.rejected.keys() == {entry.name for entry in large}
    assert found.kept == set(PICTURES)


def test_inflating_tar_entry_is_skipped(room: Path) -> None:
    """A tar entry that inflates to more than there is memory is skipped as too large."""
    bomb = info("cat/bomb.png")
    bomb.size = 400 * MIB
    content = gzipped((bomb.tobuf(tarfile.GNU_FORMAT), 1), (bytes(MIB), 400), (tar_of(in_tar()), 1))
    found = prepare(written(room / "bomb.tar.gz", content), MEMORY // 2 + 320)
    assert found.code == 0, found.said
    assert found.reasons() == {"cat/bomb.png": "too large"}
    assert found.kept == set(PICTURES)


def test_bzip2_tar_bomb_is_refused(room: Path) -> None:
    """The ten kilobytes that tarfile reads at a time would."""
    found = prepare(written(room / "bomb.tar", bzipped_zeros(BOMB)), MEMORY)
    assert found.code == 2
    assert "bomb.tar" in found.said


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_broken_tar_gz_is_named(damage: str, room: Path) -> None:
    """A tar.gz file that is broken in the middle is an error that names it."""
    whole = gzip.compress(tar_of(in_tar()))
    middle = len(whole) // 2
    content = whole[:middle] if damage == "cut" else whole[:middle] + b"\xff" * 500 + whole[middle + 500 :]
    found = prepare(written(room / "broken.tar.gz", content))
    assert found.code == 2
    assert "broken.tar.gz" in found.said


def flip_byte(whole: bytes) -> bytes:
    at = whole.index(b"dog/1.png")
    return whole[:at] + b"D" + whole[at + 1 :]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "tar.gz"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (flip_byte, "is damaged"),
        (lambda whole: whole[: whole.index(b"dog/1.png") + 99], "is damaged"),
        (lambda whole: whole[: whole.index(b"dog/1.png") + 600], "unexpected end of data"),
        (lambda whole: whole + whole, "more data follow its end"),
    ],
    ids=["changed header", "cut in header", "cut in image", "joined"],
)
def test_damaged_tar_loses_no_image_silently(
    damage: Callable[[bytes], bytes], words: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """A tar archive that is damaged, cut or joined is refused with the reason, not read as far as it goes."""
    path = written(tmp_path / ("a.tar" if pack is bytes else "a.tar.gz"), pack(damage(tar_of(in_tar()))))
    with pytest.raises(UserError, match=rf"{path.name}: is not a readable tar archive \(.*{words}"):
        read(path)


@pytest.mark.parametrize("told", [1_000_000, 20], ids=["told", "kept secret"])
def test_million_entry_zip_is_refused(told: int, room: Path) -> None:
    """A zip file of a million entries is refused, whatever number it declares."""
    entry = Entry("cat/1.png")  # all are the same empty file
    body, directory = entry.local(), entry.central(0) * 1_000_000
    end = (zip_end if told <= 0xFFFF else zip64_end)(told, len(directory), len(body))
    found = prepare(written(room / "many.zip", body + directory + end), MEMORY)
    assert found.code == 2
    assert "many.zip" in found.said
    assert "entries" in found.said


def test_honest_zip64_is_read(room: Path) -> None:
    """An honest ZIP64 archive is read."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in PICTURES.items():
            with archive.open(name, "w", force_zip64=True) as stream:
                stream.write(content)
        start = archive.start_dir
    at = sink.getvalue().rfind(b"PK\5\6")
    content = sink.getvalue()[:at] + zip64_end(len(PICTURES), at - start, start)
    found = prepare(written(room / "honest.zip", content))
    assert found.code == 0, found.said
    assert found.rejected == {}
    assert found.kept == set(PICTURES)


@pytest.mark.parametrize(
    ("entries", "size", "offset"),
    [(2**64 - 1, 99, 0), (20, 2**63, 0), (20, 99, 2**63), (20, 99, 2**62)],
    ids=["entries", "size", "offset", "smaller offset"],
)
def test_false_zip64_is_refused(entries: int, size: int, offset: int, room: Path) -> None:
    """A ZIP64 archive with false numbers in its directory is refused."""
    body = b"".join(entry.local() for entry in IN_ZIP)
    content = body + zip64_end(entries, size, offset, at=len(body))
    found = prepare(written(room / "liar.zip", content), MEMORY)
    assert found.code == 2
    assert "liar.zip" in found.said
