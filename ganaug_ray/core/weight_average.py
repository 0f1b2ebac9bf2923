"""A moving average of a network's weights."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


class WeightAverage(nn.Module, Generic[N]):
    """A copy of a network whose weights and floating-point buffers follow those of the network.

    Like ``torch.optim.swa_utils.AveragedModel``, but an update is one call for all tensors and never waits for the
    device, to which that one copies its counter of updates each time.

    Args:
        network: the one that is trained, with the weights that it starts from.
        decay: what is left of the average after an update; 0: the average is the network.

    Attributes:
        module: the copy.
    """

    module: N

    def __init__(self, network: N, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network)
        self._averages = _list_floats(self.module)
        self._sources = _list_floats(network)
        self._step = 1.0 - decay

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the network's present weights."""
        torch._foreach_lerp_(self._averages, self._sources, self._step)


def _list_floats(network: nn.Module) -> list[torch.Tensor]:
    tensors = [*network.parameters(), *network.buffers()]
    return [tensor for tensor in tensors if tensor.is_floating_point()]
