"""Finds the weights that classifiers start from: pretrained ones by name or file, or a model's own. All must fit.

They are read and checked once, before any training, and kept in the experiment as ``start.safetensors`` with a report
of which tensors matched in ``start.json``; workers read those, so that they need neither the file nor a network.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from ganaug_ray.classify import backbones, networks
from ganaug_ray.config import Job
from ganaug_ray.core import experiment_dir, model_registry
from ganaug_ray.core.checkpoint import Tensors
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.records import DatasetRecord, ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError

PRETRAINED_SOURCE = "pretrained"
CHAMPION_SOURCE = "champion"
MAX_NAMED_TENSORS = 3  # tensors, at most, in a message
WRAPPER_KEYS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts keep the weights


@dataclass(frozen=True)
class WeightMatch:
    """How the tensors of a weights file match those of a network.

    Attributes:
        matched: names of tensors that are in both, with the same shape.
        new: the network's, that start afresh: of the head.
        left_out: the file's, that have no place here: of its head.
        missing: the network's, not in the file.
        unexpected: the file's, not in the network.
        wrong_shape: in both, with the file's shape and the network's.
    """

    matched: list[str]
    new: list[str]
    left_out: list[str]
    missing: list[str]
    unexpected: list[str]
    wrong_shape: dict[str, tuple[list[int], list[int]]]

    @property
    def is_compatible(self) -> bool:
        """Whether all tensors match, except those of heads."""
        return bool(self.matched) and not (self.missing or self.unexpected or self.wrong_shape)

    @property
    def mismatches(self) -> str:
        """The tensors that do not match, in words."""
        shapes = [f"{name} is {theirs}, not {ours}" for name, (theirs, ours) in self.wrong_shape.items()]
        lists = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": shapes}
        descriptions = [f"{len(names)} {problem} ({_join_names(names)})" for problem, names in lists.items() if names]
        return f"{len(self.matched)} tensors match, " + ", ".join(descriptions)


def match_weights(network: networks.Network, weights: Tensors, keep_head: bool = False) -> WeightMatch:
    """Compare the tensors of a weights file with those of a network, by name and shape.

    Args:
        network: what they are for.
        weights: named as in the network, as in its backbone alone, or as in a model.safetensors.
        keep_head: the head is to match too.
    """
    network_tensors = _drop_batch_counts(network.state_dict())
    file_tensors = _drop_batch_counts(weights)
    new: list[str] = []
    left_out: list[str] = []
    if not keep_head:
        new = [key for key in network_tensors if key.startswith("head.")]
        left_out = [key for key in file_tensors if key.startswith(("head.", *network.replaced_prefixes))]
    network_shapes = {key: list(value.shape) for key, value in network_tensors.items() if key not in new}
    file_shapes = {key: list(value.shape) for key, value in file_tensors.items() if key not in left_out}
    matched = []
    missing = []
    wrong_shape = {}
    for key, shape in network_shapes.items():
        if key not in file_shapes:
            missing.append(key)
        elif file_shapes[key] == shape:
            matched.append(key)
        else:
            wrong_shape[key] = (file_shapes[key], shape)
    return WeightMatch(
        matched=matched,
        new=new,
        left_out=left_out,
        missing=missing,
        unexpected=[key for key in file_shapes if key not in network_shapes],
        wrong_shape=wrong_shape,
    )


def _drop_batch_counts(weights: Tensors) -> Tensors:
    """Leave out batch norm's counts of batches: they are not in older files, and nothing here reads them."""
    return {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}


def prepare_weights(job: Job, run: Run, folder: Folder | None = None) -> Record | None:
    """Find the weights that the job's classifiers start from, check that they fit, and store them in ``folder``.

    Args:
        job: its classifier section names them.
        run: with the data set.
        folder: where they are kept; absent: models/.

    Returns:
        The report, which is also in start.json; None where classifiers start afresh.

    Raises:
        UserError: the weights are not there, cannot be read, or do not fit.
    """
    config = job.classifier
    if config.weights is None and config.init_from is None:
        return None
    folder = folder or run.models
    settings = config.model_dump(mode="json", include={"arch", "input_size", "weights", "init_from"})
    existing_record = experiment_dir.read_marker(folder, "start.json")
    if (
        existing_record and existing_record.get("settings", settings) == settings
    ):  # they may change until one is trained
        return existing_record
    facts = DatasetRecord.read(run.dataset)
    network_input = networks.choose_input(config.arch, facts.image_size, config.input_size, config.weights is not None)
    network = networks.build_network(config.arch, facts.channels, len(facts.classes), config.dropout, network_input)
    notes: list[str] = []
    if config.init_from is not None:
        source, weights = _read_model_weights(job, run, facts, notes)
        key = f"classifier.init_from {source}"
    else:
        source = str(config.weights)
        weights = _fetch_published(config.arch) if source == PRETRAINED_SOURCE else read_weights(source)
        key = f"classifier.weights {source}"
    weights = _rename_tensors(network, weights)
    weight_match = match_weights(network, weights, keep_head=config.init_from is not None)
    if not weight_match.is_compatible:
        raise UserError(f"{key}: not weights of {config.arch}: {weight_match.mismatches}")
    content = tensors_to_bytes({name: weights[name].contiguous() for name in weight_match.matched})
    folder.create().write_bytes("start.safetensors", content)
    record = {
        "source": source, "settings": settings, "hash": experiment_dir.hash_content(content),
        **asdict(weight_match), "notes": notes,
    }  # fmt: skip
    folder.write_json("start.json", record)
    return record


def describe_match(record: Record) -> str:
    """Describe the weights that were found in one line, for the terminal."""
    parts = [f"{record['source']}: all {len(record['matched'])} tensors match"]
    parts += ["the head is new"] if record["new"] else []
    return ", ".join([*parts, *record["notes"]])


def load_weights(network: networks.Network, models: Folder) -> Record:
    """Load the weights that ``prepare_weights`` stored into a network; return their record."""
    record = models.read_json("start.json")
    weights = tensors_from_bytes(models.read_bytes("start.safetensors"))
    missed_keys = network.load_state_dict(weights, strict=False)
    fresh_names = {key for key in missed_keys.missing_keys if not key.endswith("num_batches_tracked")}
    assert not missed_keys.unexpected_keys, "what is kept was checked"
    assert fresh_names == set(record["new"]), "what is kept was checked"
    return record


def read_weights(path: str) -> Tensors:
    """Read a weights file: safetensors, or a state_dict saved by torch, from which no other object is unpickled.

    Args:
        path: local or a URI.

    Raises:
        UserError: there is no such file, or it holds no weights.
    """
    folder, _, name = path.rpartition("/")
    try:
        content = Folder.from_uri(folder or ".").read_bytes(name)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"classifier.weights {path}: there is no such file") from None
    try:
        if name.endswith(".safetensors"):
            return tensors_from_bytes(content)
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"classifier.weights {path}: not a file of weights ({reason})") from None
    for wrapper in WRAPPER_KEYS:
        if isinstance(weights, dict) and isinstance(weights.get(wrapper), dict):
            weights = weights[wrapper]
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise UserError(f"classifier.weights {path}: holds no state_dict, a mapping from names to tensors")
    return weights


def _rename_tensors(network: networks.Network, weights: Tensors) -> Tensors:
    """Take off what DataParallel and our own files put before names, and put before them what our networks do."""
    for prefix in ("module.", "network."):
        if all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    if isinstance(network, networks.Backbone) and not any(key.startswith("backbone.") for key in weights):
        return {f"backbone.{key}": value for key, value in weights.items()}
    return weights


def _fetch_published(arch: str) -> Tensors:
    try:
        return backbones.fetch_weights(arch)
    except OSError as error:
        raise UserError(
            f"classifier.weights pretrained: those of {arch} cannot be fetched ({_first_line(error)}); "
            "with no network, give the path of a file"
        ) from None
    except RuntimeError as error:
        raise UserError(f"classifier.weights pretrained: {arch} has none ({_first_line(error)})") from None


def _read_model_weights(job: Job, run: Run, facts: DatasetRecord, notes: list[str]) -> tuple[str, Tensors]:
    """Find the model that init_from means; its classes are to be the data's, in the same order."""
    requested_source = str(job.classifier.init_from)
    address = requested_source
    where = ""
    if requested_source == CHAMPION_SOURCE:
        address = job.data.extends.rstrip("/").rpartition("/")[0] if job.data.extends else str(run.root)
        where = f" in {address}"
    folder = model_registry.find_model(Folder.from_uri(address))
    if folder is None:
        raise UserError(
            f"classifier.init_from {requested_source}: no experiment with a promoted model, registry or model{where}"
        )
    record = ModelRecord.read(folder)
    for key, expected in (
        ("arch", job.classifier.arch),
        ("classes", facts.classes),
        ("channels", facts.channels),
    ):
        if getattr(record, key) != expected:
            order = " in the same order" if key == "classes" else ""
            raise UserError(
                f"classifier.init_from {requested_source}: its {key} {_describe_value(getattr(record, key))}, "
                f"here {_describe_value(expected)}; give a model with the same {key}{order}"
            )
    if not job.data.extends and record.inputs.get("dataset") != facts.hash:
        notes.append("which was trained on another data set: the test images here may be among its training images")
    return str(folder), tensors_from_bytes(folder.read_bytes("model.safetensors"))


def _describe_value(value: Any) -> str:
    if isinstance(value, list):
        return f"are {len(value)}: {_join_names(value)}"
    return f"is {value}"


def _join_names(names: list[str]) -> str:
    text = ", ".join(names[:MAX_NAMED_TENSORS])
    if len(names) > MAX_NAMED_TENSORS:
        text += ", ..."
    return text


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160]
