"""Images without labels: whatever is said of their class is forgotten, and none of them is one of the labelled."""

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import near_duplicates, shard_writer
from ganaug_ray.data.sources import Raw
from ganaug_ray.data.sources.raw import Part
from ganaug_ray.runtime.executors import Each

_WORST_LAST = ("train", "val", "test")


def nameless(part: Part) -> Iterator[Raw]:
    """Read a part of a source and forget the labels."""
    return (replace(raw, label="") for raw in part())


def forget(kept: pa.Table) -> pa.Table:
    """Return labelled images, rows of Survey.kept, as rows of audit.Found without their labels."""
    column = kept.schema.get_field_index("label")
    return kept.set_column(column, "label", pa.array([""] * len(kept), pa.string())).drop_columns("split")


def apart(found: pa.Table, labelled: pa.Table, staged: Folder, each: Each) -> pa.Table:
    """Reject what is, or resembles, an image of train, val or test: it would be trained on twice, or give them away.

    Args:
        found: fields of audit.Found, a row an image without a label.
        labelled: rows of Survey.kept, those that are used.
        staged: where the thumbnails of both are.
        each: who looks for them.

    Returns:
        ``found`` with a reason for each such row: "in test" or "near test", and so on.
    """
    seen = dict(zip(labelled["id"].to_pylist(), labelled["split"].to_pylist(), strict=True))
    reasons = [
        reason or (f"in {seen[id_]}" if id_ in seen else None)
        for id_, reason in zip(found["id"].to_pylist(), found["reason"].to_pylist(), strict=True)
    ]
    fresh = [row for row, reason in enumerate(reasons) if reason is None]
    both = pa.concat_tables(
        [table.select(["hash", "file", "rank"]) for table in (labelled, found.take(pa.array(fresh, pa.int64())))]
    )
    splits = labelled["split"].to_pylist()
    for group in near_duplicates.groups(
        both["hash"].to_numpy(), lambda rows: shard_writer.thumbs(staged, both.take(rows)), each
    ):
        parts = {splits[row] for row in group if row < len(splits)}
        for row in group:
            if parts and row >= len(splits):
                reasons[fresh[row - len(splits)]] = f"near {max(parts, key=_WORST_LAST.index)}"
    column = found.schema.get_field_index("reason")
    return found.set_column(column, "reason", pa.array(reasons, pa.string()))
