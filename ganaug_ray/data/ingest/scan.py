"""The survey of a source: every image is read once and judged, copies are found, and the rest is dealt out."""

import functools
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig, LabelFrom, SplitConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data import sources
from ganaug_ray.data.ingest import audit, exact_duplicates, imbalance, near_duplicates, shard_writer, split, unlabelled
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.executors import Each, one_by_one

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
        unlabelled: images without labels, the fields of audit.Found, by id; those with a reason are not kept.
    """

    classes: list[str]
    channels: int
    kept: pa.Table
    rejected: pa.Table
    twins: list[list[int]]
    unlabelled: pa.Table

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> class -> number of images."""
        rows = self.kept.group_by(["split", "label"]).aggregate([([], "count_all")]).to_pylist()
        found = {(row["split"], row["label"]): row["count_all"] for row in rows}
        return {part: {name: found.get((part, name), 0) for name in self.classes} for part in split.PLACES}

    def reasons(self) -> dict[str, int]:
        """Reason -> number of images rejected for it."""
        return dict(Counter(_list(self.rejected, "reason")))


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
    kept = found.filter(pc.is_null(found["reason"]))
    del found
    name = f"data.source {', '.join(config.source)}"
    _refuse_bad(name, config.max_rejected, kept, rejected)
    _refuse_one_class(name, kept)
    where = kept.select(["file", "rank"])
    twins = near_duplicates.groups(
        kept["hash"].to_numpy(), lambda rows: shard_writer.thumbs(staged, where.take(rows)), each
    )
    twins.sort(key=lambda group: (-len(group), group))  # the largest are the ones to look at
    classes = sorted(pc.unique(kept["label"]).to_pylist())
    kept = kept.append_column("split", _deal(config, kept, classes, twins))
    channels = config.channels or pc.max(kept["channels"]).as_py()
    return Survey(classes, channels, kept, rejected, twins, _unlabelled(config, kept, staged, each, progress))


def survey_only(config: DataConfig, each: Each = one_by_one) -> Survey:
    """Survey without keeping anything."""
    with tempfile.TemporaryDirectory(prefix="ganaug-") as folder:
        return survey(config, Folder.at(folder), each)


def judged(
    config: DataConfig,
    staged: Folder,
    each: Each,
    progress: Progress = lambda share, words: None,
    labelled: bool = True,
) -> pa.Table:
    """Return the fields of audit.Found, a row an image of the source, by id; of copies of the same pixels one is kept.

    Without ``labelled``, all labels are the empty text.
    """
    # In two steps: what millions of images are listed and reported as is let go of as soon as it can be.
    return exact_duplicates.reject(pa.concat_tables(_read(config, staged, each, progress, labelled)))


def _read(config: DataConfig, staged: Folder, each: Each, progress: Progress, labelled: bool) -> list[pa.Table]:
    """Have every part of the source read; return what was found in each."""
    kind = "labelled" if labelled else "unlabelled"
    read = sources.parts(config.source, config.label_from)
    found = read if labelled else (functools.partial(unlabelled.nameless, part) for part in read)
    parts = [(f"{kind}-{number:06d}", part) for number, part in enumerate(found)]
    tables, images = [audit.SCHEMA.empty_table()], 0
    for number, table in enumerate(each(functools.partial(audit.judge, config, staged), parts)):
        tables.append(table)
        images += len(table)
        progress((number + 1) / len(parts), f"{images} {kind} images read")
    return tables


def _unlabelled(config: DataConfig, kept: pa.Table, staged: Folder, each: Each, progress: Progress) -> pa.Table:
    """Read the images without labels, see Survey."""
    if config.unlabelled is None:
        return audit.SCHEMA.empty_table()
    where, left_over = f"data.unlabelled {', '.join(config.unlabelled)}", pc.equal(kept["split"], split.UNUSED)
    tables = [audit.SCHEMA.empty_table()]
    if split.UNUSED in config.unlabelled:
        tables.append(unlabelled.forget(kept.filter(left_over)))
        if not len(tables[-1]):
            raise UserError(f"{where}: no image is left over; data.train_per_class and data.imbalance leave some")
    if names := [name for name in config.unlabelled if name != split.UNUSED]:
        own = config.model_copy(update={"source": names, "label_from": LabelFrom(), "split": SplitConfig()})
        try:
            tables.append(judged(own, staged, each, progress, labelled=False))
        except UserError as error:
            raise UserError(str(error).replace("data.source", "data.unlabelled", 1)) from None
    found = exact_duplicates.reject(pa.concat_tables(tables))
    bad = pc.is_valid(found["reason"])
    _refuse_bad(where, config.max_rejected, found.filter(pc.invert(bad)), found.filter(bad))
    return unlabelled.apart(found, kept.filter(pc.invert(left_over)), staged, each)


def _list(table: pa.Table, name: str) -> list:
    return table.column(name).to_pylist()


def _refuse_bad(where: str, most: float, kept: pa.Table, rejected: pa.Table) -> None:
    reasons = Counter(_list(rejected, "reason"))
    found = ", ".join(f"{n} × {reason}" for reason, n in reasons.most_common(6))
    if not len(kept):
        raise UserError(f"{where}: no readable image (found {found}); expected folders or archives of images")
    # A duplicate is a good image once too often: not a sign that the source is not what it should be.
    bad, total = len(rejected) - reasons["duplicate"], len(kept) + len(rejected)
    if bad > most * total:
        raise UserError(
            f"{where}: {bad} of {total} images cannot be used ({found}); "
            f"mend them, or allow it with data.max_rejected (now {most:g})"
        )


def _refuse_one_class(where: str, kept: pa.Table) -> None:
    classes = pc.unique(kept["label"]).to_pylist()
    if len(classes) == 1:
        raise UserError(
            f"{where}: a single class {classes[0]!r} was found; expected one folder of images "
            "for each of two or more classes"
        )


def _deal(config: DataConfig, kept: pa.Table, classes: list[str], twins: list[list[int]]) -> pa.Array:
    """Return the split of each row."""
    first = np.arange(len(kept))
    for group in twins:
        first[group] = group[0]
    if config.split.given:
        places = _indices(kept["given"], split.PLACES)
    elif config.extends:
        places = _old_places(config.extends, kept["id"])
    else:
        places = np.full(len(kept), split.NOWHERE, np.int8)
    labels = _indices(kept["label"], classes)
    rows = split.Rows(classes, labels, split.draws(kept["id"], config.split), first, places.astype(np.int8))
    deal = functools.partial(split.keep if config.split.given else split.assign, rows, config.split)
    try:
        places = deal(config.train_per_class, config.val_cap)
    except UserError as error:
        raise UserError(f"data.source {', '.join(config.source)}: {error}") from None
    if config.imbalance:
        train = np.bincount(labels[places == split.TRAIN], minlength=len(classes))
        caps = imbalance.kept(dict(zip(classes, train.tolist(), strict=True)), config.imbalance)
        places = deal(caps, config.val_cap)
    return pa.array(split.PLACES).take(pa.array(places))


def _indices(texts: pa.ChunkedArray, among: Sequence[str]) -> np.ndarray:
    """Position of each text among others that have it, int32 [N]."""
    return pc.index_in(texts, pa.array(among, pa.string())).to_numpy()


def _old_places(dataset: str, ids: pa.ChunkedArray) -> np.ndarray:
    """Where an earlier data set has each image, see split.Rows."""
    try:
        table = Folder.at(dataset).read_table("split.parquet", ["id", "split"])
    except (OSError, pa.ArrowException):
        raise UserError(f"data.extends {dataset}: no finished dataset folder (split.parquet) there") from None
    rows = pc.fill_null(pc.index_in(ids, table["id"].combine_chunks()), -1).to_numpy()
    return np.where(rows < 0, split.NOWHERE, _indices(table["split"], split.PLACES)[rows])
