"""Archives byte by byte, with every lie that one may tell, and the command line let loose on them."""

from __future__ import annotations

import bz2
import io
import resource
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ganaug_ray import cli
from tests.conftest import environment
from tests.helpers.dirty import encoded, noise

MIB = 1024**2
STORED, DEFLATED, BZIP2 = 0, 8, 12


@dataclass(frozen=True)
class Entry:
    """One file of a zip archive; what is not given is told as it is."""

    name: str
    packed: bytes = b""
    method: int = STORED
    size: int | None = None
    flags: int = 0
    mode: int = 0o100644
    crc: int | None = None
    name_inside: str | None = None

    def local(self) -> bytes:
        """Return the entry as it stands in the archive."""
        name = (self.name_inside or self.name).encode()
        return b"PK\3\4" + self._common(name) + name + self.packed

    def central(self, offset: int) -> bytes:
        """Return the entry as it stands in the directory."""
        name = self.name.encode()
        rest = struct.pack("<HHHII", 0, 0, 0, self.mode << 16, offset)
        return b"PK\1\2\x14\3" + self._common(name) + rest + name

    def _common(self, name: bytes) -> bytes:
        crc = zlib.crc32(self.packed) if self.crc is None else self.crc
        size = len(self.packed) if self.size is None else self.size
        start = struct.pack("<HHHHH", 20, self.flags, self.method, 0, 33)
        return start + struct.pack("<IIIHH", crc, len(self.packed), size, len(name), 0)


def zip_of(entries: Iterable[Entry]) -> bytes:
    """Return a zip archive."""
    body, directory, number = bytearray(), bytearray(), 0
    for entry in entries:
        directory += entry.central(len(body))
        body += entry.local()
        number += 1
    end = zip_end if number <= 0xFFFF else zip64_end
    return bytes(body + directory) + end(number, len(directory), len(body))


def zip_end(entries: int, size: int, offset: int) -> bytes:
    """Return what ends a zip archive: number of entries, size and offset of their directory."""
    return b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, entries, entries, size, offset, 0)


def zip64_end(entries: int, size: int, offset: int, at: int | None = None) -> bytes:
    """As zip_end, for larger numbers; it stands ``at``, which is right behind the directory."""
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, entries, entries, size, offset)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, offset + size if at is None else at, 1)
    return record + locator + zip_end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)


def info(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    """Return one entry of a tar archive."""
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def tar_of(entries: Iterable[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """Return a tar archive."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry, content in entries:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return sink.getvalue()


Piece = tuple[bytes, int]  # some bytes, and how many times they come: again and again costs nothing


def deflated(*pieces: Piece) -> bytes:
    """Return the pieces as they stand in a zip archive."""
    stream = bytearray()
    for content, times in pieces:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        stream += (packer.compress(content) + packer.flush(zlib.Z_FULL_FLUSH)) * times
    return bytes(stream) + b"\3\0"


def gzipped(*pieces: Piece) -> bytes:
    """Return the pieces as a gzip file."""
    crc, size = 0, 0
    for content, times in pieces:
        size += len(content) * times
        for _ in range(times):
            crc = zlib.crc32(content, crc)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\3" + deflated(*pieces) + struct.pack("<II", crc, size % 2**32)


def bzipped_zeros(mebibytes: int) -> bytes:
    """Return a bzip2 stream, each 32 bytes of which inflate to 44 MiB; its end, never to be reached, is missing."""
    block = 45_899_235
    return bz2.compress(bytes(block))[:4] + bz2.compress(bytes(block))[4:-10] * (mebibytes * MIB // block)


def pictures(per_class: int = 10) -> dict[str, bytes]:
    """Return honest files in folders cat and dog."""
    rng = np.random.default_rng(0)
    return {f"{name}/{i}.png": encoded(noise(rng, 24, 20), "PNG") for name in ("cat", "dog") for i in range(per_class)}


@dataclass
class Outcome:
    """What prepare made of an archive.

    Attributes:
        code: its exit code.
        said: on the terminal.
        rejected: path -> (reason, detail).
        kept: paths of the images in the store.
    """

    code: int
    said: str
    rejected: dict[str, tuple[str, str]]
    kept: set[str]

    def reasons(self) -> dict[str, str]:
        """Path -> reason."""
        return {path: reason for path, (reason, _) in self.rejected.items()}


READ_IN_PLACE = "an archive is read in place"
ONE_SPLIT = "gan: {steps: 1}\nclassifier: {steps: 1}\ncompare: {seeds: 3}\n"


def prepare(archive: Path, memory: int | None = None) -> Outcome:
    """Run ``ganaug prepare`` on an archive in a folder of its own, as a user would.

    Looks that no file appears anywhere but in the results' folder; in a process of its own, all the while.

    Args:
        archive: the source.
        memory: MiB of addresses that each process may use, which takes a process of its own; None: this one, unlimited.
    """
    room = archive.parent
    job, out, temporary, here = room / "job.yaml", room / "out", room / "temporary", room / "here"
    job.write_text(f"data: {{source: {archive.name}, max_rejected: 1}}\n" + ONE_SPLIT)
    temporary.mkdir()
    here.mkdir()
    command = ["prepare", str(job), "--out", str(out)]
    code, said = _call(command, here, temporary) if memory is None else _spawn(command, here, temporary, memory)
    assert {path.name for path in room.iterdir()} <= {archive.name, job.name, out.name, temporary.name, here.name}
    assert not [*temporary.iterdir(), *here.iterdir()], READ_IN_PLACE
    assert "Traceback" not in said, said
    if code:
        return Outcome(code, said, {}, set())
    rejected = pq.read_table(out / "dataset" / "rejected.parquet").to_pylist()
    shards = [pq.read_table(shard, columns=["path"]) for shard in (out / "dataset").glob("*/part-*.parquet")]
    return Outcome(
        code=0,
        said=said,
        rejected={row["path"]: (row["reason"], row["detail"]) for row in rejected},
        kept={path for shard in shards for path in shard.column("path").to_pylist()},
    )


def _call(command: list[str], here: Path, temporary: Path) -> tuple[int, str]:
    """Return the exit code of a command that this process runs, and what it says."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said):
        patch.setattr(sys, "argv", ["ganaug", *command])
        patch.setattr(tempfile, "tempdir", str(temporary))
        patch.chdir(here)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return int(ended.value.code or 0), said.getvalue()


def _spawn(command: list[str], here: Path, temporary: Path, memory: int) -> tuple[int, str]:
    """As ``_call``, in a process whose memory is limited, and that is watched."""
    limit = memory * MIB
    child = subprocess.Popen(
        [sys.executable, "-m", "ganaug_ray", *command],
        env=environment(TMPDIR=str(temporary)),
        cwd=here,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while True:
        with suppress(subprocess.TimeoutExpired):
            _, said = child.communicate(timeout=0.05)
            return child.returncode, said
        assert not [*temporary.iterdir(), *here.iterdir()], READ_IN_PLACE
