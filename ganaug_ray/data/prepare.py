"""The prepare stage: raw images in; a judged, split and resized image store out.

Each part of the sources is read once, by whichever process is free; what it found comes back as a table, and the
pixels are staged. When all is known the images are dealt out, and each shard of the store is gathered from what is
staged, again by whichever process is free. So no images pass through this process, however many there are.
"""

import functools
import hashlib
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.card import class_metadata
from ganaug_ray.data.ingest import imbalance, near_duplicates, shard_writer, split
from ganaug_ray.data.ingest.scan import Progress, Survey, survey
from ganaug_ray.data.loading import image_store
from ganaug_ray.runtime.executors import Each, one_by_one

THUMBS = 8192  # in memory at a time
SAMPLE = 4096  # training images that the card looks at, at most


def prepare(
    config: DataConfig, out: Folder, each: Each = one_by_one, progress: Progress = lambda share, words: None
) -> experiment_dir.Record:
    """Write the dataset: train/, val/ and test/ stores, the tables of what was found, and the card.

    With data.unlabelled there is a store unlabelled/ too, with labels of -1, and a table of what became of each image.

    Args:
        config: the data section of a job.
        out: the dataset folder.
        each: who does the work.
        progress: called with a share of the work and a few words.

    Returns:
        The marker dataset.json.

    Raises:
        UserError: no such source, nothing readable in it, a single class, a class too small to split, or too many
            images that cannot be used. Nothing is left in ``out`` then.
    """
    started = time.monotonic()
    if config.metadata:
        class_metadata.read(config.metadata)  # a mistake in it is better known now than in an hour
    staged = out / ".staged"
    try:
        found = survey(config, staged.make(), each, lambda share, words: progress(0.8 * share, words))
        record = _record(config, found)
        fresh = found.unlabelled.filter(pc.is_null(found.unlabelled["reason"]))
        fresh = fresh.append_column("split", pa.array([split.UNLABELLED] * len(fresh), pa.string()))
        rows = pa.concat_tables([found.kept, fresh])
        shards = list(shard_writer.shards(rows, found.classes, found.channels, config))

        def write() -> np.ndarray:
            sums = np.zeros((found.channels, 3))
            for number, part in enumerate(each(functools.partial(shard_writer.write, staged, out), shards)):
                sums += part
                progress(0.8 + 0.2 * number / len(shards), f"{number} of {len(shards)} shards written")
            return sums

        with ThreadPoolExecutor(1) as beside:  # drawing fills the time in which others gather
            written = beside.submit(write)
            _describe(config, found, record, staged, out)
            sums = written.result()
    except BaseException:
        _remove(staged)
        if not out.files() and not out.folders():
            _remove(out)
        raise
    _remove(staged)
    n, total, squares = (sums / (1, 255, 255**2)).T
    record["mean"] = [round(float(value), 6) for value in total / n]
    record["std"] = [round(float(value), 6) for value in np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0))]
    return experiment_dir.commit(out, "dataset.json", "prepare", started, record)


def _record(config: DataConfig, found: Survey) -> experiment_dir.Record:
    counts = found.counts()
    reasons = Counter(found.unlabelled["reason"].to_pylist())
    fresh = found.unlabelled.filter(pc.is_null(found.unlabelled["reason"]))
    content = [_hash(found.kept["id"]), _hash(found.kept["label"]), _hash(found.kept["split"])]
    content += [_hash(fresh["id"])] if len(fresh) else []
    return {
        "hash": experiment_dir.fingerprint(config.image_size, config.resize, found.channels, content),
        "source": config.source,
        "classes": found.classes,
        "image_size": config.image_size,
        "resize": config.resize,
        "channels": found.channels,
        "store": config.store,
        "counts": counts,
        "rare": imbalance.rare(counts["train"], config.imbalance),
        "rejected": found.reasons(),
        "unlabelled": reasons.pop(None, 0),
        "unlabelled_rejected": dict(reasons),
        "near_duplicates": {"groups": len(found.twins), "images": sum(map(len, found.twins))},
    }


def _hash(texts: pa.ChunkedArray) -> str:
    """Hash texts in their order."""
    digest = hashlib.blake2b(pc.binary_length(texts).to_numpy(), digest_size=8)
    for some in split.some_by_some(texts):
        digest.update("".join(some).encode())
    return digest.hexdigest()


def _describe(config: DataConfig, found: Survey, record: experiment_dir.Record, staged: Folder, out: Folder) -> None:
    """Write the tables of what was found, and the card."""
    from ganaug_ray.data.card import (
        dataset_card,  # it draws, for which neither other processes nor a dry run have a use
    )

    _write_tables(found, config.image_size, staged, out)
    # Rows are ordered by a hash of their content: the first are as good as drawn at random.
    train = found.kept.filter(pc.equal(found.kept["split"], "train"))
    some = train.slice(0, max(1, min(SAMPLE, image_store.SHARD_BYTES // (config.image_size**2 * found.channels))))
    pixels = shard_writer.read(staged, some, config.image_size, found.channels)
    labels = np.array([found.classes.index(name) for name in some["label"].to_pylist()], np.int64)
    dataset_card.card(out, record, config.metadata, (pixels, labels))


def _write_tables(found: Survey, size: int, staged: Folder, out: Folder) -> None:
    kept = found.kept.rename_columns(["class" if name == "label" else name for name in found.kept.column_names])
    out.write_table(
        "split.parquet",
        kept.select(["id", "split", "class", "path", "provenance", "width", "height", "format", "note"]),
    )
    rejected = found.rejected
    seen = np.flatnonzero(pc.not_equal(rejected["file"], "").to_numpy())[: shard_writer.MOST_SHOWN]
    shown: dict[int, bytes] = dict(
        zip(seen.tolist(), shard_writer.thumbnails(rejected.take(seen), staged, size), strict=True)
    )
    pictures = pa.array([shown.get(row) for row in range(len(rejected))], pa.binary())
    out.write_table(
        "rejected.parquet",
        rejected.select(["path", "provenance", "reason", "detail"]).append_column("thumbnail", pictures),
    )
    if len(found.unlabelled):
        columns = ["id", "path", "provenance", "reason", "detail"]
        out.write_table("unlabelled.parquet", found.unlabelled.select(columns))
    rows = [row for group in found.twins for row in group]
    twins = kept.take(pa.array(rows, pa.int64()))
    numbers = [number for number, group in enumerate(found.twins) for _ in group]
    first = [group[0] for group in found.twins for _ in group]
    where = kept.select(["file", "rank"])
    apart = [
        near_duplicates.difference(
            *(shard_writer.thumbs(staged, where.take(side[at : at + THUMBS])) for side in (rows, first))
        )
        for at in range(0, len(rows), THUMBS)
    ]
    some = shard_writer.thumbnails(twins.slice(0, shard_writer.MOST_SHOWN), staged, size)
    out.write_table(
        "near_duplicates.parquet",
        pa.table(
            {
                "group": pa.array(numbers, pa.int32()),
                **{name: twins[name] for name in ("id", "path", "class", "split")},
                "distance": pa.array(np.concatenate([np.zeros(0), *apart]), pa.float32()),
                "thumbnail": pa.array([*some, *[None] * (len(rows) - len(some))], pa.binary()),
            }
        ),
    )


def _remove(folder: Folder) -> None:
    folder.fs.delete_dir(folder.path)
