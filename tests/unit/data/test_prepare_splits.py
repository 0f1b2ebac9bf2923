"""The data sets of several splits come from sources that are read once, and are the same as those made one by one."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganaug_ray.config import DataConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import audit
from ganaug_ray.data.prepare import prepare_dataset, prepare_datasets
from ganaug_ray.runtime.executors import map_serially

SAME_FILES = ("split.parquet", "near_duplicates.parquet", "unlabelled.parquet", "rejected.parquet")


def test_sources_are_read_once_for_all_splits(tmp_path: Path) -> None:
    """Three splits read each part of the source once, and have what three separate preparations give."""
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(12):
            pixels = np.random.default_rng(100 * number + index).integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{index}.png")
    base = DataConfig(source=[str(tmp_path / "pictures")], train_per_class=4, unlabelled=["unused"], image_size=32)
    configs = [base.derive_fold(fold, 3) for fold in range(3)]
    parts_read: list[Any] = []

    def map_and_count(function: Any, items: Iterable[Any]) -> Iterator[Any]:
        if getattr(function, "func", None) is audit.audit_part:
            parts_read.extend(items)
        return map_serially(function, items)

    together = [Folder.from_uri(tmp_path / f"together-{fold}") for fold in range(3)]
    records = prepare_datasets(configs, together, map_and_count)
    names = [name for name, _ in parts_read]
    assert names
    assert len(names) == len(set(names))

    for fold, (config, folder, record) in enumerate(zip(configs, together, records, strict=True)):
        alone = Folder.from_uri(tmp_path / f"alone-{fold}")
        expected = prepare_dataset(config, alone)
        assert (record.hash, record.counts, record.mean) == (expected.hash, expected.counts, expected.mean)
        for name in SAME_FILES:
            assert folder.read_table(name).equals(alone.read_table(name)), name
        for part in ("train", "val", "test", "unlabelled"):
            shards = (folder / part).list_files()
            assert shards == (alone / part).list_files()
            for shard in shards:
                assert (folder / part).read_bytes(shard) == (alone / part).read_bytes(shard), (part, shard)
    assert len({record.hash for record in records}) == 3
    assert not [info for info in together[0].list_entries() if info.base_name == ".staged"]
