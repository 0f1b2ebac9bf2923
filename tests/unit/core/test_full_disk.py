"""A full disk is told of with path and size, from wherever it comes, and is not tried again."""

from __future__ import annotations

import copy
import errno
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from ganaug_ray.core import full_disk
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import DiskFull, UserError
from ganaug_ray.runtime import worker_group


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may be larger than 100 kB; as EFBIG, the nearest to a full disk that needs no mount."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_full_disk_names_path_and_size(tmp_path: Path, small_files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write to a full disk is an error with path and size, and leaves what was there before."""
    monkeypatch.setattr(full_disk, "FULL_DISK_ERRNOS", {errno.EFBIG})
    folder = Folder.from_uri(tmp_path)
    folder.write_bytes("a.bin", b"old")
    with pytest.raises(
        DiskFull, match=r"a\.bin: the disk is full.*0\.2 MB could not be written.*same command continues"
    ):
        folder.write_bytes("a.bin", bytes(200_000))
    with pytest.raises(DiskFull, match=r"b\.parquet: the disk is full"):
        folder.write_table("b.parquet", pa.table({"noise": [i * 7919 % 104729 for i in range(50_000)]}))
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert folder.read_bytes("a.bin") == b"old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_found_in_causes(number: int) -> None:
    """A full disk is recognised in the causes of another error, as Ray wraps them."""
    error = RuntimeError("a task failed")
    error.cause = OSError(number, "no room", "/data/x.bin")  # type: ignore[attr-defined]  # as Ray's errors have it
    found = full_disk.find_disk_full(error)
    assert found is not None
    assert str(found).startswith("/data/x.bin: ")
    assert "not all could be written" in str(found)
    assert found.exit_code == UserError.exit_code
    assert str(copy.copy(found)) == str(found)  # as it is pickled, from a worker
    assert full_disk.find_disk_full(OSError(errno.EACCES, "no")) is None


def test_full_disk_restarts_no_rank() -> None:
    """An error of the callback ends Ray Train's controller; other losses are logged and tried again."""
    logger = worker_group._LostRankLogger()
    logger.after_exception(None, {0: ValueError("lost")})
    with pytest.raises(DiskFull):
        logger.after_exception(None, {1: ValueError("collateral"), 0: DiskFull("/data")})
