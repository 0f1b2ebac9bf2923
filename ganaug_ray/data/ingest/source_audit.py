"""Audits every image of a source, part by part, in the one scale of values that the data set has."""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig
from ganaug_ray.core.records import ValueRange
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import sources
from ganaug_ray.data.ingest import audit, exact_duplicates, unlabelled
from ganaug_ray.data.ingest import value_range as scales
from ganaug_ray.data.sources.listing import SourceListing
from ganaug_ray.data.sources.raw import PASSED_OVER, REMARK, SIDECAR, PartReader
from ganaug_ray.data.sources.remedies import find_content_remedy
from ganaug_ray.runtime.executors import Executor

Progress = Callable[[float, str], None]
"""Called with the share of a source that is read, 0 to 1, and words about it."""


def ignore_progress(share: float, words: str) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class AuditedSource:
    """The images of a source, each judged.

    Attributes:
        images: the fields of audit.ImageRecord, a row an image, by id; those with a reason are rejected.
        passed_over: reason -> files that are no images, neither kept nor rejected.
        sidecar: the path of one that holds images in a way that is not read; empty where there is none.
        remarks: of the reader, a sentence each.
        value_range: of samples that are wider than 8 bits, signed or floats; None where there are none.
    """

    images: pa.Table
    passed_over: dict[str, int] = field(default_factory=dict)
    sidecar: str = ""
    remarks: list[str] = field(default_factory=list)
    value_range: ValueRange | None = None

    def divide(self) -> tuple[pa.Table, pa.Table]:
        """Return the usable images, by id, and the rejected ones, by path."""
        is_usable = pc.is_null(self.images["reason"])
        return self.images.filter(is_usable), self.images.filter(pc.invert(is_usable)).sort_by("path")


def audit_source(
    config: DataConfig, staged: Folder, executor: Executor, value_range: ValueRange | None = None
) -> AuditedSource:
    """Audit every image of a source, sort by id, and reject exact duplicates.

    Samples that are wider than 8 bits, signed or floats are scaled from ``value_range``, or else each file's by its
    format.
    """
    tables = _audit_parts(config, staged, executor, ignore_progress, _list_named_parts(config), value_range)
    return _build_audited_source(tables, value_range)


def audit_in_one_scale(
    config: DataConfig,
    staged: Folder,
    executor: Executor,
    progress: Progress = ignore_progress,
    with_labels: bool = True,
    known_range: ValueRange | None = None,
    listing: SourceListing | None = None,
) -> AuditedSource:
    """Audit as ``audit_source``, in the one scale of the data set: known, or found in its samples.

    Without ``with_labels``, all labels are the empty text. Without ``listing``, the source is listed here.

    Raises:
        UserError: the scale cannot be known.
    """
    known = known_range or scales.read_known_range(config)
    named_parts = _list_named_parts(config, with_labels, listing)
    tables = _audit_parts(config, staged, executor, progress, named_parts, known)
    chosen = known or scales.infer_range(pa.concat_tables(tables), name_source(config))
    if chosen and not known:
        stale = [number for number, table in enumerate(tables) if scales.has_other_scale(table, chosen)]
        parts_again = [named_parts[number - 1] for number in stale]
        progress(1.0, f"{len(stale)} of {len(named_parts)} parts are read once more, in one scale of values")
        tables_again = _audit_parts(config, staged, executor, ignore_progress, parts_again, chosen)[1:]
        for number, table in zip(stale, tables_again, strict=True):
            tables[number] = table
    return _build_audited_source(tables, chosen)


def name_source(config: DataConfig) -> str:
    """Return the setting and its value, as messages name a source."""
    return f"data.source {', '.join(config.source)}"


def _list_named_parts(
    config: DataConfig, with_labels: bool = True, listing: SourceListing | None = None
) -> list[tuple[str, PartReader]]:
    """List the parts of the source, each with the name of what it stages."""
    if with_labels:
        parts = (listing or SourceListing(config)).take_parts()
        return [(f"labelled-{number:06d}", part) for number, part in enumerate(parts)]
    bare_parts = sources.list_parts(config.source, None, config.columns)
    return [
        (f"unlabelled-{number:06d}", functools.partial(unlabelled.read_without_labels, part))
        for number, part in enumerate(bare_parts)
    ]


def _audit_parts(
    config: DataConfig,
    staged: Folder,
    executor: Executor,
    progress: Progress,
    named_parts: Sequence[tuple[str, PartReader]],
    value_range: ValueRange | None,
) -> list[pa.Table]:
    """Have parts of the source read; return an empty table, and what was found in each."""
    tables = [audit.RECORD_SCHEMA.empty_table()]
    images = 0
    audit_part = functools.partial(audit.audit_part, config, value_range, staged)
    for number, table in enumerate(executor(audit_part, named_parts)):
        tables.append(table)
        images += len(table)
        kind = named_parts[number][0].split("-")[0]
        progress((number + 1) / len(named_parts), f"{images} {kind} images read")
    return tables


def _build_audited_source(tables: list[pa.Table], value_range: ValueRange | None) -> AuditedSource:
    """Join the tables of all parts, set aside what is no image, and reject exact copies.

    Empties ``tables``, so that millions of rows are not held twice.
    """
    records = pa.concat_tables(tables)
    tables.clear()
    is_image = pc.invert(pc.is_in(records["reason"], pa.array([REMARK, *PASSED_OVER])))
    passed_over_rows = records.filter(pc.invert(is_image)).select(["path", "reason", "detail"]).to_pylist()
    passed_over = Counter(row["reason"] for row in passed_over_rows if row["reason"] != REMARK)
    sidecars = (row["path"] for row in passed_over_rows if row["reason"] == SIDECAR)
    sidecar = next(filter(find_content_remedy, sidecars), "")
    # Once for all shards of a source.
    remarks = list(dict.fromkeys(row["detail"] for row in passed_over_rows if row["reason"] == REMARK))
    images = exact_duplicates.reject_copies(records.filter(is_image))
    if value_range and value_range.is_set and pc.unique(images["dtype"]).to_pylist() == [""]:
        remarks.append("data.value_range is not used: all images have plain 8 bits")
    return AuditedSource(images, dict(passed_over), sidecar, remarks, value_range)
