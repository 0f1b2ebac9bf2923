"""The prepare stage: raw images in; a judged, split and resized image store out.

Each part of the sources is read once, by whichever process is free; what it found comes back as a table, and the
pixels are staged. When all is known the images are dealt out, and each shard of the store is gathered from what is
staged, again by whichever process is free. So no images pass through this process, however many there are.
"""

import functools
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray import runs
from ganaug_ray.config import DataConfig
from ganaug_ray.data import audit, gather, imbalance, metadata, near, sources, split, staging, store
from ganaug_ray.errors import UserError
from ganaug_ray.spread import Each, one_by_one
from ganaug_ray.storage import Folder

THUMBS = 8192  # in memory at a time
SAMPLE = 4096  # training images that the card looks at, at most

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Survey:
    """What a source holds: the usable images, the rejected ones, and who goes where.

    Attributes:
        classes: sorted.
        channels: of the store, 1 or 3.
        kept: the fields of audit.Found and ``split``, a row an image, by id.
        rejected: the fields of audit.Found, by path.
        twins: groups of near-duplicates: their rows in ``kept``.
    """

    classes: list[str]
    channels: int
    kept: pa.Table
    rejected: pa.Table
    twins: list[list[int]]

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> class -> number of images."""
        found = Counter(zip(_list(self.kept, "split"), _list(self.kept, "label"), strict=True))
        return {part: {name: found[part, name] for name in self.classes} for part in (*split.SPLITS, split.UNUSED)}

    def reasons(self) -> dict[str, int]:
        """Reason -> number of images rejected for it."""
        return dict(Counter(_list(self.rejected, "reason")))


def prepare(
    config: DataConfig, out: Folder, each: Each = one_by_one, progress: Progress = lambda share, words: None
) -> runs.Record:
    """Write the dataset: train/, val/ and test/ stores, the tables of what was found, and the card.

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
        metadata.read(config.metadata)  # a mistake in it is better known now than in an hour
    staged = out / ".staged"
    try:
        found = survey(config, staged.make(), each, lambda share, words: progress(0.8 * share, words))
        record = _record(config, found)
        shards = list(gather.shards(found.kept, found.classes, found.channels, config))

        def write() -> np.ndarray:
            sums = np.zeros((found.channels, 3))
            for number, part in enumerate(each(functools.partial(gather.write, staged, out), shards)):
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
    return runs.commit(out, "dataset.json", "prepare", started, record)


def _record(config: DataConfig, found: Survey) -> runs.Record:
    ids, parts, labels = (_list(found.kept, name) for name in ("id", "split", "label"))
    counts = found.counts()
    placed = list(zip(ids, labels, parts, strict=True))
    return {
        "hash": runs.fingerprint(config.image_size, config.resize, found.channels, placed),
        "source": config.source,
        "classes": found.classes,
        "image_size": config.image_size,
        "resize": config.resize,
        "channels": found.channels,
        "store": config.store,
        "counts": counts,
        "rare": imbalance.rare(counts["train"], config.imbalance),
        "rejected": found.reasons(),
        "near_duplicates": {"groups": len(found.twins), "images": sum(map(len, found.twins))},
    }


def _describe(config: DataConfig, found: Survey, record: runs.Record, staged: Folder, out: Folder) -> None:
    """Write the tables of what was found, and the card."""
    from ganaug_ray.data import explore  # it draws, for which neither other processes nor a dry run have a use

    _write_tables(found, config.image_size, staged, out)
    # Rows are ordered by a hash of their content: the first are as good as drawn at random.
    train = found.kept.filter(pc.equal(found.kept["split"], "train"))
    some = train.slice(0, max(1, min(SAMPLE, store.SHARD_BYTES // (config.image_size**2 * found.channels))))
    pixels = gather.read(staged, some, config.image_size, found.channels)
    labels = np.array([found.classes.index(name) for name in _list(some, "label")], np.int64)
    explore.card(out, record, config.metadata, (pixels, labels))


def survey(
    config: DataConfig,
    staged: Folder,
    each: Each = one_by_one,
    progress: Progress = lambda share, words: None,
) -> Survey:
    """Read, decode and judge every image of the source and deal them out.

    Args:
        config: the data section of a job.
        staged: an empty folder, where the pixels go.
        each: who reads.
        progress: as in prepare.

    Raises:
        UserError: as in prepare.
    """
    found = judged(config, staged, each, progress)
    rejected = found.filter(pc.is_valid(found["reason"])).sort_by("path")
    kept = found.filter(pc.is_null(found["reason"])).sort_by("id")
    _refuse_poor(config, kept, rejected)
    twins = near.groups(kept["hash"].to_numpy(), functools.partial(_thumbs, kept, staged))
    twins.sort(key=lambda group: (-len(group), group))  # the largest are the ones to look at
    kept = kept.append_column("split", pa.array(_deal(config, kept, twins)))
    channels = config.channels or pc.max(kept["channels"]).as_py()
    return Survey(sorted(set(_list(kept, "label"))), channels, kept, rejected, twins)


def judged(config: DataConfig, staged: Folder, each: Each, progress: Progress = lambda share, words: None) -> pa.Table:
    """Return the fields of audit.Found, a row an image of the source; of copies of the same pixels one is kept."""
    parts = list(enumerate(sources.parts(config.source, config.label_from)))
    tables, images = [audit.SCHEMA.empty_table()], 0
    for number, table in enumerate(each(functools.partial(audit.judge, config, staged), parts)):
        tables.append(table)
        images += len(table)
        progress((number + 1) / len(parts), f"{images} images read")
    return _without_copies(pa.concat_tables(tables))


def survey_only(config: DataConfig, each: Each = one_by_one) -> Survey:
    """Survey without keeping anything."""
    with tempfile.TemporaryDirectory(prefix="ganaug-") as folder:
        return survey(config, Folder.at(folder), each)


def _list(table: pa.Table, name: str) -> list:
    return table.column(name).to_pylist()


def _without_copies(found: pa.Table) -> pa.Table:
    """Reject all but one of several copies of the same pixels; all of them where they are labelled differently.

    Of copies in different given splits, the one for test is kept, else the one for validation: trained on, it would
    make every later figure too good.
    """
    valid = np.flatnonzero(pc.is_null(found["reason"]).to_numpy())
    ids = found["id"].to_numpy()[valid]
    _, inverse, counts = np.unique(ids, return_inverse=True, return_counts=True)
    copies: dict[int, list[int]] = {}
    for row, which in zip(valid.tolist(), inverse.tolist(), strict=True):
        if counts[which] > 1:
            copies.setdefault(which, []).append(row)
    if not copies:
        return found
    reasons, details = _list(found, "reason"), _list(found, "detail")
    paths, labels, given = _list(found, "path"), _list(found, "label"), _list(found, "given")
    for alike in copies.values():
        names = sorted({labels[row] for row in alike})
        kept = max(alike, key=lambda row: split.SPLITS.index(given[row] or "train"))  # the first of equals
        for row in alike:
            if len(names) > 1:
                reasons[row], details[row] = "label conflict", f"same pixels labelled {', '.join(names)}"
            elif row != kept:
                leak = given[row] != given[kept]
                reasons[row] = "leak" if leak else "duplicate"
                details[row] = f"same pixels as {paths[kept]}" + (f" in {given[kept]}" if leak else "")
    for name, values in (("reason", reasons), ("detail", details)):
        found = found.set_column(found.schema.get_field_index(name), name, pa.array(values, pa.string()))
    return found


def _refuse_poor(config: DataConfig, kept: pa.Table, rejected: pa.Table) -> None:
    where = f"data.source {', '.join(config.source)}"
    reasons = Counter(_list(rejected, "reason"))
    found = ", ".join(f"{n} × {reason}" for reason, n in reasons.most_common(6))
    if not len(kept):
        raise UserError(f"{where}: no readable image (found {found}); expected one folder of images a class")
    # A duplicate is a good image once too often: not a sign that the source is not what it should be.
    bad, total = len(rejected) - reasons["duplicate"], len(kept) + len(rejected)
    if bad > config.max_rejected * total:
        raise UserError(
            f"{where}: {bad} of {total} images cannot be used ({found}); "
            f"mend them, or allow it with data.max_rejected (now {config.max_rejected:g})"
        )
    classes = pc.unique(kept["label"]).to_pylist()
    if len(classes) == 1:
        raise UserError(
            f"{where}: a single class {classes[0]!r} was found; expected one folder of images "
            "for each of two or more classes"
        )


def _deal(config: DataConfig, kept: pa.Table, twins: list[list[int]]) -> list[str]:
    """Return the split of each row."""
    ids = _list(kept, "id")
    by_class: dict[str, list[str]] = {}
    for id_, label in zip(ids, _list(kept, "label"), strict=True):
        by_class.setdefault(label, []).append(id_)
    by_class = dict(sorted(by_class.items()))
    deal: Callable[..., dict[str, str]]
    if config.split.given:
        deal = functools.partial(split.keep, given=dict(zip(ids, _list(kept, "given"), strict=True)))
    else:
        old = _old_splits(config.extends) if config.extends else {}
        together = {ids[row]: ids[group[0]] for group in twins for row in group}
        deal = functools.partial(split.assign, old=old, together=together)
    deal = functools.partial(deal, by_class, config=config.split, val_cap=config.val_cap)
    try:
        splits = deal(train_cap=config.train_per_class)
    except UserError as error:
        raise UserError(f"data.source {', '.join(config.source)}: {error}") from None
    if config.imbalance:
        train = {name: sum(splits[id_] == "train" for id_ in own) for name, own in by_class.items()}
        splits = deal(train_cap=imbalance.kept(train, config.imbalance))
    return [splits[id_] for id_ in ids]


def _old_splits(dataset: str) -> dict[str, str]:
    try:
        table = Folder.at(dataset).read_table("split.parquet", ["id", "split"])
    except (OSError, pa.ArrowException):
        raise UserError(f"data.extends {dataset}: no finished dataset folder (split.parquet) there") from None
    return dict(zip(_list(table, "id"), _list(table, "split"), strict=True))


def _thumbs(kept: pa.Table, staged: Folder, rows: np.ndarray) -> np.ndarray:
    """Read the thumbnails of these rows: uint8 [M, bytes]."""
    some = kept.select(["file", "rank"]).take(rows)
    files, ranks = np.array(_list(some, "file")), some["rank"].to_numpy()
    thumbs = np.empty((len(rows), near.THUMB_BYTES), np.uint8)
    for file, own in gather.by_file(files, ranks):
        spans = ((int(ranks[row]) * near.THUMB_BYTES, near.THUMB_BYTES) for row in own)
        for row, content in zip(own, staging.read(staged, f"{file}.thumbs", spans), strict=True):
            thumbs[row] = np.frombuffer(content, np.uint8)
    return thumbs


def _write_tables(found: Survey, size: int, staged: Folder, out: Folder) -> None:
    kept = found.kept.rename_columns(["class" if name == "label" else name for name in found.kept.column_names])
    out.write_table(
        "split.parquet",
        kept.select(["id", "split", "class", "path", "provenance", "width", "height", "format", "note"]),
    )
    rejected = found.rejected
    seen = np.flatnonzero(pc.not_equal(rejected["file"], "").to_numpy())[: gather.MOST_SHOWN]
    shown: dict[int, bytes] = dict(
        zip(seen.tolist(), gather.thumbnails(rejected.take(seen), staged, size), strict=True)
    )
    pictures = pa.array([shown.get(row) for row in range(len(rejected))], pa.binary())
    out.write_table(
        "rejected.parquet",
        rejected.select(["path", "provenance", "reason", "detail"]).append_column("thumbnail", pictures),
    )
    rows = [row for group in found.twins for row in group]
    twins = kept.take(pa.array(rows, pa.int64()))
    numbers = [number for number, group in enumerate(found.twins) for _ in group]
    first = [group[0] for group in found.twins for _ in group]
    apart = [
        near.difference(*(_thumbs(found.kept, staged, np.array(side[at : at + THUMBS])) for side in (rows, first)))
        for at in range(0, len(rows), THUMBS)
    ]
    some = gather.thumbnails(twins.slice(0, gather.MOST_SHOWN), staged, size)
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
