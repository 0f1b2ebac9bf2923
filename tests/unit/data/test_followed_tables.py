"""What is advised for shards, archives and data sets that cannot be read as they are: followed with the same images."""

from __future__ import annotations

import gzip
import json
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganaug_ray.config import DataConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.data.sources import archive_entries
from tests.helpers.labelled import lay_out, png, zip_names
from tests.unit.data.test_followed_refusals import LABELS, NAMES, PATHS, assert_kept, refuse, survey, write_idx

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"


def write_shard(path: Path, labels: Sequence[object], first: int = 0, names: Sequence[str] = ()) -> None:
    """Write images with these labels; ``names`` are those of numbers, as Hugging Face's library keeps them."""
    table = pa.table({"image": [png(first + row) for row in range(len(labels))], "label": labels})
    if names:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)


@pytest.mark.parametrize("others", ["text", "different names"])
def test_numbers_are_written_as_names(others: str, tmp_path: Path) -> None:
    """Shards whose numbers nobody can name are read once they have the names of classes, as the message says."""
    if others == "text":
        write_shard(tmp_path / "0.parquet", LABELS[:16])
    else:
        write_shard(tmp_path / "0.parquet", [0, 1] * 4, names=["cat", "dog"])
        write_shard(tmp_path / "1.parquet", [1, 0] * 4, 8, ["dog", "cat"])
    write_shard(tmp_path / "2.parquet", [0, 1] * 8, 16)
    refuse(tmp_path, r"2\.parquet: column label has numbers.*; write the names of classes in place of the numbers$")
    write_shard(tmp_path / "2.parquet", LABELS[16:], 16)
    assert_kept(survey(tmp_path))


def test_text_is_written_in_utf8(tmp_path: Path) -> None:
    """A table with text in another encoding is read once it is written anew."""
    path = tmp_path / "t.parquet"
    ends = np.arange(33, dtype=np.int32) * 4
    labels = pa.Array.from_buffers(pa.string(), 32, [None, pa.py_buffer(ends), pa.py_buffer(b"caf\xe9dog." * 16)])
    pq.write_table(pa.table({"image": [png(row) for row in range(32)], "label": labels}), path)
    refuse(path, "holds text that is not UTF-8, such as .*; write it anew$")
    words = [text.decode("latin-1") for text in labels.cast(pa.binary()).to_pylist()]
    write_shard(path, words)
    assert_kept(survey(path), classes=("café", "dog."))


@pytest.mark.parametrize("name", ["t.csv", "pets.zip"])
def test_pointer_is_fetched_by_command(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Git LFS has not fetched is read after the command in the message, here with a stand-in for git."""
    lay_out(tmp_path / "stored", *NAMES)
    rows = [f"stored/{name},{label}" for name, label in zip(NAMES, LABELS, strict=True)]
    (tmp_path / "stored" / "t.csv").write_text("\n".join(["image,label", *rows]))
    zip_names(tmp_path / "stored" / "pets.zip", *PATHS)
    (tmp_path / name).write_text(POINTER)
    command = refuse(tmp_path / name, "is a Git LFS pointer, not the file itself; fetch that with `(.*)`$")[1]
    git = tmp_path / "bin" / "git"
    git.parent.mkdir()
    git.write_text(f'#!/bin/sh\ntest "$*" = "lfs pull" && cp {tmp_path}/stored/{name} {tmp_path}/{name}\n')
    git.chmod(0o700)
    monkeypatch.setenv("PATH", str(git.parent), prepend=":")
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    assert_kept(survey(tmp_path / name))


def test_damaged_idx_file_is_downloaded_again(tmp_path: Path) -> None:
    """A file of arrays that cannot be unzipped, or holds no bytes, is read once it is the one that was meant."""
    images = tmp_path / "train-images-idx3-ubyte.gz"
    write_idx(images, np.random.default_rng(0).integers(0, 256, (32, 16, 16)))
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(32) % 2)
    whole = images.read_bytes()
    images.write_bytes(whole[: len(whole) // 2])
    refuse(f"idx:{tmp_path}", r"cannot be unzipped \(.*\); download it again$")
    images.write_bytes(gzip.compress(b"\0\0\x0d\3" + gzip.decompress(whole)[4:]))
    refuse(f"idx:{tmp_path}", r"is not an idx file of bytes \(uint8\), as MNIST has them$")
    images.write_bytes(whole)
    assert_kept(survey(f"idx:{tmp_path}"), classes=("0", "1"))


def test_large_archive_is_divided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive with more entries than are read is divided into several, which a list names."""
    monkeypatch.setattr(archive_entries, "MAX_ENTRIES", 31)
    refuse(zip_names(tmp_path / "all.zip", *PATHS), "divide it into several archives, and name them in a list$")
    lay_out(tmp_path / "all", *PATHS)
    parts = []
    for number, names in enumerate((PATHS[:16], PATHS[16:])):
        parts.append(str(tmp_path / f"{number}.zip"))
        with zipfile.ZipFile(parts[-1], "w") as archive:
            for name in names:
                archive.write(tmp_path / "all" / name, name)
    assert_kept(survey_without_storing(DataConfig(source=parts)))


def test_extended_data_set_is_in_its_experiment(tmp_path: Path) -> None:
    """Where data.extends names an experiment, the message names the data set in it, which is extended."""
    source = lay_out(tmp_path / "pictures", *PATHS)
    prepare_dataset(DataConfig(source=[str(source)]), Folder.from_uri(tmp_path / "run" / "dataset"))
    match = refuse(
        source, r"no finished dataset folder \(split\.parquet\) there; give (\S+)$", extends=f"{tmp_path}/run"
    )
    assert_kept(survey(source, extends=match[1]))
