"""Of copies of the same pixels one image is kept, whatever the order in which they were found."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from ganaug_ray.data.ingest import audit, exact_duplicates


def found(*rows: dict[str, Any]) -> pa.Table:
    """Rows as they come from workers: in many small tables, one without any."""
    fill = {"provenance": "here", "label": "cat", "reason": None, "detail": "", "given": None}
    tables = [pa.Table.from_pylist([{**fill, "path": row["id"], **row}], audit.RECORD_SCHEMA) for row in rows]
    return pa.concat_tables([audit.RECORD_SCHEMA.empty_table(), *tables])


def ids(n: int, start: str = "") -> list[str]:
    draw = random.Random(n)
    return [(start + f"{draw.getrandbits(128):032x}")[:32] for _ in range(n)]


@pytest.mark.parametrize("start", ["", "0123456789abcdef"], ids=["any ids", "ids that begin alike"])
def test_rows_come_back_by_id_and_different_images_are_kept(start: str) -> None:
    own = ids(50, start)
    judged = exact_duplicates.reject_copies(
        found(*({"id": id_} for id_ in own), {"id": "", "reason": "cannot be read"})
    )
    assert judged["id"].to_pylist() == ["", *sorted(own)]
    assert judged["reason"].to_pylist() == ["cannot be read"] + [None] * 50


def test_the_first_of_copies_is_kept_and_the_others_name_it() -> None:
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


def test_of_copies_in_several_splits_the_one_for_test_is_kept() -> None:
    (one,) = ids(1)
    rows = [{"id": one, "path": given, "given": given} for given in ("train", "val", "test", "train")]
    said = [
        (row["path"], row["reason"], row["detail"]) for row in exact_duplicates.reject_copies(found(*rows)).to_pylist()
    ]
    leak = ("leak", "same pixels as test in test")
    assert said == [("train", *leak), ("val", *leak), ("test", None, ""), ("train", *leak)]


def test_nothing_found_is_nothing() -> None:
    assert exact_duplicates.reject_copies(found()).num_rows == 0
