"""Data sets as Hugging Face's datasets saves them: Arrow files, and Parquet shards, with the names of their classes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ganaug_ray.config import LabelFrom
from ganaug_ray.data import images
from ganaug_ray.data.sources import count_images, list_parts
from ganaug_ray.data.sources.raw import RawImage
from ganaug_ray.errors import UserError
from tests.helpers import image_files

CLASSES = ["cat", "dog"]


def read(source: Path) -> list[RawImage]:
    return [raw for part in list_parts([str(source)], LabelFrom()) for raw in part()]


def encode(seed: int) -> bytes:
    return image_files.encode(np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8), "PNG")


def save_split(folder: Path, rows: range, batch_rows: int = 10) -> None:
    """Write a split as save_to_disk does: a stream of batches, and a file that names it."""
    cells = [{"bytes": encode(row), "path": None} for row in rows]
    features = {"image": {"_type": "Image"}, "label": {"names": CLASSES, "_type": "ClassLabel"}}
    table = pa.table({"image": cells, "label": [row % 2 for row in rows]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    folder.mkdir(parents=True, exist_ok=True)
    name = "data-00000-of-00001.arrow"
    with pa.ipc.new_stream(folder / name, table.schema) as stream:
        stream.write_table(table, batch_rows)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}], "_fingerprint": "0"}))
    (folder / "dataset_info.json").write_text("{}")


def test_saved_splits_are_read_with_class_names(tmp_path: Path) -> None:
    """Every row of every split is read, with its class's name; the library's cache files beside them are not."""
    save_split(tmp_path / "train", range(32))
    save_split(tmp_path / "test", range(32, 48))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    (tmp_path / "train" / "cache-0123456789abcdef.arrow").write_bytes(b"no stream")
    found = [raw for raw in read(tmp_path) if raw.label]
    assert len(found) == 48 == count_images(list_parts([str(tmp_path)], LabelFrom()))
    assert {raw.split for raw in found} == {"train", "test"}
    by_split = {split: [raw for raw in found if raw.split == split] for split in ("train", "test")}
    assert [raw.label for raw in by_split["test"]] == CLASSES * 8
    assert by_split["train"][11].content == encode(11)
    assert images.decode(found[0].content, 16).image.size == (16, 16)


def test_damaged_saved_dataset_is_named(tmp_path: Path) -> None:
    """A file that is missing, is cut off, or is chosen from by an index: a sentence says which."""
    save_split(tmp_path, range(32))
    file = tmp_path / "data-00000-of-00001.arrow"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"data-00000-of-00001\.arrow: is not a readable Arrow stream"):
        read(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    file.rename(tmp_path / "other.arrow")
    with pytest.raises(UserError, match=r"data-00000-of-00001\.arrow is missing"):
        read(tmp_path)
    (tmp_path / "state.json").write_text(json.dumps(state | {"_indices_data_files": [{"filename": "x"}]}))
    with pytest.raises(UserError, match=r"flatten_indices"):
        read(tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="not installed: pip install datasets")
def test_what_datasets_writes_is_read(tmp_path: Path) -> None:
    """What the library itself saves, to disk and as Parquet, gives the same images, classes and splits."""
    import datasets

    features = datasets.Features({"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=CLASSES)})
    splits = {}
    for split, first in (("train", 0), ("test", 20)):
        rows = range(first, first + 20)
        content = {"img": [{"bytes": encode(row), "path": None} for row in rows], "fine_label": [r % 2 for r in rows]}
        splits[split] = datasets.Dataset.from_dict(content, features=features)
    whole = datasets.DatasetDict(splits)
    whole.save_to_disk(tmp_path / "saved")
    (tmp_path / "parquet").mkdir()
    for split, part in whole.items():
        part.to_parquet(tmp_path / "parquet" / f"{split}-00000-of-00001.parquet")
    expected = {(encode(row), CLASSES[row % 2], "train" if row < 20 else "test") for row in range(40)}
    for name in ("saved", "parquet"):
        assert {(raw.content, raw.label, raw.split) for raw in read(tmp_path / name) if raw.label} == expected
