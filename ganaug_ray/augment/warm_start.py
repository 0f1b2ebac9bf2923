"""Starts a GAN's training from another GAN: weights whose shapes fit are taken, those of a class by its name."""

from __future__ import annotations

from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from ganaug_ray.augment import generator_pack
from ganaug_ray.augment.shared_generator import describe_seen, refuse_seen
from ganaug_ray.config import Job
from ganaug_ray.config.synthetic_sources import GENERATOR
from ganaug_ray.core import checkpoint, experiment_dir
from ganaug_ray.core.checkpoint import Tensors
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.core.records import DatasetRecord, GanRecord
from ganaug_ray.core.records.pack import PackRecord
from ganaug_ray.core.storage import Folder, split_address
from ganaug_ray.data.ingest.known_copies import Fingerprints, find_copies
from ganaug_ray.errors import UserError
from ganaug_ray.gan import class_tables, png_export, training_loop
from ganaug_ray.gan.training_spec import START_FILE


def prepare_start(job: Job, dataset: Folder, out: Folder) -> Record:
    """Find the weights that a GAN starts from, and store them beside it, whole: those that do not fit are fresh ones.

    Args:
        job: its gan section names the other GAN: an experiment, a gan folder or a pack.
        dataset: that the new GAN is trained on.
        out: the new GAN's folder.

    Returns:
        The content of start.json: ``source``, ``hash``, and the names of tensors that were ``taken`` or are ``fresh``.

    Raises:
        UserError: there is no finished GAN, nothing of it fits, or it has seen validation or test images.
    """
    address = str(job.gan.init_from)
    if existing := experiment_dir.read_marker(out, "start.json"):
        return existing
    where = f"gan.init_from {address}"
    facts = DatasetRecord.read(dataset)
    other_gan, theirs = _read_gan(where, address, dataset)
    shape = training_loop.ImageShape(len(facts.classes), facts.channels, job.gan_image_size)
    generator, discriminator = training_loop.build_networks(job.gan, shape, job.seed, Place())
    networks = {"generator": generator, "discriminator": discriminator}
    start = checkpoint.pack_states(networks)
    tables = set().union(
        *(
            {f"{name}.{key}" for key in class_tables.find_class_tables(network, network.state_dict())}
            for name, network in networks.items()
        )
    )
    rows = class_tables.match_rows(other_gan.classes if other_gan.conditional else [], facts.classes)
    taken_names = []
    for name, tensor in start.items():
        other = theirs.get(name)
        if other is None:
            continue
        if name in tables and other.shape[1:] == tensor.shape[1:]:
            start[name] = class_tables.take_rows(other, tensor, rows)
            taken_names += [name] if rows else []
        elif name not in tables and other.shape == tensor.shape:
            start[name] = other.contiguous()
            taken_names.append(name)
    if not any(start[name].ndim > 1 for name in taken_names):  # biases and counters have the same shape in any GAN
        raise UserError(
            f"{where}: nothing of that GAN fits; take its gan.image_size={other_gan.size}, "
            f"gan.filters={other_gan.filters} and gan.latent={other_gan.latent}"
        )
    content = tensors_to_bytes(start)
    out.create().write_bytes(START_FILE, content)
    record = {
        "source": address,
        "hash": experiment_dir.hash_content(content),
        "classes": [facts.classes[row] for row in sorted(rows)],
        "taken": taken_names,
        "fresh": [name for name in start if name not in taken_names],
    }
    out.write_json("start.json", record)
    return record


def describe_start(record: Record) -> str:
    """Say in a line what was taken over."""
    matched = f"{len(record['classes'])} classes of the same name" if record["classes"] else "no class of the same name"
    tensors = f"{len(record['taken'])} tensors fit, {len(record['fresh'])} are fresh"
    return f"starts from {record['source']}: {tensors}, {matched}"


def _read_gan(where: str, address: str, dataset: Folder) -> tuple[GanRecord | PackRecord, Tensors]:
    """Return the record and the weights of another GAN that has seen no validation or test image here."""
    folder = Folder.from_uri(address)
    if folder.has_file(PackRecord.FILE):
        pack = generator_pack.read_pack(address, "gan.init_from")
        refuse_seen(where, pack.seen, [dataset])
        return pack.record, {f"generator.{name}": tensor for name, tensor in pack.weights.items()}
    gan = png_export.find_gan_folder(address)
    record = GanRecord.read(gan)
    if parent := record.config.get("init_from"):
        raise UserError(f"{where}: it started from {parent} itself, so it is unknown which images it has seen")
    _refuse_overlap(where, _find_seen_dataset(where, gan), dataset)
    weights: Tensors = {}
    for name in ("gan.safetensors", "discriminator.safetensors"):
        if gan.has_file(name):
            weights |= tensors_from_bytes(gan.read_bytes(name))
    return record, weights


def _find_seen_dataset(where: str, gan: Folder) -> Folder:
    """Return the data set that lies beside a GAN which was trained on it."""
    home, name = split_address(str(gan))
    seen = home / ("pseudo" if name == "gan-pseudo" else "dataset")
    if name == GENERATOR:
        source = GanRecord.read(gan).to_json().get("source")
        raise UserError(f"{where}: is a shared generator that was adopted there; name its pack, {source}")
    if not seen.has_file(DatasetRecord.FILE):
        raise UserError(
            f"{where}: the data set that it was trained on is not beside it, so it is unknown whether it has seen "
            "validation or test images; name its experiment, or a pack"
        )
    return seen


def _refuse_overlap(where: str, theirs: Folder, ours: Folder) -> None:
    """Raise UserError if the other GAN's images are among the validation and test images here."""
    seen = Fingerprints.concatenate([Fingerprints.from_store(theirs / split) for split in generator_pack.SEEN_SPLITS])
    overlapping = []
    for split in ("val", "test"):
        table = ours.read_table("split.parquet", ["id", "path"])
        paths = dict(zip(table["id"].to_pylist(), table["path"].to_pylist(), strict=True))
        candidates = Fingerprints.from_store(ours / split)
        for id_, reason in zip(candidates.ids, find_copies(candidates, {"train": seen}), strict=True):
            if reason is not None:
                overlapping.append(f"{paths[id_]} ({split})")
    if overlapping:
        raise UserError(describe_seen(where, overlapping))
