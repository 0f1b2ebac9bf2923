"""Archives of very many files: honest ones are read in place, others are refused in time."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.helpers.archives import Entry, gzipped, info, prepare, zip_of
from tests.helpers.dirty import png

MEMORY = 3072  # MiB of addresses for each process; two hundred thousand images take 2,500, and 690 of memory


def test_huge_zip_is_read_in_place(tmp_path: Path) -> None:
    """A ZIP archive of two hundred thousand images is read in place within the memory limit."""
    per_class = 100_000
    rows = np.random.default_rng(0).integers(0, 256, (2 * per_class, 8, 9), np.uint8)
    rows[:, :, 0] = 0  # no filter
    tiny = (Entry(f"{('cat', 'dog')[i % 2]}/{i:06d}.png", png(8, 8, 8, row.tobytes())) for i, row in enumerate(rows))
    archive = tmp_path / "tiny.zip"
    archive.write_bytes(zip_of(tiny))
    found = prepare(archive, MEMORY)
    assert found.code == 0, found.said
    assert found.rejected == {}
    assert len(found.kept) == 2 * per_class
    table = pq.read_table(tmp_path / "out" / "dataset" / "split.parquet")
    assert len(set(table.column("path").to_pylist())) == table.num_rows == 2 * per_class


def test_tar_with_million_entries_is_refused(tmp_path: Path) -> None:
    """A TAR archive with a million entries is refused within the memory limit."""
    entry = info("cat/1.png").tobuf(tarfile.GNU_FORMAT)
    archive = tmp_path / "many.tgz"
    archive.write_bytes(gzipped((entry * 2000, 500)))
    found = prepare(archive, MEMORY)
    assert found.code == 2
    assert "many.tgz" in found.said
    assert "entries" in found.said
