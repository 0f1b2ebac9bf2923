"""Of copies of the same pixels one image is kept, whatever the order in which they were found."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ganaug_ray.config import DataConfig
from ganaug_ray.data.ingest import audit, exact_duplicates
from ganaug_ray.data.ingest.scan import survey_without_storing


def found(*rows: dict[str, Any]) -> pa.Table:
    """Rows as they come from workers: in many small tables, one without any."""
    fill = {"provenance": "here", "label": "cat", "reason": None, "detail": "", "given": None}
    tables = [pa.Table.from_pylist([{**fill, "path": row["id"], **row}], audit.RECORD_SCHEMA) for row in rows]
    return pa.concat_tables([audit.RECORD_SCHEMA.empty_table(), *tables])


def ids(n: int, start: str = "") -> list[str]:
    draw = random.Random(n)
    return [(start + f"{draw.getrandbits(128):032x}")[:32] for _ in range(n)]


@pytest.mark.parametrize("start", ["", "0123456789abcdef"], ids=["any ids", "ids that begin alike"])
def test_distinct_images_are_all_kept(start: str) -> None:
    """Images with different pixels are all kept, and come back in the order of their ids."""
    own = ids(50, start)
    judged = exact_duplicates.reject_copies(
        found(*({"id": id_} for id_ in own), {"id": "", "reason": "cannot be read"})
    )
    assert judged["id"].to_pylist() == ["", *sorted(own)]
    assert judged["reason"].to_pylist() == ["cannot be read"] + [None] * 50


def test_first_of_copies_is_kept() -> None:
    """The first of several copies is kept, and the others are rejected with a detail that names it."""
    one, other, third = ids(3)
    judged = exact_duplicates.reject_copies(
        found(
            {"id": one, "path": "a", "reason": "too small"},
            {"id": one, "path": "b"},
            {"id": other, "path": "c"},
            {"id": one, "path": "d"},
            {"id": third, "path": "e"},
            {"id": third, "path": "f", "label": "dog"},
            {"id": one, "path": "g"},
        )
    )
    said = {row["path"]: (row["reason"], row["detail"]) for row in judged.to_pylist()}
    torn = ("label conflict", "same pixels labelled cat, dog")
    twice = ("duplicate", "same pixels as b")
    assert said == {
        "a": ("too small", ""), "b": (None, ""), "c": (None, ""), "d": twice, "e": torn, "f": torn, "g": twice,
    }  # fmt: skip


def test_copy_in_test_split_wins() -> None:
    """Of copies in several splits the one in the test split is kept."""
    (one,) = ids(1)
    rows = [{"id": one, "path": given, "given": given} for given in ("train", "val", "test", "train")]
    said = [
        (row["path"], row["reason"], row["detail"]) for row in exact_duplicates.reject_copies(found(*rows)).to_pylist()
    ]
    leak = ("leak", "same pixels as test in test")
    assert said == [("train", *leak), ("val", *leak), ("test", None, ""), ("train", *leak)]


def test_empty_table_stays_empty() -> None:
    """A table without any rows stays empty."""
    assert exact_duplicates.reject_copies(found()).num_rows == 0


@pytest.mark.parametrize("size", [64, 256])
def test_cameras_files_of_several_pictures_are_copies(tmp_path: Path, size: int) -> None:
    """A JPEG with a second picture behind it, as phones write them, is a copy of that JPEG at every stored size."""
    draw = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(8):
            pixels = draw.integers(0, 256, (6, 8, 3), np.uint8)
            picture = Image.fromarray(pixels).resize((800, 600))
            picture.save(tmp_path / label / f"{number}.jpg")
            if number == 0:
                picture.save(tmp_path / label / "phone.jpg", "MPO", save_all=True, append_images=[picture.rotate(2)])
    found = survey_without_storing(DataConfig(source=[str(tmp_path)], image_size=size))
    assert sorted(found.rejected["reason"].to_pylist()) == ["duplicate"] * 2
