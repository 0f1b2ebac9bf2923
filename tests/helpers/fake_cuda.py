"""A CUDA device that is not there: tensors without content that say they are on it, and the waits that it would cause.

``FakeTensorMode`` runs CUDA's autocast and every layer on shapes alone. What it cannot run without a driver is the
autograd engine, which asks for streams: here the graph's nodes are called one by one instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

CUDA = torch.device("cuda")

COPIES = {"aten._to_copy.default": 0, "aten.copy_.default": 1}
"""Operators that may copy between devices, and the place of the source among their arguments."""
READS = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.masked_select.default",
    "aten._unique2.default",
    "aten.unique_dim.default",
}
"""Operators whose result the host has to know: a value, or how many values there are."""

MASKED = {"aten.index.Tensor", "aten.index_put_.default"}
"""Operators that count the rows of a mask, if they are given one for an index."""


@contextmanager
def fake_cuda() -> Iterator[FakeCuda]:
    """Let tensors be made on a CUDA device that is not there, until the context ends."""
    with (
        mock.patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False),
        mock.patch("torch.cuda.is_bf16_supported", return_value=True),
        mock.patch.object(torch.Tensor, "backward", run_backward),
        mock.patch.object(torch.Tensor, "pin_memory", pin_memory),
        # The real one copies the memory behind a tensor, of which there is none here: that ended in crashes.
        mock.patch.object(torch.Tensor, "__deepcopy__", lambda tensor, memo: tensor.clone()),
        FakeCuda() as mode,
    ):
        yield mode


def move_to_cuda(module: nn.Module) -> None:
    """Give a real network weights and buffers of the same shapes on the fake device; within ``fake_cuda``."""
    for layer in module.modules():
        for name, weight in layer._parameters.items():
            if weight is not None:
                layer._parameters[name] = nn.Parameter(torch.empty_like(weight, device=CUDA))
        for name, buffer in layer._buffers.items():
            if buffer is not None:
                layer._buffers[name] = torch.empty_like(buffer, device=CUDA)


def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
    """Mark a tensor as one in pinned memory, which copies need not wait for."""
    tensor.is_pinned_here = True  # type: ignore[attr-defined]
    return tensor


def run_backward(loss: torch.Tensor) -> None:
    """Run the backward pass from a scalar, node by node."""
    consumers = _count_consumers(loss.grad_fn)
    gradients: dict[Any, dict[int, torch.Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    ready = [loss.grad_fn]
    with torch.no_grad():
        while ready:
            node = ready.pop()
            given = gradients.pop(node, {})
            # A function of our own has its backward pass as a method.
            compute = node if callable(node) else node.apply
            results = compute(*_fit_gradients(given, node._input_metadata)) if given else None
            if not isinstance(results, tuple):
                results = (results,) * len(node.next_functions) if results is None else (results,)
            for (following, slot), gradient in zip(node.next_functions, results, strict=False):
                if following is None:
                    continue
                consumers[following] -= 1
                if gradient is not None:
                    held = gradients.setdefault(following, {})
                    held[slot] = held[slot] + gradient if slot in held else gradient
                if not consumers[following]:
                    ready.append(following)


def _count_consumers(root: Any) -> Counter[Any]:
    """Count the edges that lead to each node of a graph."""
    consumers: Counter[Any] = Counter()
    waiting = [root]
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is None:
                continue
            if not consumers[node]:
                waiting.append(node)
            consumers[node] += 1
    return consumers


def _fit_gradients(given: dict[int, torch.Tensor], expected: Any) -> list[torch.Tensor | None]:
    """Sum what was broadcast in the forward pass, and cast: the engine does that between two nodes."""
    fitting: list[torch.Tensor | None] = []
    for slot, metadata in enumerate(expected):
        gradient = given.get(slot)
        if gradient is not None:
            gradient = gradient.sum_to_size(metadata.shape).to(metadata.dtype)
        fitting.append(gradient)
    return fitting


def _has_mask(indices: list[torch.Tensor | None]) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)


class FakeCuda(FakeTensorMode):
    """The mode in which tensors have no content; it counts the operators for which the host would wait for a GPU.

    A mask of rows selects all of them, since nothing is known of its content.

    Attributes:
        waits: what was waited for -> how often.
        dtypes: operator -> types of its results.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.waits: Counter[str] = Counter()
        self.dtypes: dict[str, set[torch.dtype]] = {}

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if name.startswith("aten._fused_"):  # optimizers' steps, in place; not all have a version without content
            return None
        if name in READS and args[0].device.type == "cuda":
            self.waits[name] += 1
        if name in MASKED and args[0].device.type == "cuda" and _has_mask(args[1]):
            self.waits[f"{name} by a mask"] += 1
            if name == "aten.index.Tensor":
                return args[0].clone()
        result = super().dispatch(func, types, args, kwargs)
        if isinstance(result, torch.Tensor):
            self.dtypes.setdefault(name, set()).add(result.dtype)
        if name in COPIES:
            target = args[0] if name == "aten.copy_.default" else result
            self._count_copy(name, args[COPIES[name]], target)
        return result

    def _count_copy(self, name: str, source: torch.Tensor, target: torch.Tensor) -> None:
        kinds = source.device.type, target.device.type
        if kinds == ("cpu", "cuda") and not getattr(source, "is_pinned_here", False):
            self.waits[f"{name} from unpinned memory"] += 1
        if kinds == ("cuda", "cpu"):
            self.waits[f"{name} to the host"] += 1
