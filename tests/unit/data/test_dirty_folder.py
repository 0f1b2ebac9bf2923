"""Sixty bad files among six hundred photographs: those sixty are left out, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganaug_ray.config import DataConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.prepare import prepare_dataset
from tests.helpers import dirty

pytestmark = pytest.mark.skipif(
    not dirty.PHOTOGRAPHS.exists(), reason="the cat and dog photographs are not on this machine"
)


def rows_of(dataset: Path) -> dict[str, bytes]:
    """Every file that tells of images that were kept."""
    files = [*dataset.glob("*/part-*.parquet"), dataset / "split.parquet", dataset / "near_duplicates.parquet"]
    return {str(file.relative_to(dataset)): file.read_bytes() for file in files}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_only_bad_files_are_rejected(tmp_path: Path) -> None:
    """Exactly the bad files are rejected, each for its reason, and no other row changes."""
    root = dirty.photographs(tmp_path / "pictures", 300)
    config = DataConfig(source=[str(root)], image_size=64)
    clean = prepare_dataset(config, Folder.from_uri(tmp_path / "clean"))
    assert clean.rejected == {}
    assert sum(sum(own.values()) for own in clean.counts.values()) == 600
    bad = dirty.spoil(root)
    assert len(bad) == 60
    out = Folder.from_uri(tmp_path / "mixed")
    prepare_dataset(config, out)
    rejected = out.read_table("rejected.parquet").to_pylist()
    assert len(rejected) == 60, "none is listed twice"
    assert {row["path"]: row["reason"] for row in rejected} == bad
    assert rows_of(tmp_path / "mixed") == rows_of(tmp_path / "clean")
