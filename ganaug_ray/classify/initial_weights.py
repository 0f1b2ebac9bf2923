"""Weights to start from: pretrained ones by name or file, or a model's own. All of them fit, or it is an error.

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
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError

PRETRAINED, CHAMPION = "pretrained", "champion"
NAMED = 3  # tensors, at most, in a message
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts keep the weights


@dataclass(frozen=True)
class Match:
    """How the tensors of a weights file meet those of a network.

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
    def fits(self) -> bool:
        """Whether nothing but heads differs."""
        return bool(self.matched) and not (self.missing or self.unexpected or self.wrong_shape)

    @property
    def mistakes(self) -> str:
        """What does not fit, in words."""
        shapes = [f"{name} is {theirs}, not {ours}" for name, (theirs, ours) in self.wrong_shape.items()]
        lists = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": shapes}
        told = [f"{len(names)} {what} ({_some(names)})" for what, names in lists.items() if names]
        return f"{len(self.matched)} tensors match, " + ", ".join(told)


def match(network: networks.Network, weights: Tensors, keep_head: bool = False) -> Match:
    """Compare weights with a network, by name and shape.

    Args:
        network: what they are for.
        weights: named as in the network, as in its backbone alone, or as in a model.safetensors.
        keep_head: the head is to match too.
    """
    # Batch norm's count of batches is not in older files, and nothing here reads it.
    own = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    theirs = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    new = [] if keep_head else [key for key in own if key.startswith("head.")]
    left_out = [] if keep_head else [key for key in theirs if key.startswith(("head.", *network.replaced))]
    own = {key: value for key, value in own.items() if key not in new}
    theirs = {key: value for key, value in theirs.items() if key not in left_out}
    both = [key for key in own if key in theirs]
    same = [key for key in both if own[key].shape == theirs[key].shape]
    return Match(
        matched=same,
        new=new,
        left_out=left_out,
        missing=[key for key in own if key not in theirs],
        unexpected=[key for key in theirs if key not in own],
        wrong_shape={
            key: (list(theirs[key].shape), list(own[key].shape)) for key in both if own[key].shape != theirs[key].shape
        },
    )


def prepare(job: Job, run: Run, folder: Folder | None = None) -> Record | None:
    """Find the weights that the job's classifiers start from, check them, and keep them in ``folder``.

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
    if kept := experiment_dir.done(folder, "start.json"):
        return kept
    facts = run.dataset.read_json("dataset.json")
    wanted = networks.input_of(config.arch, facts["image_size"], config.input_size, config.weights is not None)
    network = networks.build(config.arch, facts["channels"], len(facts["classes"]), config.dropout, wanted)
    notes: list[str] = []
    if config.init_from is not None:
        source, weights = _of_model(job, run, facts, notes)
        key = f"classifier.init_from {source}"
    else:
        source = str(config.weights)
        weights = _published(config.arch) if source == PRETRAINED else read(source)
        key = f"classifier.weights {source}"
    weights = _named_as_in(network, weights)
    found = match(network, weights, keep_head=config.init_from is not None)
    if not found.fits:
        raise UserError(f"{key}: not weights of {config.arch}: {found.mistakes}")
    content = tensors_to_bytes({name: weights[name].contiguous() for name in found.matched})
    folder.make().write("start.safetensors", content)
    record = {"source": source, "hash": experiment_dir.content_hash(content), **asdict(found), "notes": notes}
    folder.write_json("start.json", record)
    return record


def sentence(record: Record) -> str:
    """What was found, for the terminal."""
    parts = [f"{record['source']}: all {len(record['matched'])} tensors match"]
    parts += ["the head is new"] if record["new"] else []
    return ", ".join([*parts, *record["notes"]])


def load(network: networks.Network, models: Folder) -> Record:
    """Give a network the weights that ``prepare`` kept; return its report."""
    record = models.read_json("start.json")
    weights = tensors_from_bytes(models.read("start.safetensors"))
    left = network.load_state_dict(weights, strict=False)
    afresh = {key for key in left.missing_keys if not key.endswith("num_batches_tracked")}
    assert not left.unexpected_keys, "what is kept was checked"
    assert afresh == set(record["new"]), "what is kept was checked"
    return record


def read(path: str) -> Tensors:
    """Read a weights file: safetensors, or a state_dict saved by torch, of which nothing else is unpickled.

    Args:
        path: local or a URI.

    Raises:
        UserError: there is no such file, or it holds no weights.
    """
    folder, _, name = path.rpartition("/")
    try:
        content = Folder.at(folder or ".").read(name)
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"classifier.weights {path}: there is no such file") from None
    try:
        if name.endswith(".safetensors"):
            return tensors_from_bytes(content)
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(f"classifier.weights {path}: not a file of weights ({reason})") from None
    for wrapper in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(wrapper), dict):
            found = found[wrapper]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise UserError(f"classifier.weights {path}: holds no state_dict, a mapping from names to tensors")
    return found


def _named_as_in(network: networks.Network, weights: Tensors) -> Tensors:
    """Take off what DataParallel and our own files put before names, and put before them what our networks do."""
    for prefix in ("module.", "network."):
        if all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    if isinstance(network, networks.Backbone) and not any(key.startswith("backbone.") for key in weights):
        return {f"backbone.{key}": value for key, value in weights.items()}
    return weights


def _published(arch: str) -> Tensors:
    try:
        return backbones.pretrained(arch)
    except OSError as error:
        raise UserError(
            f"classifier.weights pretrained: those of {arch} cannot be fetched ({_line(error)}); "
            "with no network, give the path of a file"
        ) from None
    except RuntimeError as error:
        raise UserError(f"classifier.weights pretrained: {arch} has none ({_line(error)})") from None


def _of_model(job: Job, run: Run, facts: Record, notes: list[str]) -> tuple[str, Tensors]:
    """Find the model that init_from means; its classes are to be the data's, in the same order."""
    wish = str(job.classifier.init_from)
    older = job.data.extends.rstrip("/").rpartition("/")[0] if job.data.extends else str(run.root)
    folder = model_registry.find_model(Folder.at(older if wish == CHAMPION else wish))
    if folder is None:
        where = f" in {older}" if wish == CHAMPION else ""
        raise UserError(f"classifier.init_from {wish}: no experiment with a promoted model, registry or model{where}")
    record = folder.read_json("model.json")
    for key, here in (("arch", job.classifier.arch), ("classes", facts["classes"]), ("channels", facts["channels"])):
        if record[key] != here:
            raise UserError(f"classifier.init_from {wish}: its {key} {_short(record[key])}, here {_short(here)}")
    if not job.data.extends and record["inputs"].get("dataset") != facts["hash"]:
        notes.append("which was trained on another data set: the test images here may be among its training images")
    return str(folder), tensors_from_bytes(folder.read("model.safetensors"))


def _short(value: Any) -> str:
    return f"are {len(value)}: {_some(value)}" if isinstance(value, list) else f"is {value}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:160]
