"""The prepare stage: raw images in, a judged, split and resized image store out."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa
from PIL import Image

from ganaug_ray import runs
from ganaug_ray.config import DataConfig
from ganaug_ray.data import images, sources, split, store
from ganaug_ray.errors import UserError
from ganaug_ray.storage import Folder

CHUNK = 256  # files in memory undecoded at a time


@dataclass(frozen=True)
class _Candidate:
    raw_path: str
    label: str
    provenance: str
    id: str
    pixels: np.ndarray  # uint8 [size, size, 1 or 3], resized
    given: str | None  # the split it came in, where splits are given


@dataclass(frozen=True)
class Reject:
    """An image left out, and why."""

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Survey:
    """What a source holds: the usable images, the rejected ones, and who goes where."""

    classes: list[str]
    channels: int
    candidates: list[_Candidate]
    rejects: list[Reject]
    splits: dict[str, str]  # id -> split

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> class -> number of images."""
        table: dict[str, dict[str, int]] = {
            name: dict.fromkeys(self.classes, 0) for name in ("train", "val", "test", split.UNUSED)
        }
        for candidate in self.candidates:
            table[self.splits[candidate.id]][candidate.label] += 1
        return table


def survey(config: DataConfig) -> Survey:
    """Read, decode and judge every image of the source and deal them out; writes nothing.

    Raises:
        UserError: no such source, nothing readable in it, a single class, or a class too small to split.
    """
    copies: dict[str, list[_Candidate]] = defaultdict(list)
    rejects: list[Reject] = []
    raws = sources.read(config.source, config.label_from)
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(raws, CHUNK)):
            for found in pool.map(lambda raw: _judge(raw, config), chunk):
                if isinstance(found, Reject):
                    rejects.append(found)
                else:
                    copies[found.id].append(found)
    kept = []
    for alike in copies.values():
        winner, losers = _one_of(alike)
        kept += [winner] if winner else []
        rejects += losers
    return _deal(config, kept, rejects)


def _one_of(alike: list[_Candidate]) -> tuple[_Candidate | None, list[Reject]]:
    """Keep one of several copies of the same pixels; none where they are labelled differently.

    Of copies in different given splits, the one for test is kept, else the one for validation: trained on, it would
    make every later figure too good.
    """
    labels = sorted({copy.label for copy in alike})
    if len(labels) > 1:
        return None, [Reject(c.raw_path, "label conflict", f"same pixels labelled {', '.join(labels)}") for c in alike]
    winner = max(alike, key=lambda copy: split.SPLITS.index(copy.given or "train"))  # the first of equals
    losers = []
    for copy in alike:
        if copy is not winner:
            leak = copy.given != winner.given
            detail = f"same pixels as {winner.raw_path}" + (f" in {winner.given}" if leak else "")
            losers.append(Reject(copy.raw_path, "leak" if leak else "duplicate", detail))
    return winner, losers


def _judge(raw: sources.Raw, config: DataConfig) -> "_Candidate | Reject":
    if raw.label is None:
        return Reject(raw.path, "no class", "data.label_from finds no label for it")
    given = split.GIVEN_AS.get(raw.path.split("/")[0].lower()) if config.split.given else None
    if config.split.given and given is None:
        return Reject(raw.path, "no split", "lies in none of the folders train, val and test")
    try:
        image = _open(raw.content)
    except images.Unreadable as error:
        return Reject(raw.path, error.reason, error.detail)
    if min(image.size) < config.smallest:
        return Reject(raw.path, "too small", f"{image.width} × {image.height} pixels")
    native = images.pixels(image, _native_channels(image))
    if (native == native[0, 0]).all():
        return Reject(raw.path, "single colour", f"every pixel is {native[0, 0].tolist()}")
    resized = images.pixels(images.square(image, config.image_size, config.resize), native.shape[2])
    return _Candidate(raw.path, raw.label, raw.provenance, store.pixel_id(native), resized, given)


def _open(content: bytes | np.ndarray | images.Unreadable) -> Image.Image:
    if isinstance(content, images.Unreadable):
        raise content
    return images.decode(content) if isinstance(content, bytes) else images.from_array(content)


def _native_channels(image: Image.Image) -> int:
    return 1 if image.mode == "L" else 3


def _deal(config: DataConfig, candidates: list[_Candidate], rejects: list[Reject]) -> Survey:
    where = f"data.source {', '.join(config.source)}"
    reasons = Counter(reject.reason for reject in rejects)
    found = ", ".join(f"{n} × {reason}" for reason, n in reasons.most_common(6))
    if not candidates:
        raise UserError(f"{where}: no readable image (found {found}); expected one folder of images a class")
    # A duplicate is a good image once too often: not a sign that the source is not what it should be.
    bad, total = len(rejects) - reasons["duplicate"], len(candidates) + len(rejects)
    if bad > config.max_rejected * total:
        raise UserError(
            f"{where}: {bad} of {total} images cannot be used ({found}); "
            f"mend them, or allow it with data.max_rejected (now {config.max_rejected:g})"
        )
    classes = sorted({candidate.label for candidate in candidates})
    if len(classes) == 1:
        raise UserError(
            f"{where}: a single class {classes[0]!r} was found; expected one folder of images "
            "for each of two or more classes"
        )
    by_class: dict[str, list[str]] = defaultdict(list)
    for candidate in candidates:
        by_class[candidate.label].append(candidate.id)
    try:
        if config.split.given:
            given = {candidate.id: candidate.given or "train" for candidate in candidates}
            splits = split.keep(by_class, given, config.split, config.train_per_class, config.val_cap)
        else:
            old = _old_splits(config.extends) if config.extends else {}
            splits = split.assign(by_class, config.split, config.train_per_class, config.val_cap, old)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    channels = config.channels or max(candidate.pixels.shape[2] for candidate in candidates)
    return Survey(classes, channels, candidates, rejects, splits)


def _old_splits(dataset: str) -> dict[str, str]:
    try:
        table = Folder.at(dataset).read_table("split.parquet")
    except (OSError, pa.ArrowException):
        raise UserError(f"data.extends {dataset}: no finished dataset folder (split.parquet) there") from None
    return dict(zip(table.column("id").to_pylist(), table.column("split").to_pylist(), strict=True))


def prepare(config: DataConfig, out: Folder) -> runs.Record:
    """Survey the source and write the dataset: train/, val/ and test/ stores, split.parquet, rejected.parquet.

    Returns:
        The marker dataset.json.
    """
    started = time.monotonic()
    found = survey(config)
    out.make()
    for name in ("train", "val", "test"):
        rows = list(_rows_of(found, name))
        store.write(out / name, _as_images(rows, found), "real")
    ids = sorted(found.splits)
    out.write_table("split.parquet", pa.table({"id": ids, "split": [found.splits[id_] for id_ in ids]}))
    rejects = sorted(found.rejects, key=lambda reject: reject.path)
    columns = ("path", "reason", "detail")
    out.write_table(
        "rejected.parquet",
        pa.table({c: pa.array([getattr(r, c) for r in rejects], pa.string()) for c in columns}),
    )
    labels = {candidate.id: candidate.label for candidate in found.candidates}
    record = {
        "hash": runs.fingerprint(
            config.image_size, config.resize, found.channels, [(i, labels[i], found.splits[i]) for i in ids]
        ),
        "source": config.source,
        "classes": found.classes,
        "image_size": config.image_size,
        "resize": config.resize,
        "channels": found.channels,
        "counts": found.counts(),
        "rejected": dict(Counter(reject.reason for reject in rejects)),
    }
    return runs.commit(out, "dataset.json", "prepare", started, record)


def _rows_of(found: Survey, name: str) -> Iterator[_Candidate]:
    """Rows of a split, ordered by id: the order found in the source does not matter."""
    rows = [candidate for candidate in found.candidates if found.splits[candidate.id] == name]
    return iter(sorted(rows, key=lambda candidate: candidate.id))


def _as_images(rows: list[_Candidate], found: Survey) -> store.Images:
    index = {name: number for number, name in enumerate(found.classes)}
    stack = [images.pixels(images.from_array(row.pixels), found.channels) for row in rows]
    return store.Images(
        images=np.stack(stack),
        labels=np.array([index[row.label] for row in rows], np.int64),
        ids=[row.id for row in rows],
        paths=[row.raw_path for row in rows],
        provenance=[row.provenance for row in rows],
    )
