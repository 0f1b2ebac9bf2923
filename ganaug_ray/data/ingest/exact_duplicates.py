"""Copies: of the same pixels found several times, one image is kept."""

import binascii
import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.data.ingest.split import SPLITS

NO_ID = "0" * 32  # stands in for that of an image that could not be decoded, which has none


def reject(found: pa.Table) -> pa.Table:
    """Order images by id, and reject all but one of several copies; all of them where they are labelled differently.

    Of copies in different given splits, the one for test is kept, else the one for validation: trained on, it would
    make every later figure too good. Of others, the first is.

    Args:
        found: the fields of audit.Found, a row an image.

    Returns:
        The same rows, by id, with reasons and details for the copies.
    """
    found = found.combine_chunks()  # there may be very many, and to take rows from such is slow
    found = found.take(pa.array(_by_id(found["id"])))
    good = pc.is_null(found["reason"]).to_numpy()
    ids = found["id"].filter(good)
    as_before = np.zeros(len(ids) + 1, bool)
    as_before[1:-1] = pc.equal(ids[1:], ids[:-1])
    copied = np.zeros(len(found), bool)
    copied[good] = as_before[:-1] | as_before[1:]
    rows = found.filter(copied).select(["id", "path", "label", "given"]).to_pylist()
    judged = [verdict for _, alike in itertools.groupby(rows, lambda row: row["id"]) for verdict in _judge([*alike])]
    for number, name in enumerate(("reason", "detail")):
        texts = pa.array([verdict[number] for verdict in judged], pa.string())
        told = pc.replace_with_mask(found[name].combine_chunks(), pa.array(copied), texts)
        found = found.set_column(found.schema.get_field_index(name), name, told)
    return found


def _by_id(ids: pa.ChunkedArray) -> np.ndarray:
    """Rows in order of their ids, 32 hex digits or none; of equal ones, the first is first. int64 [N]."""
    digits = pc.if_else(pc.equal(ids, ""), NO_ID, ids).cast(pa.binary(len(NO_ID))).combine_chunks()
    numbers = np.frombuffer(binascii.unhexlify(digits.buffers()[1] or b""), ">u8").astype(np.uint64)
    high, low = numbers[0::2], numbers[1::2]
    order = np.argsort(high, kind="stable")  # numbers are sorted ten times as fast as texts
    equal = np.flatnonzero(np.diff(high[order]) == 0)
    if (low[order[equal]] > low[order[equal + 1]]).any():  # rare: the first half of different ids is the same
        order = np.lexsort((low, high))
    return order


def _judge(alike: list[dict]) -> Iterator[tuple[str | None, str]]:
    """Yield reason and detail for each of several copies."""
    names = sorted({row["label"] for row in alike})
    kept = max(alike, key=lambda row: SPLITS.index(row["given"] or "train"))  # the first of equals
    for row in alike:
        if len(names) > 1:
            yield "label conflict", f"same pixels labelled {', '.join(names)}"
        elif row is kept:
            yield None, ""
        elif row["given"] != kept["given"]:
            yield "leak", f"same pixels as {kept['path']} in {kept['given']}"
        else:
            yield "duplicate", f"same pixels as {kept['path']}"
