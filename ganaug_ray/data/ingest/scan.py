"""Scans a source: every image is read and audited once, duplicates are found, and the rest is split, once or more."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig, LabelFrom, SplitConfig
from ganaug_ray.core.records import ValueRange
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import (
    audit,
    exact_duplicates,
    extended_splits,
    given_splits,
    imbalance,
    near_duplicates,
    refusals,
    remarks,
    shard_writer,
    source_audit,
    split,
    unlabelled,
    visual_issues,
)
from ganaug_ray.data.ingest.source_audit import AuditedSource, Progress, ignore_progress
from ganaug_ray.data.sources.listing import SourceListing
from ganaug_ray.data.sources.raw import UNLABELLED
from ganaug_ray.errors import TooManySplits, UserError
from ganaug_ray.runtime.executors import Executor, map_serially


@dataclass(frozen=True)
class Survey:
    """The result of a scan: the usable images with their splits, and the rejected ones.

    Attributes:
        classes: sorted.
        channels: of the store, 1 or 3.
        usable: the fields of audit.ImageRecord and ``split``, a row an image, by id.
        rejected: the fields of audit.ImageRecord, by path.
        duplicate_groups: groups of near-duplicates: their rows in ``usable``.
        visual_issues: dark, bright, low contrast and blurred -> such rows in ``usable``, the most extreme first.
        unlabelled: images without labels, the fields of audit.ImageRecord, by id; those with a reason are not kept.
        passed_over: reason -> files that are no images, neither kept nor rejected.
        remarks: what was done with the source that a user may not expect, a sentence each.
        value_range: of samples that are wider than 8 bits, signed or floats; None where there are none.
    """

    classes: list[str]
    channels: int
    usable: pa.Table
    rejected: pa.Table
    duplicate_groups: list[list[int]]
    visual_issues: dict[str, np.ndarray]
    unlabelled: pa.Table
    passed_over: dict[str, int]
    remarks: list[str]
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
        return audit.count_notes(self.usable)


@dataclass(frozen=True)
class _ScannedSource:
    """A source whose images are read, audited and compared, but not yet assigned to splits; see Survey."""

    classes: list[str]
    channels: int
    usable: pa.Table
    rejected: pa.Table
    duplicate_groups: list[list[int]]
    passed_over: dict[str, int]
    remarks: list[str]
    value_range: ValueRange | None


def survey_source(
    config: DataConfig,
    staged: Folder,
    executor: Executor = map_serially,
    progress: Progress = ignore_progress,
    listing: SourceListing | None = None,
) -> Survey:
    """Read, decode and audit every image of a source, and assign each usable one to a split, see survey_splits."""
    return next(survey_splits([config], staged, executor, progress, listing))


def survey_splits(
    configs: Sequence[DataConfig],
    staged: Folder,
    executor: Executor = map_serially,
    progress: Progress = ignore_progress,
    listing: SourceListing | None = None,
) -> Iterator[Survey]:
    """Read, decode and audit every image of a source once, and assign the usable ones to splits in several ways.

    Args:
        configs: data sections of a job that differ in ``split`` alone.
        staged: an empty folder, where the pixels go.
        executor: who reads.
        progress: as in ``prepare_dataset``.
        listing: of the source, where it is known.

    Yields:
        The survey of each of ``configs``, when all images are assigned in every way.

    Raises:
        UserError: as in ``prepare_dataset``.
        TooManySplits: one split can be made of the images, or several, but not as many as there are to be.
    """
    listing = listing or SourceListing(configs[0])
    configs = [given_splits.resolve_given(config, listing) for config in configs]
    scanned = _scan_source(configs[0], staged, executor, progress, listing)
    try:
        split_columns = [_assign_splits(config, scanned) for config in configs]
    except UserError as error:
        if configs[0].split.folds == 1:
            raise
        raise TooManySplits(str(error), _count_possible_splits(configs[0], scanned)) from None
    unlabelled_images = _read_unlabelled(configs[0], scanned.value_range, staged, executor, progress)
    issues = visual_issues.find_issues(scanned.usable)
    source_remarks = [*scanned.remarks, *unlabelled.describe_other_scale(unlabelled_images, scanned.value_range)]
    for config, column in zip(configs, split_columns, strict=True):
        usable = scanned.usable.append_column("split", column)
        yield Survey(
            scanned.classes,
            scanned.channels,
            usable,
            scanned.rejected,
            scanned.duplicate_groups,
            issues,
            _select_unlabelled(config, unlabelled_images, usable, staged, executor),
            scanned.passed_over,
            source_remarks,
            scanned.value_range,
        )


def _scan_source(
    config: DataConfig, staged: Folder, executor: Executor, progress: Progress, listing: SourceListing
) -> _ScannedSource:
    """Read, decode and audit every image of a source, and find the near-duplicates."""
    audited = source_audit.audit_in_one_scale(config, staged, executor, progress, listing=listing)
    usable, rejected = audited.divide()
    audited = replace(audited, images=rejected)  # all rows of millions of images are held once
    name = source_audit.name_source(config)
    try:
        refusals.refuse_many_rejects(name, config.max_rejected, usable, rejected, audited.passed_over, audited.sidecar)
        refusals.refuse_single_class(name, usable, rejected, audited.passed_over)
    except UserError as error:
        raise UserError(f"{error}{refusals.describe_causes(audited.remarks)}") from None
    staged_rows = usable.select(["file", "rank"])
    duplicate_groups = near_duplicates.find_groups(
        usable["hash"].to_numpy(), lambda rows: shard_writer.read_thumbnails(staged, staged_rows.take(rows)), executor
    )
    duplicate_groups.sort(key=lambda group: (-len(group), group))  # the largest are the ones to look at
    classes = sorted(pc.unique(usable["label"]).to_pylist())
    source_remarks = [*audited.remarks, *given_splits.describe_given(config, usable, rejected)]
    source_remarks += remarks.describe_classes(classes, rejected)
    source_remarks += remarks.describe_archives(rejected)
    passed_over = {reason: n for reason, n in audited.passed_over.items() if reason != UNLABELLED}
    source_remarks += remarks.describe_passed_over(passed_over if config.unlabelled else audited.passed_over)
    source_remarks += visual_issues.describe_median(usable)
    source_remarks += visual_issues.describe_classes_apart(usable)
    return _ScannedSource(
        classes,
        config.channels or pc.max(usable["channels"]).as_py(),
        usable,
        rejected,
        duplicate_groups,
        audited.passed_over,
        source_remarks,
        audited.value_range,
    )


def survey_without_storing(
    config: DataConfig, executor: Executor = map_serially, listing: SourceListing | None = None
) -> Survey:
    """Survey a source without keeping its pixels, for a dry run."""
    with tempfile.TemporaryDirectory(prefix="ganaug-") as folder:
        return survey_source(config, Folder.from_uri(folder), executor, listing=listing)


def _read_unlabelled(
    config: DataConfig, value_range: ValueRange | None, staged: Folder, executor: Executor, progress: Progress
) -> pa.Table:
    """Read the sources of images without labels: the fields of audit.ImageRecord."""
    names = [name for name in config.unlabelled or () if name != split.UNUSED]
    if not names:
        return audit.RECORD_SCHEMA.empty_table()
    source_config = config.model_copy(update={"source": names, "label_from": LabelFrom(), "split": SplitConfig()})
    try:
        return source_audit.audit_in_one_scale(source_config, staged, executor, progress, False, value_range).images
    except UserError as error:
        raise UserError(str(error).replace("data.source", "data.unlabelled", 1)) from None


def _select_unlabelled(
    config: DataConfig, unlabelled_images: pa.Table, usable: pa.Table, staged: Folder, executor: Executor
) -> pa.Table:
    """Select the images without labels of one split: those read, and what is left over; see Survey."""
    if config.unlabelled is None:
        return unlabelled_images
    where = f"data.unlabelled {', '.join(config.unlabelled)}"
    left_over = pc.equal(usable["split"], split.UNUSED)
    tables = [audit.RECORD_SCHEMA.empty_table()]
    if split.UNUSED in config.unlabelled:
        tables.append(unlabelled.drop_labels(usable.filter(left_over)))
        if not len(tables[-1]):
            raise UserError(f"{where}: no image is left over; data.train_per_class and data.imbalance leave some")
    records = exact_duplicates.reject_copies(pa.concat_tables([*tables, unlabelled_images]))
    refusals.refuse_many_rejects(where, config.max_rejected, *AuditedSource(records).divide())
    return unlabelled.reject_copies_of_labelled(records, usable.filter(pc.invert(left_over)), staged, executor)


def _list_column(table: pa.Table, name: str) -> list:
    return table.column(name).to_pylist()


def _assign_splits(config: DataConfig, scanned: _ScannedSource | Survey) -> pa.Array:
    """Return the split of each usable image; the rejected ones may say why there are too few."""
    usable, classes = scanned.usable, scanned.classes
    group_leaders = np.arange(len(usable))
    for group in scanned.duplicate_groups:
        group_leaders[group] = group[0]
    if config.split.given:
        places = extended_splits.find_indices(usable["given"], split.PLACES)
    elif config.extends:
        places = extended_splits.read_old_places(config.extends, usable["id"])
    else:
        places = np.full(len(usable), split.UNASSIGNED, np.int8)
    labels = extended_splits.find_indices(usable["label"], classes)
    rows = split.SplitRows(
        classes, labels, split.hash_ids(usable["id"], config.split), group_leaders, places.astype(np.int8)
    )
    assign = split.keep_given_splits if config.split.given else split.assign_splits
    try:
        places = assign(rows, config.split, config.train_per_class, config.max_val_per_class)
    except UserError as error:
        remedy = ""
        if config.split.given:
            remedy = f"{given_splits.advise_holdout(scanned.rejected)}; {given_splits.DEALS_ANEW}"
        remedy = f"{refusals.describe_leaks(scanned.rejected)}{remedy}{refusals.describe_causes(scanned.remarks)}"
        raise UserError(f"{source_audit.name_source(config)}: {error}{remedy}") from None
    if config.imbalance:
        train = np.bincount(labels[places == split.TRAIN], minlength=len(classes))
        caps = imbalance.count_kept_images(dict(zip(classes, train.tolist(), strict=True)), config.imbalance)
        places = assign(rows, config.split, caps, config.max_val_per_class)
    return pa.array(split.PLACES).take(pa.array(places))


def refuse_many_splits(config: DataConfig, survey: Survey) -> None:
    """Raise TooManySplits if surveyed images cannot be dealt out into all splits that ``config`` is one of."""
    try:
        _assign_all_splits(config, survey, config.split.folds)
    except UserError as error:
        raise TooManySplits(str(error), _count_possible_splits(config, survey)) from None


def deal_out(config: DataConfig, survey: Survey) -> Survey:
    """Return a survey with its labelled images dealt out as ``config`` says, which differs in ``split`` alone."""
    places = _assign_splits(config, survey)
    column = survey.usable.column_names.index("split")
    return replace(survey, usable=survey.usable.set_column(column, "split", places))


def _count_possible_splits(config: DataConfig, scanned: _ScannedSource | Survey) -> int:
    """Count the splits, fewer than there are to be, that can be made of the images; two would give no answer."""
    for splits in [*range(config.split.folds - 1, 2, -1), 1]:
        with suppress(UserError):
            _assign_all_splits(config, scanned, splits)
            return splits
    return 0


def _assign_all_splits(config: DataConfig, scanned: _ScannedSource | Survey, splits: int) -> None:
    """Deal the images out into so many splits. Raises UserError where that cannot be."""
    for fold in range(splits):
        of_fold = config.split.model_copy(update={"fold": fold, "folds": splits})
        _assign_splits(config.model_copy(update={"split": of_fold}), scanned)
