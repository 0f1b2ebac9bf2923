"""The one checkpoint format: safetensors for weights and optimizer state, JSON for the step. The JSON commits it.

    checkpoints/
      step-00000200.safetensors   networks, averaged copies, optimizers, as name.key -> tensor
      step-00000200.json          {version, step, inputs, sha256 of the safetensors file}

Nothing is pickled. The same files serve a bare loop, one process and DDP. The last two are kept; a damaged newest one
falls back to the one before.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import nn
from torch.optim import Optimizer

from ganaug_ray.core.storage import Folder

MAX_CHECKPOINTS_KEPT = 2
VERSION = 2  # of what a training does with a checkpoint; since 2 random numbers are drawn in blocks of rows
Stateful = nn.Module | Optimizer
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after a number of steps: networks and optimizers as named tensors."""

    step: int
    tensors: Tensors


def pack_states(parts: Mapping[str, Stateful], device: torch.device | str = "cpu") -> Tensors:
    """Flatten networks and optimizers to named tensors on a device, copied.

    Of an optimizer only its per-weight state is kept: its settings come from the job.
    """
    flat: Tensors = {}
    for name, part in parts.items():
        if isinstance(part, Optimizer):
            for index, state in part.state_dict()["state"].items():
                flat |= {f"{name}.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        else:
            flat |= {f"{name}.{key}": value for key, value in part.state_dict().items()}
    return {key: value.detach().to(device, copy=True).contiguous() for key, value in flat.items()}


def unpack_states(tensors: Tensors, parts: Mapping[str, Stateful]) -> None:
    """Load what ``pack_states`` gave back into networks and optimizers of the same shapes."""
    for name, part in parts.items():
        part_tensors = {}
        for key, value in tensors.items():
            if key.startswith(f"{name}."):
                part_tensors[key.removeprefix(f"{name}.")] = value
        if isinstance(part, Optimizer):
            weights = list(itertools.chain.from_iterable(group["params"] for group in part.param_groups))
            state: dict[int, Tensors] = {}
            for key, value in part_tensors.items():
                index, field = key.split(".", 1)
                state.setdefault(int(index), {})[field] = _match_layout(weights[int(index)], value)
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
        else:
            part.load_state_dict(part_tensors)


def _match_layout(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Give an optimizer's tensor the memory layout of its weight: fused steps read both as flat memory."""
    return torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value


def save(folder: Folder, checkpoint: Checkpoint, inputs: str) -> None:
    """Write a checkpoint, and delete all but the last two. ``inputs`` is the hash of what the training was given."""
    name = f"step-{checkpoint.step:08d}"
    content = tensors_to_bytes(checkpoint.tensors)
    folder.write_bytes(f"{name}.safetensors", content)
    digest = hashlib.sha256(content).hexdigest()
    folder.write_json(f"{name}.json", {"version": VERSION, "step": checkpoint.step, "inputs": inputs, "sha256": digest})
    for old in folder.list_files(".json")[:-MAX_CHECKPOINTS_KEPT]:
        folder.delete_file(old)  # uncommitted first, so that a crash between leaves no half checkpoint
    committed = {file.removesuffix(".json") for file in folder.list_files(".json")}
    for file in folder.list_files(".safetensors"):
        if file.removesuffix(".safetensors") not in committed:
            folder.delete_file(file)


def delete_all(folder: Folder) -> None:
    """Delete all checkpoints in a folder, if there are any."""
    if folder.list_files():
        folder.fs.delete_dir(folder.path)


def read_newest_step(folder: Folder) -> int:
    """Return the number of steps done when the newest checkpoint was saved; 0 if there is none."""
    names = folder.list_files(".json")
    return int(names[-1].removeprefix("step-").removesuffix(".json")) if names else 0


def load_newest(folder: Folder, inputs: str, warn: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest undamaged checkpoint that was made from the same inputs, or None.

    Every one skipped is told to ``warn`` in a sentence.
    """
    for file in reversed(folder.list_files(".json")):
        name = file.removesuffix(".json")
        try:
            record = json.loads(folder.read_bytes(file))
            content = folder.read_bytes(f"{name}.safetensors")
            is_whole = hashlib.sha256(content).hexdigest() == record["sha256"]
            version = record.get("version", 1)
            has_same_inputs = record["inputs"] == inputs
            step = int(record["step"])
        except (OSError, ValueError, KeyError):
            is_whole = False
        if not is_whole:
            warn(f"checkpoint {name} is damaged: falling back to the one before")
            continue
        if version != VERSION:
            warn(
                f"checkpoint {name} is of another version of ganaug_ray, which draws other random numbers (version "
                f"{version}, not {VERSION}): not used"
            )
            continue
        if not has_same_inputs:
            warn(f"checkpoint {name} was made from other data or settings: not used")
            continue
        try:
            return Checkpoint(step, tensors_from_bytes(content))
        except SafetensorError:
            warn(f"checkpoint {name} is damaged: falling back to the one before")
    return None
