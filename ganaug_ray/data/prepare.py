"""The prepare stage: turns raw images into an audited, split and resized image store.

Each part of the sources is read once, by whichever process is free; what it found comes back as a table, and the
pixels are staged. When all is known the images are dealt out, once for each split of the job, and each shard of a store
is gathered from what is staged, again by whichever process is free. So no images pass through this process, however
many there are.
"""

import functools
import hashlib
import importlib
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.card import class_metadata
from ganaug_ray.data.ingest import audit, imbalance, near_duplicates, shard_writer, split, visual_issues
from ganaug_ray.data.ingest.scan import Survey, survey_splits
from ganaug_ray.data.ingest.source_audit import Progress
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.sources.listing import SourceListing
from ganaug_ray.runtime.executors import Executor, map_serially

CARD_MODULE = "ganaug_ray.data.card.dataset_card"
THUMBNAIL_CHUNK = 8192  # in memory at a time
MAX_CARD_IMAGES = 4096  # training images that the card looks at, at most
EXAMPLES_PER_ISSUE = 6  # images on the card for each visual issue


def prepare_dataset(
    config: DataConfig, out: Folder, executor: Executor = map_serially, progress: Progress = lambda share, words: None
) -> DatasetRecord:
    """Write a data set, see prepare_datasets."""
    return prepare_datasets([config], [out], executor, progress)[0]


def prepare_datasets(
    configs: Sequence[DataConfig],
    outs: Sequence[Folder],
    executor: Executor = map_serially,
    progress: Progress = lambda share, words: None,
    listing: SourceListing | None = None,
) -> list[DatasetRecord]:
    """Write the data set of each split of a job, from sources that are read once.

    A data set is the stores train/, val/ and test/, tables of what was found, and the card. With data.unlabelled there
    is a store unlabelled/ too, with labels of -1, and a table of what became of each image.

    Args:
        configs: data sections of a job that differ in ``split`` alone.
        outs: the dataset folder of each.
        executor: who does the work.
        progress: called with a share of the work and a few words.
        listing: of the sources, where they are listed already.

    Returns:
        The markers dataset.json.

    Raises:
        UserError: no such source, nothing readable in it, a single class, a class too small to split, or too many
            images that cannot be used. Nothing is left in ``outs`` then.
    """
    metadata = configs[0].metadata
    if metadata:
        class_metadata.read_rows(metadata)  # a mistake in it is better known now than in an hour
    # It takes a second, in which this process has nothing to do but wait for those that read images.
    threading.Thread(target=importlib.import_module, args=(CARD_MODULE,), daemon=True).start()
    staged = outs[0] / ".staged"
    records = []
    started = time.monotonic()
    try:
        surveys = survey_splits(
            configs, staged.create(), executor, lambda share, words: progress(0.8 * share, words), listing
        )
        for number, (config, out, source_survey) in enumerate(zip(configs, outs, surveys, strict=True)):

            def report(share: float, words: str, done: int = number) -> None:
                progress(0.8 + 0.2 * (done + share) / len(outs), words)

            record = _write_dataset(config, source_survey, staged, out.create(), executor, report)
            records.append(DatasetRecord.write(out, "prepare", started, record))
            started = time.monotonic()
    except BaseException:
        _remove_folder(staged)
        if not outs[0].list_files() and not outs[0].list_folders():
            _remove_folder(outs[0])
        raise
    _remove_folder(staged)
    return records


def _write_dataset(
    config: DataConfig, source_survey: Survey, staged: Folder, out: Folder, executor: Executor, progress: Progress
) -> experiment_dir.Record:
    """Write the stores, the tables and the card of one data set; return what its marker holds."""
    record = _build_record(config, source_survey)
    unlabelled_rows = source_survey.unlabelled.filter(pc.is_null(source_survey.unlabelled["reason"]))
    unlabelled_rows = unlabelled_rows.append_column(
        "split", pa.array([split.UNLABELLED] * len(unlabelled_rows), pa.string())
    )
    rows = pa.concat_tables([source_survey.usable, unlabelled_rows])
    shards = list(shard_writer.plan_shards(rows, source_survey.classes, source_survey.channels, config))

    def write_shards() -> np.ndarray:
        sums = np.zeros((source_survey.channels, 3))
        for number, part in enumerate(executor(functools.partial(shard_writer.write_shard, staged, out), shards)):
            sums += part
            progress(number / len(shards), f"{number} of {len(shards)} shards written")
        return sums

    with ThreadPoolExecutor(1) as thread:  # drawing fills the time in which others gather
        written = thread.submit(write_shards)
        _write_description(config, source_survey, record, staged, out)
        sums = written.result()
    n, total, squares = (sums / (1, 255, 255**2)).T
    record["mean"] = [round(float(value), 6) for value in total / n]
    record["std"] = [round(float(value), 6) for value in np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0))]
    return record


def _build_record(config: DataConfig, source_survey: Survey) -> experiment_dir.Record:
    counts = source_survey.count_images()
    reasons = Counter(source_survey.unlabelled["reason"].to_pylist())
    unlabelled_rows = source_survey.unlabelled.filter(pc.is_null(source_survey.unlabelled["reason"]))
    return {
        "hash": hash_dataset(config, source_survey),
        "source": config.source,
        "classes": source_survey.classes,
        "image_size": config.image_size,
        "resize": config.resize,
        "channels": source_survey.channels,
        "value_range": source_survey.value_range.to_json() if source_survey.value_range else None,
        "store": config.store,
        "counts": counts,
        "rare": imbalance.list_rare_classes(counts, config),
        "rejected": source_survey.count_rejects(),
        "passed_over": source_survey.passed_over,
        "remarks": source_survey.remarks,
        "notes": source_survey.count_notes(),
        "visual_issues": {name: len(rows) for name, rows in source_survey.visual_issues.items()},
        "unlabelled": reasons.pop(None, 0),
        "unlabelled_rejected": dict(reasons),
        "unlabelled_notes": audit.count_notes(unlabelled_rows),
        "near_duplicates": {
            "groups": len(source_survey.duplicate_groups),
            "images": sum(map(len, source_survey.duplicate_groups)),
        },
    }


def hash_dataset(config: DataConfig, source_survey: Survey) -> str:
    """Return the hash of the data set that is made of surveyed images, 16 hex digits."""
    content = [_hash_texts(source_survey.usable[column]) for column in ("id", "label", "split")]
    unlabelled_rows = source_survey.unlabelled.filter(pc.is_null(source_survey.unlabelled["reason"]))
    if len(unlabelled_rows):
        content.append(_hash_texts(unlabelled_rows["id"]))
    return experiment_dir.compute_fingerprint(config.image_size, config.resize, source_survey.channels, content)


def _hash_texts(texts: pa.ChunkedArray) -> str:
    """Hash texts in their order."""
    digest = hashlib.blake2b(pc.binary_length(texts).to_numpy(), digest_size=8)
    for chunk in split.iterate_texts(texts):
        digest.update("".join(chunk).encode())
    return digest.hexdigest()


def _write_description(
    config: DataConfig, source_survey: Survey, record: experiment_dir.Record, staged: Folder, out: Folder
) -> None:
    """Write the tables of what was found, and the card."""
    from ganaug_ray.data.card import (
        dataset_card,  # it draws, for which neither other processes nor a dry run have a use
    )

    _write_tables(source_survey, config.image_size, staged, out)
    # Rows are ordered by a hash of their content: the first are as good as drawn at random.
    train = source_survey.usable.filter(pc.equal(source_survey.usable["split"], "train"))
    image_bytes = config.image_size**2 * source_survey.channels
    sampled_rows = train.slice(0, max(1, min(MAX_CARD_IMAGES, image_store.MAX_SHARD_BYTES // image_bytes)))
    pixels = shard_writer.read_pixels(staged, sampled_rows, config.image_size, source_survey.channels)
    labels = np.array([source_survey.classes.index(name) for name in sampled_rows["label"].to_pylist()], np.int64)
    examples = _list_issue_examples(source_survey, config.image_size, staged)
    dataset_card.write_card(out, record, config.metadata, (pixels, labels), examples)


def _list_issue_examples(source_survey: Survey, size: int, staged: Folder) -> list[dict[str, Any]]:
    """List the visual issues that images have, each with the most extreme images, as ``write_card`` shows them."""
    groups = []
    for issue in visual_issues.ISSUES:
        issue_rows = source_survey.visual_issues[issue.name]
        if not len(issue_rows):
            continue
        images = source_survey.usable.take(pa.array(issue_rows[:EXAMPLES_PER_ISSUE]))
        rows = images.select(["path", "label", issue.measure]).rename_columns(["path", "class", "value"]).to_pylist()
        for row, thumbnail in zip(rows, shard_writer.encode_thumbnails(images, staged, size), strict=True):
            row["thumbnail"] = thumbnail
        groups.append(
            {
                "issue": issue.name,
                "measure": issue.measure,
                "limit": 1 - issue.limit if issue.is_high else issue.limit,
                "images": len(issue_rows),
                "rows": rows,
            }
        )
    return groups


def _write_tables(source_survey: Survey, size: int, staged: Folder, out: Folder) -> None:
    usable = source_survey.usable.rename_columns({"label": "class"})
    columns = ["id", "split", "class", "path", "provenance", "width", "height", "format", "note"]
    issues = visual_issues.name_issues(source_survey.visual_issues, len(usable))
    out.write_table(
        "split.parquet",
        usable.select([*columns, *visual_issues.VisualMeasures._fields]).append_column("visual_issues", issues),
    )
    rejected = source_survey.rejected
    shown_rows = np.flatnonzero(pc.not_equal(rejected["file"], "").to_numpy())[: shard_writer.MAX_THUMBNAILS]
    thumbnail_by_row: dict[int, bytes] = dict(
        zip(shown_rows.tolist(), shard_writer.encode_thumbnails(rejected.take(shown_rows), staged, size), strict=True)
    )
    pictures = pa.array([thumbnail_by_row.get(row) for row in range(len(rejected))], pa.binary())
    out.write_table(
        "rejected.parquet",
        rejected.select(["path", "provenance", "reason", "detail"]).append_column("thumbnail", pictures),
    )
    if len(source_survey.unlabelled):
        columns = ["id", "path", "provenance", "reason", "detail", "note"]
        out.write_table("unlabelled.parquet", source_survey.unlabelled.select(columns))
    out.write_table(
        "near_duplicates.parquet", _tabulate_duplicates(usable, source_survey.duplicate_groups, size, staged)
    )


def _tabulate_duplicates(usable: pa.Table, groups: list[list[int]], size: int, staged: Folder) -> pa.Table:
    """Tabulate the near-duplicates: a row for each image of each group.

    The column ``distance`` is the root mean square of the differences between the image's thumbnail and that of the
    first image of its group, in grey levels. The column ``thumbnail`` is a PNG picture, of the first MAX_THUMBNAILS
    rows only.
    """
    rows: list[int] = []
    numbers: list[int] = []
    first: list[int] = []
    for number, group in enumerate(groups):
        rows += group
        numbers += [number] * len(group)
        first += [group[0]] * len(group)
    duplicates = usable.take(pa.array(rows, pa.int64()))
    thumbnails = shard_writer.encode_thumbnails(duplicates.slice(0, shard_writer.MAX_THUMBNAILS), staged, size)
    no_thumbnails = [None] * (len(rows) - len(thumbnails))
    return pa.table(
        {
            "group": pa.array(numbers, pa.int32()),
            **{name: duplicates[name] for name in ("id", "path", "class", "split")},
            "distance": pa.array(_compute_thumbnail_rms(usable, rows, first, staged), pa.float32()),
            "thumbnail": pa.array([*thumbnails, *no_thumbnails], pa.binary()),
        }
    )


def _compute_thumbnail_rms(usable: pa.Table, rows: list[int], other_rows: list[int], staged: Folder) -> np.ndarray:
    """Compute the root mean square of the differences between the thumbnails of two rows, for N pairs: float [N]."""
    where = usable.select(["file", "rank"])
    distances = [np.zeros(0)]
    for start in range(0, len(rows), THUMBNAIL_CHUNK):
        chunk = slice(start, start + THUMBNAIL_CHUNK)
        thumbnails = shard_writer.read_thumbnails(staged, where.take(rows[chunk]))
        other_thumbnails = shard_writer.read_thumbnails(staged, where.take(other_rows[chunk]))
        distances.append(near_duplicates.measure_difference(thumbnails, other_thumbnails))
    return np.concatenate(distances)


def _remove_folder(folder: Folder) -> None:
    folder.fs.delete_dir(folder.path)
