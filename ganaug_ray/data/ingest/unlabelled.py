"""Prepares images without labels: labels they may have are dropped, and none may be one of the labelled images."""

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.core.records import ValueRange
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import near_duplicates, shard_writer
from ganaug_ray.data.ingest.audit import count_notes
from ganaug_ray.data.samples import CUT_OFF, NARROW
from ganaug_ray.data.sources import RawImage
from ganaug_ray.data.sources.raw import PartReader
from ganaug_ray.runtime.executors import Executor

_SPLIT_ORDER = ("train", "val", "test")


def read_without_labels(part: PartReader) -> Iterator[RawImage]:
    """Yield the images of a part of a source without their labels."""
    return (replace(raw, label="", objection=None) for raw in part())


def describe_other_scale(records: pa.Table, value_range: ValueRange | None) -> list[str]:
    """Say how many images without labels seem to have another scale than the labelled ones, which they are brought to.

    Args:
        records: fields of audit.ImageRecord, a row an image without a label.
        value_range: of the labelled images; None where they have plain 8 bits.
    """
    if value_range is None:
        return []
    notes = count_notes(records.filter(pc.is_null(records["reason"])))
    signs = ", ".join(f"{notes[note]} × {note}" for note in (CUT_OFF, NARROW) if note in notes)
    if not signs:
        return []
    return [
        f"the images without labels are read in the range of the labelled ones, {value_range.low:.6g} to "
        f"{value_range.high:.6g}: {signs}; if they have another scale, bring the files of data.unlabelled to that range"
    ]


def drop_labels(usable: pa.Table) -> pa.Table:
    """Turn rows of ``Survey.usable`` into rows of ImageRecord without labels."""
    column = usable.schema.get_field_index("label")
    return usable.set_column(column, "label", pa.array([""] * len(usable), pa.string())).drop_columns("split")


def reject_copies_of_labelled(records: pa.Table, labelled: pa.Table, staged: Folder, executor: Executor) -> pa.Table:
    """Reject images that are copies or near-duplicates of an image of train, val or test.

    Args:
        records: fields of audit.ImageRecord, a row an image without a label.
        labelled: rows of Survey.usable, those that are used.
        staged: where the thumbnails of both are.
        executor: who looks for them.

    Returns:
        ``records`` with a reason for each such row: "in test" or "near test", and so on.
    """
    split_by_id = dict(zip(labelled["id"].to_pylist(), labelled["split"].to_pylist(), strict=True))
    reasons = records["reason"].to_pylist()
    for row, id_ in enumerate(records["id"].to_pylist()):
        if not reasons[row] and id_ in split_by_id:
            reasons[row] = f"in {split_by_id[id_]}"
    usable_rows = [row for row, reason in enumerate(reasons) if reason is None]
    usable = records.take(pa.array(usable_rows, pa.int64()))
    columns = ["hash", "file", "rank"]
    both = pa.concat_tables([labelled.select(columns), usable.select(columns)])
    splits = labelled["split"].to_pylist()
    for group in near_duplicates.find_groups(
        both["hash"].to_numpy(), lambda rows: shard_writer.read_thumbnails(staged, both.take(rows)), executor
    ):
        parts = {splits[row] for row in group if row < len(splits)}
        for row in group:
            if parts and row >= len(splits):
                reasons[usable_rows[row - len(splits)]] = f"near {max(parts, key=_SPLIT_ORDER.index)}"
    column = records.schema.get_field_index("reason")
    return records.set_column(column, "reason", pa.array(reasons, pa.string()))
