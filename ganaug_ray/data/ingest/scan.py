"""Scans a source: every image is read and audited once, duplicates are found, and the rest is split."""

import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig, LabelFrom, SplitConfig
from ganaug_ray.core.records import ValueRange
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import sources
from ganaug_ray.data.ingest import (
    audit,
    exact_duplicates,
    imbalance,
    near_duplicates,
    shard_writer,
    split,
    unlabelled,
    value_range,
)
from ganaug_ray.data.sources.raw import SourcePart
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.executors import Executor, map_serially

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Survey:
    """The result of a scan: the usable images with their splits, and the rejected ones.

    Attributes:
        classes: sorted.
        channels: of the store, 1 or 3.
        usable: the fields of audit.ImageRecord and ``split``, a row an image, by id.
        rejected: the fields of audit.ImageRecord, by path.
        duplicate_groups: groups of near-duplicates: their rows in ``usable``.
        value_range: of samples that are wider than 8 bits, signed or floats; None where there are none.
        unlabelled: images without labels, the fields of audit.ImageRecord, by id; those with a reason are not kept.
    """

    classes: list[str]
    channels: int
    usable: pa.Table
    rejected: pa.Table
    duplicate_groups: list[list[int]]
    unlabelled: pa.Table
    value_range: ValueRange | None

    def count_images(self) -> dict[str, dict[str, int]]:
        """Count the usable images: split -> class -> number."""
        image_counts = {part: dict.fromkeys(self.classes, 0) for part in split.PLACES}
        for row in self.usable.group_by(["split", "label"]).aggregate([([], "count_all")]).to_pylist():
            image_counts[row["split"]][row["label"]] = row["count_all"]
        return image_counts

    def count_rejects(self) -> dict[str, int]:
        """Count the rejected images: reason -> number."""
        return dict(Counter(_list_column(self.rejected, "reason")))

    def count_notes(self) -> dict[str, int]:
        """Count the notes on usable images: note -> number."""
        notes = self.usable["note"].filter(pc.not_equal(self.usable["note"], ""))
        return dict(Counter(pc.list_flatten(pc.split_pattern(notes, audit.NOTE_SEPARATOR)).to_pylist()).most_common())


def survey_source(
    config: DataConfig,
    staged: Folder,
    executor: Executor = map_serially,
    progress: Progress = lambda share, words: None,
) -> Survey:
    """Read, decode and audit every image of a source, and assign each usable one to a split.

    Args:
        config: the data section of a job.
        staged: an empty folder, where the pixels go.
        executor: who reads.
        progress: as in ``prepare_dataset``.

    Raises:
        UserError: as in ``prepare_dataset``.
    """
    records, scale = _audit_in_one_scale(config, staged, executor, progress)
    rejected = records.filter(pc.is_valid(records["reason"])).sort_by("path")
    usable = records.filter(pc.is_null(records["reason"]))
    del records
    name = _name_source(config)
    _refuse_many_rejects(name, config.max_rejected, usable, rejected)
    _refuse_single_class(name, usable)
    staged_rows = usable.select(["file", "rank"])
    duplicate_groups = near_duplicates.find_groups(
        usable["hash"].to_numpy(), lambda rows: shard_writer.read_thumbnails(staged, staged_rows.take(rows)), executor
    )
    duplicate_groups.sort(key=lambda group: (-len(group), group))  # the largest are the ones to look at
    classes = sorted(pc.unique(usable["label"]).to_pylist())
    usable = usable.append_column("split", _assign_splits(config, usable, classes, duplicate_groups))
    channels = config.channels or pc.max(usable["channels"]).as_py()
    if scale:
        config = config.model_copy(update={"value_range": [scale.low, scale.high]})
    return Survey(
        classes,
        channels,
        usable,
        rejected,
        duplicate_groups,
        _read_unlabelled(config, usable, staged, executor, progress),
        scale,
    )


def survey_without_storing(config: DataConfig, executor: Executor = map_serially) -> Survey:
    """Survey a source without keeping its pixels, for a dry run."""
    with tempfile.TemporaryDirectory(prefix="ganaug-") as folder:
        return survey_source(config, Folder.from_uri(folder), executor)


def audit_source(
    config: DataConfig,
    staged: Folder,
    executor: Executor,
    progress: Progress = lambda share, words: None,
    value_range: ValueRange | None = None,
) -> pa.Table:
    """Audit every image of a source, sort by id, and reject exact duplicates; return the table of ImageRecord.

    Samples that are wider than 8 bits, signed or floats are scaled from ``value_range``, or else each file's by its
    format.
    """
    # In two steps: what millions of images are listed and reported as is let go of as soon as it can be.
    tables = _audit_parts(config, staged, executor, progress, _list_named_parts(config), value_range)
    return exact_duplicates.reject_copies(_join_tables(tables))


def _audit_in_one_scale(
    config: DataConfig, staged: Folder, executor: Executor, progress: Progress, with_labels: bool = True
) -> tuple[pa.Table, ValueRange | None]:
    """Audit as ``audit_source``, in the one scale of the data set: known, or found in its samples; and return it.

    Without ``with_labels``, all labels are the empty text.
    """
    known = value_range.read_known_range(config)
    named_parts = _list_named_parts(config, with_labels)
    tables = _audit_parts(config, staged, executor, progress, named_parts, known)
    found = known or value_range.infer_range(_join_tables(tables), _name_source(config))
    if found and not known:
        stale = [number for number, table in enumerate(tables) if value_range.has_other_scale(table, found)]
        parts_again = [named_parts[number] for number in stale]
        progress(1.0, f"{len(stale)} of {len(tables)} parts are read once more, in one scale of values")
        for number, table in zip(
            stale, _audit_parts(config, staged, executor, lambda *_: None, parts_again, found), strict=True
        ):
            tables[number] = table
    return exact_duplicates.reject_copies(_join_tables(tables)), found


def _join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables([audit.RECORD_SCHEMA.empty_table(), *tables])


def _name_source(config: DataConfig) -> str:
    return f"data.source {', '.join(config.source)}"


def _list_named_parts(config: DataConfig, with_labels: bool = True) -> list[tuple[str, SourcePart]]:
    """List the parts of the source, each with the name of what it stages."""
    kind = "labelled" if with_labels else "unlabelled"
    parts: Iterable[SourcePart] = sources.list_parts(config.source, config.label_from)
    if not with_labels:
        parts = [functools.partial(unlabelled.read_without_labels, part) for part in parts]
    return [(f"{kind}-{number:06d}", part) for number, part in enumerate(parts)]


def _audit_parts(
    config: DataConfig,
    staged: Folder,
    executor: Executor,
    progress: Progress,
    named_parts: Sequence[tuple[str, SourcePart]],
    scale: ValueRange | None,
) -> list[pa.Table]:
    """Have parts of the source read; return what was found in each."""
    tables: list[pa.Table] = []
    images = 0
    for table in executor(functools.partial(audit.audit_part, config, scale, staged), named_parts):
        tables.append(table)
        images += len(table)
        kind = named_parts[len(tables) - 1][0].split("-")[0]
        progress(len(tables) / len(named_parts), f"{images} {kind} images read")
    return tables


def _read_unlabelled(
    config: DataConfig, usable: pa.Table, staged: Folder, executor: Executor, progress: Progress
) -> pa.Table:
    """Read the images without labels, see Survey."""
    if config.unlabelled is None:
        return audit.RECORD_SCHEMA.empty_table()
    where = f"data.unlabelled {', '.join(config.unlabelled)}"
    left_over = pc.equal(usable["split"], split.UNUSED)
    tables = [audit.RECORD_SCHEMA.empty_table()]
    if split.UNUSED in config.unlabelled:
        tables.append(unlabelled.drop_labels(usable.filter(left_over)))
        if not len(tables[-1]):
            raise UserError(f"{where}: no image is left over; data.train_per_class and data.imbalance leave some")
    if names := [name for name in config.unlabelled if name != split.UNUSED]:
        source_config = config.model_copy(update={"source": names, "label_from": LabelFrom(), "split": SplitConfig()})
        try:
            tables.append(_audit_in_one_scale(source_config, staged, executor, progress, with_labels=False)[0])
        except UserError as error:
            raise UserError(str(error).replace("data.source", "data.unlabelled", 1)) from None
    records = exact_duplicates.reject_copies(_join_tables(tables))
    is_rejected = pc.is_valid(records["reason"])
    _refuse_many_rejects(
        where, config.max_rejected, records.filter(pc.invert(is_rejected)), records.filter(is_rejected)
    )
    return unlabelled.reject_copies_of_labelled(records, usable.filter(pc.invert(left_over)), staged, executor)


def _list_column(table: pa.Table, name: str) -> list:
    return table.column(name).to_pylist()


def _refuse_many_rejects(where: str, max_share: float, usable: pa.Table, rejected: pa.Table) -> None:
    reasons = Counter(_list_column(rejected, "reason"))
    reason_summary = ", ".join(f"{n} × {reason}" for reason, n in reasons.most_common(6))
    if not len(usable):
        raise UserError(f"{where}: no readable image (found {reason_summary}); expected folders or archives of images")
    # A duplicate is a good image once too often: not a sign that the source is not what it should be.
    bad = len(rejected) - reasons["duplicate"]
    total = len(usable) + len(rejected)
    if bad > max_share * total:
        raise UserError(
            f"{where}: {bad} of {total} images cannot be used ({reason_summary}); "
            f"mend them, or allow it with data.max_rejected (now {max_share:g})"
        )


def _refuse_single_class(where: str, usable: pa.Table) -> None:
    classes = pc.unique(usable["label"]).to_pylist()
    if len(classes) == 1:
        raise UserError(
            f"{where}: a single class {classes[0]!r} was found; expected one folder of images "
            "for each of two or more classes"
        )


def _assign_splits(
    config: DataConfig, usable: pa.Table, classes: list[str], duplicate_groups: list[list[int]]
) -> pa.Array:
    """Return the split of each row."""
    group_leaders = np.arange(len(usable))
    for group in duplicate_groups:
        group_leaders[group] = group[0]
    if config.split.given:
        places = _find_indices(usable["given"], split.PLACES)
    elif config.extends:
        places = _read_old_places(config.extends, usable["id"])
    else:
        places = np.full(len(usable), split.UNASSIGNED, np.int8)
    labels = _find_indices(usable["label"], classes)
    rows = split.SplitRows(
        classes, labels, split.hash_ids(usable["id"], config.split), group_leaders, places.astype(np.int8)
    )
    assign = split.keep_given_splits if config.split.given else split.assign_splits
    try:
        places = assign(rows, config.split, config.train_per_class, config.max_val_per_class)
    except UserError as error:
        raise UserError(f"{_name_source(config)}: {error}") from None
    if config.imbalance:
        train = np.bincount(labels[places == split.TRAIN], minlength=len(classes))
        caps = imbalance.count_kept_images(dict(zip(classes, train.tolist(), strict=True)), config.imbalance)
        places = assign(rows, config.split, caps, config.max_val_per_class)
    return pa.array(split.PLACES).take(pa.array(places))


def _find_indices(texts: pa.ChunkedArray, known_texts: Sequence[str]) -> np.ndarray:
    """Position of each text among others that have it, int32 [N]."""
    return pc.index_in(texts, pa.array(known_texts, pa.string())).to_numpy()


def _read_old_places(dataset: str, ids: pa.ChunkedArray) -> np.ndarray:
    """Where an earlier data set has each image, see split.SplitRows."""
    try:
        table = Folder.from_uri(dataset).read_table("split.parquet", ["id", "split"])
    except (OSError, pa.ArrowException):
        raise UserError(f"data.extends {dataset}: no finished dataset folder (split.parquet) there") from None
    rows = pc.fill_null(pc.index_in(ids, table["id"].combine_chunks()), -1).to_numpy()
    return np.where(rows < 0, split.UNASSIGNED, _find_indices(table["split"], split.PLACES)[rows])
