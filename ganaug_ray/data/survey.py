"""The survey of a source: every image is read once and judged, copies are found, and the rest is dealt out."""

import functools
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig, LabelFrom, SplitConfig
from ganaug_ray.data import audit, gather, imbalance, near, sources, split, unlabelled
from ganaug_ray.errors import UserError
from ganaug_ray.spread import Each, one_by_one
from ganaug_ray.storage import Folder

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
        found = Counter(zip(_list(self.kept, "split"), _list(self.kept, "label"), strict=True))
        return {part: {name: found[part, name] for name in self.classes} for part in (*split.SPLITS, split.UNUSED)}

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
    kept = found.filter(pc.is_null(found["reason"])).sort_by("id")
    name = f"data.source {', '.join(config.source)}"
    _refuse_bad(name, config.max_rejected, kept, rejected)
    _refuse_one_class(name, kept)
    where = kept.select(["file", "rank"])
    twins = near.groups(kept["hash"].to_numpy(), lambda rows: gather.thumbs(staged, where.take(rows)), each)
    twins.sort(key=lambda group: (-len(group), group))  # the largest are the ones to look at
    kept = kept.append_column("split", pa.array(_deal(config, kept, twins)))
    channels = config.channels or pc.max(kept["channels"]).as_py()
    classes = sorted(set(_list(kept, "label")))
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
    """Return the fields of audit.Found, a row an image of the source; of copies of the same pixels one is kept.

    Without ``labelled``, all labels are the empty text.
    """
    kind = "labelled" if labelled else "unlabelled"
    read = sources.parts(config.source, config.label_from)
    found = read if labelled else (functools.partial(unlabelled.nameless, part) for part in read)
    parts = [(f"{kind}-{number:06d}", part) for number, part in enumerate(found)]
    tables, images = [audit.SCHEMA.empty_table()], 0
    for number, table in enumerate(each(functools.partial(audit.judge, config, staged), parts)):
        tables.append(table)
        images += len(table)
        progress((number + 1) / len(parts), f"{images} {kind} images read")
    return _without_copies(pa.concat_tables(tables).combine_chunks())  # many small chunks are slow to sort


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
    found = _without_copies(pa.concat_tables(tables))
    bad = pc.is_valid(found["reason"])
    _refuse_bad(where, config.max_rejected, found.filter(pc.invert(bad)), found.filter(bad))
    return unlabelled.apart(found, kept.filter(pc.invert(left_over)), staged, each).sort_by("id")


def _list(table: pa.Table, name: str) -> list:
    return table.column(name).to_pylist()


def _without_copies(found: pa.Table) -> pa.Table:
    """Reject all but one of several copies of the same pixels; all of them where they are labelled differently.

    Of copies in different given splits, the one for test is kept, else the one for validation: trained on, it would
    make every later figure too good.
    """
    ids = found["id"].filter(pc.is_null(found["reason"]))
    counted = ids.value_counts()
    several = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    copied = pc.and_(pc.is_null(found["reason"]), pc.is_in(found["id"], several))
    rows = found.filter(copied).select(["id", "path", "label", "given"]).to_pylist()
    copies: dict[str, list[dict]] = {}
    for row in rows:
        row |= {"reason": None, "detail": ""}
        copies.setdefault(row["id"], []).append(row)
    for alike in copies.values():
        names = sorted({row["label"] for row in alike})
        kept = max(alike, key=lambda row: split.SPLITS.index(row["given"] or "train"))  # the first of equals
        for row in alike:
            if len(names) > 1:
                row |= {"reason": "label conflict", "detail": f"same pixels labelled {', '.join(names)}"}
            elif row is not kept:
                leak = row["given"] != kept["given"]
                where = f" in {kept['given']}" if leak else ""
                row |= {"reason": "leak" if leak else "duplicate", "detail": f"same pixels as {kept['path']}{where}"}
    mask = copied.combine_chunks()
    for name in ("reason", "detail"):
        judged = pa.array([row[name] for row in rows], pa.string())
        column = pc.replace_with_mask(found[name].combine_chunks(), mask, judged)
        found = found.set_column(found.schema.get_field_index(name), name, column)
    return found


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
