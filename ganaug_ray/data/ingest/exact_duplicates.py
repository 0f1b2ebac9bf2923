"""Exact duplicates: of several images with the same pixels, one is kept."""

import binascii
import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.data.ingest.split import SPLITS

MISSING_ID = "0" * 32  # stands in for that of an image that could not be decoded, which has none


def reject_copies(records: pa.Table) -> pa.Table:
    """Sort images by id, and reject all but one of those with the same pixels; all of them if their labels differ.

    Of copies in different given splits, the one for test is kept, else the one for validation: trained on, it would
    make every later figure too good. Of others, the first is.

    Args:
        records: the fields of audit.ImageRecord, a row an image.

    Returns:
        The same rows, by id, with reasons and details for the copies.
    """
    records = records.combine_chunks()  # there may be very many, and to take rows from such is slow
    records = records.take(pa.array(_order_by_id(records["id"])))
    is_usable = pc.is_null(records["reason"]).to_numpy()
    ids = records["id"].filter(is_usable)
    equals_previous = np.zeros(len(ids) + 1, bool)
    equals_previous[1:-1] = pc.equal(ids[1:], ids[:-1])
    is_copied = np.zeros(len(records), bool)
    is_copied[is_usable] = equals_previous[:-1] | equals_previous[1:]
    rows = records.filter(is_copied).select(["id", "path", "label", "given"]).to_pylist()
    verdicts: list[tuple[str | None, str]] = []
    for _, copies in itertools.groupby(rows, lambda row: row["id"]):
        verdicts += _judge_copies(list(copies))
    for number, name in enumerate(("reason", "detail")):
        texts = pa.array([verdict[number] for verdict in verdicts], pa.string())
        column = pc.replace_with_mask(records[name].combine_chunks(), pa.array(is_copied), texts)
        records = records.set_column(records.schema.get_field_index(name), name, column)
    return records


def _order_by_id(ids: pa.ChunkedArray) -> np.ndarray:
    """Rows in order of their ids, 32 hex digits or none; of equal ones, the first is first. int64 [N]."""
    digits = pc.if_else(pc.equal(ids, ""), MISSING_ID, ids).cast(pa.binary(len(MISSING_ID))).combine_chunks()
    numbers = np.frombuffer(binascii.unhexlify(digits.buffers()[1] or b""), ">u8").astype(np.uint64)
    high = numbers[0::2]
    low = numbers[1::2]
    order = np.argsort(high, kind="stable")  # numbers are sorted ten times as fast as texts
    equal = np.flatnonzero(np.diff(high[order]) == 0)
    before = low[order[equal]]
    after = low[order[equal + 1]]
    if (before > after).any():  # rare: the first half of different ids is the same
        order = np.lexsort((low, high))
    return order


def _judge_copies(copies: list[dict]) -> Iterator[tuple[str | None, str]]:
    """Yield reason and detail for each of several copies."""
    names = sorted({row["label"] for row in copies})
    retained_copy = max(copies, key=lambda row: SPLITS.index(row["given"] or "train"))  # the first of equals
    for row in copies:
        if len(names) > 1:
            yield "label conflict", f"same pixels labelled {', '.join(names)}"
        elif row is retained_copy:
            yield None, ""
        elif row["given"] != retained_copy["given"]:
            yield "leak", f"same pixels as {retained_copy['path']} in {retained_copy['given']}"
        else:
            yield "duplicate", f"same pixels as {retained_copy['path']}"
