"""The rank and device that a training loop runs on. Torch only, so that loops need no Ray."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def _never_leaves() -> bool:
    return False


@dataclass(frozen=True)
class Place:
    """This process's rank, the number of ranks, and its device.

    ``gpu_share`` is what of a GPU it has reserved, where its device is one. ``is_leaving`` says whether the machine is
    about to be taken away, which clouds announce for those that they lend cheaply.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    is_leaving: Callable[[], bool] = _never_leaves
    gpu_share: float = 1.0

    @property
    def occupied(self) -> dict[str, float]:
        """What all ranks together occupy: ``gpus``, or shares of one, or the ``cores`` that they compute on."""
        if self.device.type == "cpu":
            return {"cores": float(self.world_size * torch.get_num_threads())}
        return {"gpus": self.world_size * self.gpu_share}

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the only one that writes files."""
        return self.rank == 0

    def slice_rows(self, n: int) -> slice:
        """Return this rank's contiguous part of n rows; the parts of all ranks tile them.

        >>> [Place(rank, 3).slice_rows(8) for rank in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(n * self.rank // self.world_size, n * (self.rank + 1) // self.world_size)

    def wrap_module(self, module: nn.Module) -> nn.Module:
        """Wrap a network so that its gradients are averaged over the ranks, if there is more than one.

        Buffers are not broadcast: between two forward passes of one step that would change tensors that the backward
        pass needs.
        """
        if self.world_size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, forward_sync_buffers=False)

    def sync_gradients(self, model: nn.Module, now: bool) -> AbstractContextManager[None]:
        """Return a context for a backward pass: ``now`` averages gradients over the ranks, else they stay local."""
        return nullcontext() if now or not isinstance(model, DistributedDataParallel) else model.no_sync()

    def move_to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """Bring a tensor from the CPU to this rank's device, without waiting for the device."""
        return copy_to_device(tensor, self.device)

    @property
    def sum_dtype(self) -> torch.dtype:
        """The type in which sums over all rows are kept: float64, or float32 on Apple's GPUs, which have no other."""
        return torch.float32 if self.device.type == "mps" else torch.float64

    def autocast(self, precision: Literal["auto", "fp32", "bf16"]) -> torch.autocast:
        """Return a context in which layers run in bfloat16 if asked to, or with ``auto`` on GPUs that have it.

        It is a decorator too.
        """
        enabled = precision == "bf16" or (precision == "auto" and has_fast_bfloat16(self.device))
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def sum_over_ranks(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over the ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def max_over_ranks(self, tensor: torch.Tensor) -> torch.Tensor:
        """Take the element-wise maximum over the ranks, in place."""
        if self.world_size > 1:
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return tensor

    def any_over_ranks(self, flag: bool) -> bool:
        """Return on every rank whether the flag is set on any rank."""
        if self.world_size == 1:
            return flag
        return bool(self.max_over_ranks(torch.tensor([int(flag)], device=self.device)).item())


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether a device is a GPU that computes in bfloat16 itself; older ones emulate it, slower than float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def copy_to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Bring a tensor from the CPU to a device, without waiting for the device.

    Only from pinned memory does a copy of any size queue up behind the work that the device has to do.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@contextmanager
def freeze_weights(module: nn.Module) -> Iterator[None]:
    """Keep a network's weights from getting gradients until the context ends; gradients still flow through it."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
