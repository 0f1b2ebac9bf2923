"""Reads synthetic images from elsewhere in the same way as the data set's own: same audit, same size, same colours.

What is judged here is each image by itself. Whether it is a copy of a real image, and whether a teacher knows it, is
judged in each split of the data set, see ``augment.imported_pool``.
"""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from ganaug_ray.config import DataConfig, ImagesConfig, SplitConfig
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.records import DatasetRecord, ImagesRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import refusals, shard_writer, source_audit
from ganaug_ray.data.ingest.source_audit import Progress, ignore_progress
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.sources import foreign_advice
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.executors import Executor, map_serially

MAX_NAMED_CLASSES = 12  # in a message


def import_images(
    config: DataConfig,
    source: ImagesConfig,
    dataset: DatasetRecord,
    out: Folder,
    executor: Executor = map_serially,
    progress: Progress = ignore_progress,
) -> ImagesRecord:
    """Write a store of synthetic images from elsewhere, and a table of those that are left out.

    Args:
        config: the data section of the job: how images are judged.
        source: where they are, and what their classes are called.
        dataset: of the real images: their classes, size, channels and scale of values.
        out: the folder, which is new or left over from an interrupted import.
        executor: who reads.
        progress: called with a share of the work and a few words.

    Returns:
        The marker images.json.

    Raises:
        UserError: there is no such source, nothing usable in it, a class that the data set does not have, or too many
            images that cannot be used.
    """
    started = time.monotonic()
    where = f"augment.images {source.address}"
    staged = out / ".staged"
    try:
        reading = config.model_copy(
            update={
                "source": source.source,
                "label_from": source.label_from,
                "columns": source.columns,
                "split": SplitConfig(),  # nothing is split, whatever the folders are called
                "image_size": dataset.image_size,
                "resize": dataset.resize,
            }
        )
        try:
            audited = source_audit.audit_in_one_scale(
                reading, staged.create(), executor, progress, known_range=dataset.value_range
            )
            usable, rejected = audited.divide()
            refusals.refuse_many_rejects(
                where, config.max_rejected, usable, rejected, audited.passed_over, audited.sidecar
            )
        except UserError as error:
            raise UserError(foreign_advice.name_section(str(error), "augment.images")) from None
        labels = _number_classes(where, usable["label"].to_pylist(), source.classes, dataset.classes)
        _write_store(staged, out, usable, labels, dataset)
    finally:
        staged.fs.delete_dir(staged.path)
    out.write_table("rejected.parquet", rejected.select(["path", "provenance", "reason", "detail"]))
    class_counts = Counter(dataset.classes[label] for label in labels.tolist())
    content = [usable["id"].to_pylist(), labels.tolist()]
    record = {
        "hash": experiment_dir.compute_fingerprint(dataset.image_size, dataset.resize, dataset.channels, content),
        "source": source.source,
        "class_names": source.classes,
        "settings": source.model_dump(mode="json"),
        "classes": dataset.classes,
        "counts": {name: class_counts[name] for name in dataset.classes if class_counts[name]},
        "image_size": dataset.image_size,
        "channels": dataset.channels,
        "rejected": dict(Counter(rejected["reason"].to_pylist())),
        "passed_over": audited.passed_over,
        "remarks": audited.remarks,
    }
    return ImagesRecord.write(out, "import", started, record)


def match_classes(where: str, theirs: Sequence[str], names: Mapping[str, str], ours: Sequence[str]) -> dict[str, str]:
    """Match the classes of a source with those of the data set, by name or by a mapping of names.

    Args:
        where: the setting and its value, for messages.
        theirs: classes of the source.
        names: class there -> class of the data set, where the two have other names.
        ours: classes of the data set.

    Returns:
        Class there -> class of the data set, of those that have one.

    Raises:
        UserError: the mapping names a class that one of the two does not have.

    >>> match_classes("here", ["kitty", "dog", "owl"], {"kitty": "cat"}, ["cat", "dog"])
    {'kitty': 'cat', 'dog': 'dog'}
    """
    for name, target in names.items():
        if name not in theirs:
            raise UserError(f"{where}: classes names {name!r}, which is not there; there are {_join_classes(theirs)}")
        if target not in ours:
            raise UserError(
                f"{where}: classes maps {name!r} to {target!r}; classes of the data set are {_join_classes(ours)}"
            )
    targets = {name: names.get(name, name) for name in theirs}
    return {name: target for name, target in targets.items() if target in ours}


def _number_classes(where: str, texts: list[str], names: Mapping[str, str], ours: list[str]) -> np.ndarray:
    """Return the number of each image's class in the data set, int64 [N]. Raises UserError for an unknown class."""
    theirs = sorted(set(texts))
    matched = match_classes(where, theirs, names, ours)
    unknown = [name for name in theirs if name not in matched]
    if unknown:
        close = difflib.get_close_matches(unknown[0], ours, n=1)
        example = close[0] if close else ours[0]
        raise UserError(
            f"{where}: the data set has no class {_join_classes(unknown)}, only {_join_classes(ours)}; "
            f"rename the folder, or map it: classes: {{{unknown[0]}: {example}}}"
        )
    numbers = {name: ours.index(target) for name, target in matched.items()}
    return np.array([numbers[text] for text in texts], np.int64)


def _join_classes(names: Sequence[str]) -> str:
    shown = ", ".join(map(str, names[:MAX_NAMED_CLASSES]))
    return f"{shown}, ..." if len(names) > MAX_NAMED_CLASSES else shown


def _write_store(staged: Folder, out: Folder, usable: pa.Table, labels: np.ndarray, dataset: DatasetRecord) -> None:
    max_rows = image_store.count_shard_rows(dataset.image_size**2 * dataset.channels)
    for number, start in enumerate(range(0, len(usable), max_rows)):
        rows = usable.slice(start, max_rows).combine_chunks()
        shard = image_store.LabelledImages(
            images=shard_writer.read_pixels(staged, rows, dataset.image_size, dataset.channels),
            labels=labels[start : start + max_rows],
            ids=rows["id"].to_pylist(),
            paths=rows["path"].to_pylist(),
            provenance=rows["provenance"].to_pylist(),
        )
        image_store.write_shard(out, number, shard, "synthetic")
