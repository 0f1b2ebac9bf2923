"""What is advised for damaged or doubtful sources and tables, followed with the same files."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ganaug_ray.data.card.class_metadata import join_classes
from ganaug_ray.data.sources import hub
from ganaug_ray.errors import UserError
from tests.helpers.hub import Files, serve_hub
from tests.helpers.labelled import png, read, zip_names
from tests.unit.data.test_followed_refusals import CLASSES, LABELS, PATHS, assert_kept, refuse, survey, write_idx

__all__ = ["serve_hub"]  # a fixture


def write_rows(folder: Path, name: str = "data-00000-of-00001.arrow", **state: object) -> None:
    """Save 32 images as the library of data sets does."""
    folder.mkdir(parents=True, exist_ok=True)
    features = {"image": {"_type": "Image"}, "label": {"_type": "Value", "dtype": "string"}}
    table = pa.table({"image": [{"bytes": png(row), "path": None} for row in range(32)], "label": LABELS})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    with pa.ipc.new_stream(folder / name, table.schema) as stream:
        stream.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}], **state}))


@pytest.mark.parametrize("damage", ["no state", "no file", "an index"])
def test_saved_dataset_is_saved_again(damage: str, tmp_path: Path) -> None:
    """A saved data set that lacks a file, or rows in their order, is read once it is saved again."""
    write_rows(tmp_path, **({"_indices_data_files": [{"filename": "x"}]} if damage == "an index" else {}))
    if damage == "no state":
        (tmp_path / "state.json").unlink()
    elif damage == "no file":
        (tmp_path / "data-00000-of-00001.arrow").rename(tmp_path / "old.arrow")
    refuse(tmp_path, "save the data set again|and save it again")
    write_rows(tmp_path)
    assert_kept(survey(tmp_path))


def test_short_idx_file_is_copied_again(tmp_path: Path) -> None:
    """A file of arrays that was cut off is read once it is copied again."""
    images = tmp_path / "train-images-idx3-ubyte.gz"
    write_idx(images, np.random.default_rng(0).integers(0, 256, (32, 16, 16)))
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(32) % 2)
    whole = images.read_bytes()
    images.write_bytes(gzip.compress(gzip.decompress(whole)[:-16]))
    refuse(f"idx:{tmp_path}", "bytes follow; copy the file again")
    images.write_bytes(whole)
    assert_kept(survey(f"idx:{tmp_path}"), classes=("0", "1"))


def test_known_digits_are_taken() -> None:
    """Another data set of scikit-learn's is refused with the one that there is."""
    known = refuse("sklearn:iris", r"only (\S+) can be read")[1]
    assert len({raw.label for raw in read(known)}) == 10


@pytest.mark.parametrize(
    ("rows", "classes", "advice", "followed"),
    [
        (["paul klee,a", "Paul Klee,b"], ["Paul Klee"], "(line 3); keep one of them", ["Paul Klee,b"]),
        (["Muller,a"], ["Mùller", "Mûller"], "could be of class 'Mùller' or 'Mûller'; write it as one", ["Mûller,a"]),
    ],
)
def test_facts_are_of_one_class(
    tmp_path: Path, rows: list[str], classes: list[str], advice: str, followed: list[str]
) -> None:
    """Facts that could be of two classes, or two of one, are read once they are as the message says."""
    table = tmp_path / "facts.csv"
    table.write_text("\n".join(["name,fact", *rows]))
    with pytest.raises(UserError) as caught:
        join_classes(classes, str(table))
    assert advice in str(caught.value)
    table.write_text("\n".join(["name,fact", *followed]))
    facts = join_classes(classes, str(table))[0]
    assert facts[classes[-1]]["fact"] == followed[0][-1]


@pytest.mark.parametrize("kind", ["folder", "archive"])
def test_unread_hub_files_are_given_by_path(
    kind: str, tmp_path: Path, serve_hub: Callable[[dict[str, Files]], Any]
) -> None:
    """An archive on the Hub is not read there; downloaded, it is, and so is the folder that is in it."""
    archive = zip_names(tmp_path / "pets.zip", *PATHS)
    context = serve_hub({"main": {"pets.zip": archive.read_bytes(), "pets.py": b""}})
    refuse("hf:someone/pets", "download it yourself, and give an archive or a folder")
    context.__exit__(None, None, None)
    if kind == "folder":
        shutil.unpack_archive(archive, tmp_path / "pets")
        archive = tmp_path / "pets"
    assert_kept(survey(archive))


def test_folder_of_large_hub_dataset_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve_hub: Callable[[dict[str, Files]], Any]
) -> None:
    """A data set of the Hub that is too large is read folder by folder."""
    files = {f"small/{path}": png(number) for number, path in enumerate(PATHS)}
    large = {f"large/{path}": png(100 + number) * 9 for number, path in enumerate(PATHS)}
    monkeypatch.setattr(hub, "MAX_DOWNLOAD_BYTES", sum(map(len, files.values())))
    context = serve_hub({"main": files | large})
    refuse("hf:someone/pets", "name one folder of it")
    assert {raw.label for raw in read("hf:someone/pets/small") if raw.label} == set(CLASSES)
    context.__exit__(None, None, None)
