"""The one checkpoint format: safetensors for what was learned, JSON for where it stood. The JSON commits it.

    checkpoints/
      step-00000200.safetensors   networks, averaged copies, optimizers, as name.key -> tensor
      step-00000200.json          {step, inputs, sha256 of the safetensors file}

Nothing is pickled. The same files serve a bare loop, one process and DDP. The last two are kept; a damaged newest one
falls back to the one before.
"""

import hashlib
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

KEPT = 2
Stateful = nn.Module | Optimizer
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What was learned, and the number of steps done when it was saved."""

    step: int
    tensors: Tensors


def pack(parts: Mapping[str, Stateful]) -> Tensors:
    """Flatten networks and optimizers to named tensors on the CPU, copied.

    Of an optimizer only its per-weight state is kept: its settings come from the job.
    """
    flat: Tensors = {}
    for name, part in parts.items():
        if isinstance(part, Optimizer):
            for index, state in part.state_dict()["state"].items():
                flat |= {f"{name}.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        else:
            flat |= {f"{name}.{key}": value for key, value in part.state_dict().items()}
    return {key: value.detach().to("cpu", copy=True).contiguous() for key, value in flat.items()}


def unpack(tensors: Tensors, parts: Mapping[str, Stateful]) -> None:
    """Load what ``pack`` gave back into networks and optimizers of the same shapes."""
    for name, part in parts.items():
        own = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
        if isinstance(part, Optimizer):
            weights = [weight for group in part.param_groups for weight in group["params"]]
            state: dict[int, Tensors] = {}
            for key, value in own.items():
                index, field = key.split(".", 1)
                state.setdefault(int(index), {})[field] = _laid_out_like(weights[int(index)], value)
            part.load_state_dict({"state": state, "param_groups": part.state_dict()["param_groups"]})
        else:
            part.load_state_dict(own)


def _laid_out_like(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Give an optimizer's tensor the memory layout of its weight: fused steps read both as flat memory."""
    return torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value


def save(folder: Folder, checkpoint: Checkpoint, inputs: str) -> None:
    """Write a checkpoint and drop all but the last two. ``inputs`` is the hash of what the training was given."""
    name = f"step-{checkpoint.step:08d}"
    content = tensors_to_bytes(checkpoint.tensors)
    folder.write(f"{name}.safetensors", content)
    digest = hashlib.sha256(content).hexdigest()
    folder.write_json(f"{name}.json", {"step": checkpoint.step, "inputs": inputs, "sha256": digest})
    for old in folder.files(".json")[:-KEPT]:
        folder.delete(old)  # uncommitted first, so that a crash between leaves no half checkpoint
    committed = {file.removesuffix(".json") for file in folder.files(".json")}
    for file in folder.files(".safetensors"):
        if file.removesuffix(".safetensors") not in committed:
            folder.delete(file)


def clear(folder: Folder) -> None:
    """Drop all of them, as when the training has ended; there may be none."""
    if folder.files():
        folder.fs.delete_dir(folder.path)


def steps_kept(folder: Folder) -> int:
    """The number of steps done when the newest checkpoint was saved; none where there is none."""
    names = folder.files(".json")
    return int(names[-1].removeprefix("step-").removesuffix(".json")) if names else 0


def latest(folder: Folder, inputs: str, notice: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest whole checkpoint made from the same inputs, or None.

    Every one passed over is told to ``notice`` in a sentence.
    """
    for file in reversed(folder.files(".json")):
        name = file.removesuffix(".json")
        try:
            record = json.loads(folder.read(file))
            content = folder.read(f"{name}.safetensors")
            whole = hashlib.sha256(content).hexdigest() == record["sha256"]
            same = record["inputs"] == inputs
            step = int(record["step"])
        except (OSError, ValueError, KeyError):
            whole = False
        if not whole:
            notice(f"checkpoint {name} is damaged: falling back to the one before")
            continue
        if not same:
            notice(f"checkpoint {name} was made from other data or settings: not used")
            continue
        try:
            return Checkpoint(step, tensors_from_bytes(content))
        except SafetensorError:
            notice(f"checkpoint {name} is damaged: falling back to the one before")
    return None
