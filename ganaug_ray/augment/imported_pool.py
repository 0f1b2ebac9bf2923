"""Fills a pool from finished images: copies of real images are left out, the rest is screened as generated ones are."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import torch

from ganaug_ray.augment import screening_rules
from ganaug_ray.augment.screening import Examiner, Screening, measure_recall
from ganaug_ray.augment.screening_rules import REASONS, Evidence, ScreeningLimits
from ganaug_ray.classify.predict import Classifier
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.core.records import DatasetRecord, ImagesRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest.known_copies import Fingerprints, find_copies
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.image_store import LabelledImages
from ganaug_ray.errors import NothingPassed, StageFailed
from ganaug_ray.gan.metrics import sample_audit
from ganaug_ray.runtime.executors import DeviceExecutor, map_on_cpu

TESTED_SPLITS = ("val", "test")  # a copy of one of their images tells the answer


@dataclass(frozen=True)
class ShardRows:
    """Rows of a shard.

    Attributes:
        name: of its file.
        rows: their numbers in it, int64.
    """

    name: str
    rows: np.ndarray


def fill_pool(
    images: Folder,
    dataset: Folder,
    teacher: Folder,
    counts: Mapping[str, int],
    screening: Screening | None,
    seed: int,
    out: Folder,
    allow_copies: bool = False,
    progress: Callable[[int], None] = lambda images: None,
    executor: DeviceExecutor = map_on_cpu,
) -> Record:
    """Write the pool of one split: what of the images is no copy of a real one and passes the screening.

    Args:
        images: folder of the imported images.
        dataset: of the real images of the split.
        teacher: folder of the split's teacher.
        counts: class -> images to take at most; empty: all of every class.
        screening: what is asked of the images; None: any will do that is no copy.
        seed: of the figures of quality.
        out: folder of the pool.
        allow_copies: go on where the images were found to copy training images.
        progress: called with the number of images screened so far.
        executor: looks at the images, a shard at a time.

    Returns:
        The marker synthetic.json; ``left_out`` counts the copies of real images, which screened.parquet lists.

    Raises:
        StageFailed: the images copy training images, and ``allow_copies`` is false.
        NothingPassed: no image is left.
    """
    started = time.monotonic()
    record = ImagesRecord.read(images)
    classes = DatasetRecord.read(dataset).classes
    out.create()
    reasons = _find_real_copies(images, dataset)
    sample = _take_sample(images, reasons)
    audited = sample_audit.audit_samples(sample, dataset, teacher, seed, out) if len(sample) else {}
    if audited and audited["memorization"]["verdict"] == "copies" and not allow_copies:
        way_out = "" if all(reasons) else "; or --set augment.allow_copies=true uses the other images"
        raise StageFailed(
            f"the images of {', '.join(record.source)} copy: {audited['memorization']['reason']} (see "
            f"{out.name}/closest_pairs.png); take others, under another name in augment.images{way_out}"
        )
    rejects = [_tabulate_copies(images, reasons, classes)]
    limits = None
    tally: dict[str, Counter[str]] = {name: Counter() for name in counts or classes}
    shards = list(_list_unseen(images, reasons, classes, tally))
    passed_shards: Iterator[LabelledImages] = _iterate_rows(images, shards)
    if screening is not None:
        evidence = gather_evidence(screening, images, shards, executor, progress)
        if evidence:
            recall_K = measure_recall(Classifier.load(teacher), dataset / "val")
            limits = ScreeningLimits.from_evidence(Evidence.concatenate(evidence), screening.config, recall_K)
            passed_shards = _screen(limits, zip(passed_shards, evidence, strict=True), classes, rejects, tally)
    for number, rows in enumerate(passed_shards):
        rows = _cap_classes(rows, classes, counts, tally)
        if len(rows):
            image_store.write_shard(out, number, rows, "synthetic")
    out.write_table("screened.parquet", pa.concat_tables(rejects))
    if all(reasons):
        raise StageFailed(
            f"all {len(reasons)} images of {', '.join(record.source)} are copies of real ones (see "
            f"{out.name}/screened.parquet); take others, under another name in augment.images"
        )
    taken = {name: class_tally.pop("kept", 0) for name, class_tally in tally.items()}
    if not sum(taken.values()):
        raise NothingPassed(
            f"none of the {sum(record.counts.values())} images of {', '.join(record.source)} passed the screening "
            f"(see {out.name}/screened.parquet)"
        )
    settings = screening.config.model_dump() if screening else None
    dataset_hash = DatasetRecord.read(dataset).hash
    content = {
        "hash": experiment_dir.compute_fingerprint(record.hash, dataset_hash, dict(counts), settings, taken),
        "inputs": {"images": record.hash},
        "asked": dict(counts) or taken,
        "counts": taken,
        "screened": {name: dict(sorted(class_tally.items())) for name, class_tally in tally.items()},
        "not_drawn": [name for name, n in taken.items() if not n],
        "unjudged": limits.list_unjudged(classes) if limits else [],
        "limits": asdict(limits) if limits else None,
        "seed": seed,
        "images": sum(taken.values()),
        "source": record.source,
        "left_out": dict(Counter(reason for reason in reasons if reason)),
        **audited,
    }
    return experiment_dir.write_marker(out, "synthetic.json", "generate", started, content)


def _find_real_copies(images: Folder, dataset: Folder) -> list[str | None]:
    """Return for each imported image the split that it is a copy of, as ``find_copies`` has it."""
    known = {split: Fingerprints.from_store(dataset / split) for split in ("train", *TESTED_SPLITS)}
    return find_copies(Fingerprints.from_store(images), known)


def _take_sample(images: Folder, reasons: list[str | None]) -> LabelledImages:
    """Take images for the audit, those that copy training images among them: that is what it tests."""
    rows = image_store.read_images(images, 2 * sample_audit.MAX_IMAGES)
    is_sampled = [not (reason or "").endswith(TESTED_SPLITS) for reason in reasons[: len(rows)]]
    return rows.take(np.flatnonzero(is_sampled)[: sample_audit.MAX_IMAGES])


def _list_unseen(
    images: Folder, reasons: list[str | None], classes: list[str], tally: Mapping[str, Counter[str]]
) -> Iterator[ShardRows]:
    """Yield the images that are no copies of real ones, and of a class that is asked for, shard by shard."""
    first = 0
    for name in image_store.list_shards(images).names:
        labels = images.read_table(name, ["label"])["label"].to_pylist()
        is_taken = [reasons[first + row] is None and classes[label] in tally for row, label in enumerate(labels)]
        first += len(labels)
        if any(is_taken):
            yield ShardRows(name, np.flatnonzero(is_taken))


def _read_rows(images: Folder, shard: ShardRows) -> LabelledImages:
    return image_store.from_table(images.read_table(shard.name)).take(shard.rows)


def _iterate_rows(images: Folder, shards: list[ShardRows]) -> Iterator[LabelledImages]:
    return (_read_rows(images, shard) for shard in shards)


def gather_evidence(
    screening: Screening,
    images: Folder,
    shards: list[ShardRows],
    executor: DeviceExecutor,
    progress: Callable[[int], None],
) -> list[Evidence]:
    """Have rows of shards examined; return the evidence on those of each shard, in the CPU's memory.

    Args:
        screening: what they are examined by.
        images: the folder of the shards.
        shards: which rows.
        executor: who examines them.
        progress: called with the number of images examined so far.
    """
    evidence = []
    examined = 0
    for part in executor(functools.partial(_build_examiner, screening, str(images)), shards):
        evidence.append(part)
        examined += len(part.y_N)
        progress(examined)
    return evidence


def _build_examiner(screening: Screening, images_at: str, device: str) -> Callable[[ShardRows], Evidence]:
    """Load what images are examined by, and return what examines rows of a shard."""
    examiner = Examiner(screening, device)
    images = Folder.from_uri(images_at)

    def examine(shard: ShardRows) -> Evidence:
        rows = _read_rows(images, shard)
        return examiner(torch.from_numpy(rows.images), torch.from_numpy(rows.labels)).to_cpu()

    return examine


def _screen(
    limits: ScreeningLimits,
    shards: Iterable[tuple[LabelledImages, Evidence]],
    classes: list[str],
    rejects: list[pa.Table],
    tally: Mapping[str, Counter[str]],
) -> Iterator[LabelledImages]:
    """Yield the images that pass; add the others to ``rejects`` and count them in ``tally``."""
    for rows, evidence in shards:
        verdict_N = screening_rules.screen_images(evidence, limits)
        rejects.append(screening_rules.build_rejects_table(evidence, verdict_N, _list_origins(rows), classes))
        for label, reason in zip(rows.labels.tolist(), verdict_N.tolist(), strict=True):
            if reason != screening_rules.KEPT:
                tally[classes[label]][REASONS[reason]] += 1
        yield rows.take(np.flatnonzero((verdict_N == screening_rules.KEPT).numpy()))


def _cap_classes(
    rows: LabelledImages, classes: list[str], counts: Mapping[str, int], tally: Mapping[str, Counter[str]]
) -> LabelledImages:
    """Take no more of a class than is asked for, and count what is taken as ``kept``."""
    kept_rows = []
    for row, label in enumerate(rows.labels.tolist()):
        name = classes[label]
        if not counts or tally[name]["kept"] < counts[name]:
            tally[name]["kept"] += 1
            kept_rows.append(row)
    return rows.take(np.array(kept_rows, np.int64))


def _list_origins(rows: LabelledImages) -> list[str]:
    return [f"{source}: {path}" for source, path in zip(rows.provenance, rows.paths, strict=True)]


def _tabulate_copies(images: Folder, reasons: list[str | None], classes: list[str]) -> pa.Table:
    """Return the rows of screened.parquet for copies of real images, with no figures."""
    class_names = []
    origins = []
    copy_reasons = []
    first = 0
    for rows in image_store.iterate_shards(images):
        shard_reasons = reasons[first : first + len(rows)]
        first += len(rows)
        for label, origin, reason in zip(rows.labels.tolist(), _list_origins(rows), shard_reasons, strict=True):
            if reason is not None:
                class_names.append(classes[label])
                origins.append(origin)
                copy_reasons.append(reason)
    texts = {
        "class": class_names,
        "provenance": origins,
        "reason": copy_reasons,
        "predicted": [None] * len(copy_reasons),
    }
    figures = dict.fromkeys(("confidence", "near", "score"), pa.nulls(len(copy_reasons), pa.float32()))
    return pa.table({**{name: pa.array(values, pa.string()) for name, values in texts.items()}, **figures})
