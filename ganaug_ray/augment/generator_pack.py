"""A pack: a generator that one site shares with others, who get neither its images nor their names.

    pack/
      pack.json               what it draws, how good it was, the copying test, the verdict, sha256 of the other files
      generator.safetensors   the weights of the averaged generator
      seen.safetensors        salted hashes of every image it has seen, see ``data.ingest.seen_images``
      card.md                 the same in words, and what the pack reveals
      classifier/             where it is shared: model.json and model.safetensors

The discriminator stays behind: it knows the training images by heart, and could tell of an image that it was there.
Nothing of a pack is unpickled, and all of it is checked for size, hash and form before it is used.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as arrays_from_bytes
from safetensors.numpy import save as arrays_to_bytes
from safetensors.torch import load as tensors_from_bytes

from ganaug_ray.augment.pack_card import describe_pack
from ganaug_ray.augment.synthetic_sources import CLASSIFIER_FOLDER
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.checkpoint import Tensors
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.model_registry import find_model
from ganaug_ray.core.records import DatasetRecord, GanRecord, ModelRecord, VerdictRecord
from ganaug_ray.core.records.pack import PackRecord
from ganaug_ray.core.storage import Folder, encode_json
from ganaug_ray.data.ingest.known_copies import Fingerprints
from ganaug_ray.data.ingest.seen_images import CODES, ID_BYTES, SALT_BYTES, SeenImages
from ganaug_ray.errors import UserError
from ganaug_ray.gan import networks
from ganaug_ray.gan.generator_verdict import judge_generator

WEIGHTS_FILE = "generator.safetensors"
SEEN_FILE = "seen.safetensors"
CARD_FILE = "card.md"
SEEN_SPLITS = ("train", "val")  # trained on, and chosen by
MAX_RECORD_BYTES = 4 * 1024**2
MAX_FILE_BYTES = 2 * 1024**3
MAX_CLASSES = 10_000
SIZES_PX = (16, 32, 64, 128)
MAX_LATENT = 4096
MAX_FILTERS = 512


@dataclass(frozen=True)
class Pack:
    """The content of a pack, checked."""

    record: PackRecord
    weights: Tensors
    seen: SeenImages


def write_pack(run: Run, out: Folder, about: str = "", with_classifier: bool = False) -> PackRecord:
    """Write the generator of a finished experiment, of its first split, and what others must know of it.

    Args:
        run: the experiment.
        out: a new or empty folder.
        about: of the job.
        with_classifier: share the experiment's champion too.

    Raises:
        UserError: there is no finished GAN or, with ``with_classifier``, no champion of the same images; the GAN draws
            images of no class, copies its training images, or started from another GAN; or the folder holds something.
    """
    gan = GanRecord.find(run.gan)
    if gan is None:
        raise UserError(f"{run.root}: no finished GAN (gan/gan.json); `{run.format_command('train-gan')}` trains it")
    if not gan.conditional:
        raise UserError(
            f"{run.root}: its GAN was trained without classes, so its images have no label and help no classifier"
        )
    if gan.memorization.verdict == "copies":
        raise UserError(
            f"{run.root}: its GAN copies training images, and a pack would reveal them: {gan.memorization.reason}"
        )
    if parent := gan.config.get("init_from"):
        raise UserError(
            f"{run.root}: its GAN started from {parent}, and a pack cannot list the images that it had seen; "
            "share a GAN that was trained from fresh weights"
        )
    if out.list_files() or out.list_folders():
        raise UserError(f"--out {out}: is not empty; give a new folder")
    files = {
        WEIGHTS_FILE: run.gan.read_bytes("gan.safetensors"),
        SEEN_FILE: _encode_seen(run, salt := secrets.token_bytes(SALT_BYTES)),
    }
    if with_classifier:
        files |= _read_classifier(run)
    dataset = DatasetRecord.read(run.dataset)
    verdict = VerdictRecord.find(run.root)
    judged = judge_generator(gan)
    content = {
        **{key: getattr(gan, key) for key in ("hash", "classes", "channels", "size", "latent", "filters")},
        **{key: getattr(gan, key) for key in ("conditional", "steps", "images_seen", "quality")},
        **{key: getattr(gan, key).to_json() for key in ("recipe", "chosen")},
        "memorization": {key: getattr(gan.memorization, key) for key in ("verdict", "reason")},
        "about": about,
        "counts": dataset.counts["train"],
        "resize": dataset.resize,
        "verdict": verdict.sentence if verdict else None,
        "generator": judged.sentence if judged else None,
        "seen": {"images": sum(sum(dataset.counts[split].values()) for split in SEEN_SPLITS), "salt": salt.hex()},
        "classifier": with_classifier,
        "files": {name: hashlib.sha256(file).hexdigest() for name, file in files.items()},
        "version": PackRecord.VERSION,
        "versions": experiment_dir.collect_versions(),
    }
    record = PackRecord.check_content(json.loads(json.dumps(content)), str(out / PackRecord.FILE))
    out.create()
    for name, file in files.items():
        folder, _, file_name = name.rpartition("/")
        (out / folder if folder else out).write_bytes(file_name, file)
    out.write_bytes(CARD_FILE, describe_pack(record).encode())
    out.write_json(PackRecord.FILE, content)  # last: a folder without it is no pack
    return record


def _encode_seen(run: Run, salt: bytes) -> bytes:
    fingerprints = Fingerprints.concatenate([Fingerprints.from_store(run.dataset / split) for split in SEEN_SPLITS])
    seen = SeenImages.from_fingerprints(fingerprints, salt)
    return arrays_to_bytes({"ids": seen.ids, "codes": seen.codes})


def _read_classifier(run: Run) -> dict[str, bytes]:
    model = find_model(run.root)
    if model is None:
        raise UserError(f"{run.root}: no classifier was promoted there; `{run.format_command('promote')}` does it")
    stored = ModelRecord.read(model)
    if stored.inputs.get("dataset") != DatasetRecord.read(run.dataset).hash or "pseudo" in stored.inputs:
        raise UserError(
            f"{run.root}: its champion was trained on other images than the GAN of its first split, and the pack could "
            "not list them; share without --classifier"
        )
    record = stored.to_json()
    record["start"] = None  # it and these settings may name folders of this site
    record["config"] |= {"weights": None, "init_from": None}
    return {
        f"{CLASSIFIER_FOLDER}/{ModelRecord.FILE}": encode_json(record),
        f"{CLASSIFIER_FOLDER}/model.safetensors": model.read_bytes("model.safetensors"),
    }


def read_pack(address: str, setting: str = "augment.generator") -> Pack:
    """Read and check a pack.

    Args:
        address: of its folder.
        setting: that names it, for messages.

    Raises:
        UserError: there is none, it is damaged or of a newer version, or not what ``ganaug share`` writes.
    """
    folder = Folder.from_uri(address)
    where = f"{setting} {address}"
    try:
        content = json.loads(_read_limited(folder, PackRecord.FILE, MAX_RECORD_BYTES, where))
    except ValueError as error:
        raise UserError(f"{where}: {PackRecord.FILE} is not JSON ({error})") from None
    record = PackRecord.check_content(content, str(folder / PackRecord.FILE))
    _check_spec(record, where)
    weights = _check_weights(record, _read_checked(folder, WEIGHTS_FILE, record, where), where)
    return Pack(record, weights, _check_seen(record, _read_checked(folder, SEEN_FILE, record, where), where))


def read_classifier(address: str, record: PackRecord) -> tuple[ModelRecord, Tensors]:
    """Read and check the classifier of a pack. Raises UserError where it has none, or a damaged one."""
    where = f"augment.generator {address}"
    if not record.classifier:
        raise UserError(f"{where}: the pack has no classifier; leave out the arm of kind transfer")
    folder = Folder.from_uri(address)
    name = f"{CLASSIFIER_FOLDER}/{ModelRecord.FILE}"
    model = ModelRecord.check_content(json.loads(_read_checked(folder, name, record, where)), str(folder / name))
    try:
        weights = tensors_from_bytes(_read_checked(folder, f"{CLASSIFIER_FOLDER}/model.safetensors", record, where))
    except SafetensorError as error:
        raise UserError(f"{where}: its classifier is not a file of weights ({error})") from None
    return model, weights


def _read_limited(folder: Folder, name: str, max_bytes: int, where: str) -> bytes:
    """Read a file unless it is larger than any that is needed."""
    info = folder.fs.get_file_info(f"{folder.path}/{name}")
    if not info.is_file:
        raise UserError(f"{where}: not a pack that `ganaug share` wrote ({name} is missing)")
    if info.size > max_bytes:
        raise UserError(f"{where}: {name} has {info.size} bytes; at most {max_bytes} are read")
    return folder.read_bytes(name)


def _read_checked(folder: Folder, name: str, record: PackRecord, where: str) -> bytes:
    content = _read_limited(folder, name, MAX_FILE_BYTES, where)
    if hashlib.sha256(content).hexdigest() != record.files.get(name):
        raise UserError(f"{where}: {name} is not the file that pack.json was written with; fetch the pack again")
    return content


def _check_spec(record: PackRecord, where: str) -> None:
    """Raise UserError if the network would be none of ours, or out of all measure."""
    limits = {
        "size": record.size in SIZES_PX,
        "channels": record.channels in (1, 3),
        "latent": 1 <= record.latent <= MAX_LATENT,
        "filters": 1 <= record.filters <= MAX_FILTERS,
        "classes": 1 <= len(record.classes) <= MAX_CLASSES and len(set(record.classes)) == len(record.classes),
        "conditional": record.conditional,
    }
    wrong = [name for name, is_fine in limits.items() if not is_fine]
    if wrong:
        raise UserError(
            f"{where}: this version cannot build a generator with {wrong[0]} {str(getattr(record, wrong[0]))[:80]}"
        )


def build_network(record: PackRecord) -> networks.Generator:
    """Build the network of a checked pack, with weights of no meaning."""
    return networks.Generator(record.latent, len(record.classes), record.channels, record.size, record.filters)


def _check_weights(record: PackRecord, content: bytes, where: str) -> Tensors:
    """Return the weights by their names in the network, each of the shape and type that it has there."""
    try:
        weights = {key.removeprefix("generator."): value for key, value in tensors_from_bytes(content).items()}
    except SafetensorError as error:
        raise UserError(f"{where}: {WEIGHTS_FILE} is not a file of weights ({error})") from None
    expected = build_network(record).state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        forms = [_describe_tensor(tensors.get(name)) for tensors in (weights, expected)]
        if forms[0] != forms[1]:
            raise UserError(f"{where}: the weights do not fit: {name} is {forms[0]}, expected {forms[1]}")
        if not torch.isfinite(weights[name]).all():
            raise UserError(f"{where}: the weights are of no use: {name} is not finite")
    return weights


def _describe_tensor(tensor: torch.Tensor | None) -> str:
    return "absent" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _check_seen(record: PackRecord, content: bytes, where: str) -> SeenImages:
    n = record.seen.images
    try:
        arrays: dict[str, Any] = arrays_from_bytes(content)
        salt = bytes.fromhex(record.seen.salt)
        forms = {name: (arrays[name].dtype, arrays[name].shape) for name in ("ids", "codes")}
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{where}: {SEEN_FILE} is damaged ({error})") from None
    expected = {"ids": (np.uint8, (n, ID_BYTES)), "codes": (np.uint32, (n, CODES))}
    if n < 1 or len(salt) != SALT_BYTES or forms != expected:
        raise UserError(f"{where}: {SEEN_FILE} does not hold {n} images")
    return SeenImages(salt, arrays["ids"], arrays["codes"])
