"""Adopts a shared generator: from then on it is a GAN's folder like that of a GAN that was trained here.

Its classes become those of the data set, in their order; it is refused where it has seen an image of validation or
test, since every figure on these would be too good; and it is tested for copies of the training images here.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as tensors_to_bytes

from ganaug_ray.augment.generator_pack import Pack, read_classifier, read_pack
from ganaug_ray.augment.synthetic_sources import CLASSIFIER_FOLDER
from ganaug_ray.config import GanConfig, GeneratorConfig
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.checkpoint import Tensors
from ganaug_ray.core.records import DatasetRecord, GanRecord, GeneratorSpec
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest.known_copies import Fingerprints
from ganaug_ray.data.ingest.seen_images import SeenImages
from ganaug_ray.data.ingest.synthetic_images import match_classes
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.resident_loader import ResidentImages
from ganaug_ray.errors import UserError
from ganaug_ray.gan import class_tables, networks
from ganaug_ray.gan.metrics import evaluator, sample_audit
from ganaug_ray.gan.sampler import Generator

MAX_NAMED_IMAGES = 20  # in a message: its reader takes them out


def adopt_generator(config: GeneratorConfig, dataset: Folder, teacher: Folder, out: Folder, seed: int) -> GanRecord:
    """Check a shared generator against a split of the data set, and write it as a GAN's folder.

    Args:
        config: where the pack is, and what its classes are called.
        dataset: of the split.
        teacher: of the split; its features are what images are compared in.
        out: folder of the generator.
        seed: of the images that are looked at.

    Returns:
        The marker gan.json: quality and copying test are against the images here, and ``undrawn`` names the classes
        that it does not draw. A classifier that came with it is adopted too, if the classes are the same.

    Raises:
        UserError: there is no such pack or it is damaged, it draws other colours or none of the classes, or it has seen
            validation or test images.
    """
    started = time.monotonic()
    pack, rows = check_generator(config, [dataset])
    facts = DatasetRecord.read(dataset)
    weights = _adapt_classes(pack, len(facts.classes), rows)
    if pack.record.classifier and len(rows) == len(facts.classes) == len(pack.record.classes):
        adopt_classifier(config, dataset, out)
    content = tensors_to_bytes(weights)
    spec = {
        **{key: getattr(pack.record, key) for key in GeneratorSpec.model_fields},
        "hash": experiment_dir.hash_content(content),
        "classes": facts.classes,
    }
    drawn = [facts.classes[row] for row in sorted(rows)]
    generator = Generator(GeneratorSpec(**spec), weights)
    audited = sample_audit.audit_samples(_draw_samples(generator, drawn, seed), dataset, teacher, seed, out.create())
    out.write_bytes("gan.safetensors", content)
    record = {
        **{key: getattr(pack.record, key) for key in ("steps", "images_seen")},
        **{key: getattr(pack.record, key).to_json() for key in ("recipe", "chosen")},
        **spec,
        **audited,
        "beside_held_out": _compare_with_held_out(generator, dataset, teacher, sorted(rows), seed),
        "inputs": {"pack": pack.record.hash, "dataset": facts.hash},
        "undrawn": [name for name in facts.classes if name not in drawn],
        "seed": seed,
        "config": {},
        "source": config.source,
        "class_names": config.classes,
        "quality_there": pack.record.quality,
        "verdict_there": pack.record.verdict,
    }
    return GanRecord.write(out, "adopt", started, record)


def check_generator(config: GeneratorConfig, datasets: Sequence[Folder]) -> tuple[Pack, dict[int, int]]:
    """Check a shared generator against the data set as its splits have it, before any work.

    Args:
        config: where the pack is, and what its classes are called.
        datasets: one of each split.

    Returns:
        The pack, and for each class of the data set that it draws, the pack's class.

    Raises:
        UserError: as ``adopt_generator``.
    """
    pack = read_pack(config.source)
    facts = DatasetRecord.read(datasets[0])
    where = f"augment.generator {config.source}"
    if pack.record.channels != facts.channels:
        colours = {1: "grey", 3: "colour"}
        raise UserError(
            f"{where}: draws images in {colours[pack.record.channels]}, and those of the data set are in "
            f"{colours[facts.channels]}; data.channels {pack.record.channels} makes them so, in another --out"
        )
    names = match_classes(where, pack.record.classes, config.classes, facts.classes)
    rows = class_tables.match_rows(pack.record.classes, facts.classes, names)
    if not rows:
        raise UserError(
            f"{where}: draws none of the classes of the data set, but {', '.join(pack.record.classes[:12])}; map them: "
            f"classes: {{{pack.record.classes[0]}: {facts.classes[0]}}}"
        )
    refuse_seen(where, pack.seen, datasets)
    return pack, rows


def refuse_seen(where: str, seen: SeenImages, datasets: Sequence[Folder]) -> None:
    """Raise UserError if a generator has seen an image of validation or test of any split, or one that resembles it."""
    seen_images: dict[str, str] = {}  # an image may be of several splits
    for dataset, split in itertools.product(datasets, ("val", "test")):
        for rows in image_store.iterate_shards(dataset / split):
            for path, match in zip(rows.paths, seen.match(Fingerprints.from_images(rows)), strict=True):
                if match is not None:
                    seen_images.setdefault(path, f"{path} ({split}, {match})")
    if seen_images:
        raise UserError(describe_seen(where, list(seen_images.values())))


def describe_seen(where: str, images: list[str]) -> str:
    """Say that a generator has seen images that models are judged by, and what to do."""
    named = ", ".join(images[:MAX_NAMED_IMAGES]) + (", ..." if len(images) > MAX_NAMED_IMAGES else "")
    return (
        f"{where}: this generator has seen {len(images)} of the validation and test images, or nearly the same ones: "
        f"{named}. Figures on them would be too good. Take another generator, or take these images out of data.source "
        "in another --out"
    )


def _adapt_classes(pack: Pack, classes: int, rows: dict[int, int]) -> Tensors:
    """Return the weights of the same network for the classes here; one that it does not know gets the mean of all."""
    spec = pack.record
    network = networks.Generator(spec.latent, classes, spec.channels, spec.size, spec.filters)
    tables = class_tables.find_class_tables(network, network.state_dict())
    weights = {}
    for key, tensor in pack.weights.items():
        if key in tables:
            mean = tensor.mean(0, keepdim=True).expand(classes, *tensor.shape[1:])
            tensor = class_tables.take_rows(tensor, mean, rows)
        weights[f"generator.{key}"] = tensor.contiguous()
    return weights


def _draw_samples(generator: Generator, classes: list[str], seed: int) -> image_store.LabelledImages:
    """Draw about as many images as are looked at, of each class as many, in random order."""
    per_class = -(-sample_audit.MAX_IMAGES // len(classes))
    images = np.concatenate([generator.generate(name, per_class, seed) for name in classes])
    labels = np.repeat([generator.classes.index(name) for name in classes], per_class)
    blank = [""] * len(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).numpy()
    return image_store.LabelledImages(images, labels, blank, blank, blank).take(order)


def _compare_with_held_out(
    generator: Generator, dataset: Folder, teacher: Folder, labels: list[int], seed: int
) -> dict[str, Any]:
    """Measure its images of these classes beside the validation images, as those of a GAN that is trained here."""
    train, val = (
        ResidentImages.load(dataset / split, torch.device("cpu"), evaluator.MAX_IMAGES_PER_SPLIT)
        for split in ("train", "val")
    )
    measuring = evaluator.GanEvaluator(train, val, teacher, GanConfig(latent=generator.spec.latent), seed)
    with torch.no_grad():
        return measuring.compare_with_held_out(generator.network, labels)


def adopt_classifier(config: GeneratorConfig, dataset: Folder, generator: Folder) -> Folder:
    """Write the classifier of a pack, with its classes in the order that they have here; return its folder.

    Raises:
        UserError: the pack has none, or one of other classes.
    """
    out = generator / CLASSIFIER_FOLDER
    pack = read_pack(config.source)
    model, weights = read_classifier(config.source, pack.record)
    facts = DatasetRecord.read(dataset)
    where = f"augment.generator {config.source}"
    names = match_classes(where, pack.record.classes, config.classes, facts.classes)
    rows = class_tables.match_rows(model.classes, facts.classes, names)
    if len(rows) != len(facts.classes) or len(model.classes) != len(facts.classes):
        raise UserError(
            f"{where}: its classifier knows other classes ({', '.join(model.classes[:12])}); leave out the arm of kind "
            "transfer"
        )
    order = [rows[row] for row in range(len(rows))]
    for key, tensor in weights.items():
        if key.startswith(("head.", "network.head.")) and tensor.ndim and len(tensor) == len(order):
            weights[key] = tensor[order].contiguous()
    content = tensors_to_bytes(weights)
    record = model.to_json() | {"classes": facts.classes, "hash": experiment_dir.hash_content(content)}
    out.create().write_bytes("model.safetensors", content)
    out.write_json(type(model).FILE, record)
    return out
