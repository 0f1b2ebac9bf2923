"""Optimizers that import no compiler compute what torch's do, to the bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from ganaug_ray.core import eager_optimizers

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"betas": (0.0, 0.99)}),
    ("AdamW", {"weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "nesterov": True}),
]

TRAIN = """
import sys
import torch
from ganaug_ray.core import eager_optimizers

for name in ("Adam", "AdamW", "SGD"):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = getattr(eager_optimizers, name)([weight], lr=0.1, fused=True)
    weight.sum().backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.zero_grad()
print("torch._dynamo" in sys.modules)
"""


def take_steps(
    kind: Callable[..., torch.optim.Optimizer], settings: dict[str, Any]
) -> tuple[torch.Tensor, dict[str, Any]]:
    """Descend on a parabola, with a restart from the stored state between; return the weights and the state."""
    weights = torch.nn.Parameter(torch.linspace(-1, 1, 7))
    optimizer = kind([weights], lr=torch.tensor(0.1), fused=True, **settings)
    for step in range(6):
        optimizer.zero_grad()
        (weights**2).sum().backward()
        optimizer.step()
        if step == 2:
            state = optimizer.state_dict()
            optimizer = kind([weights], lr=torch.tensor(0.1), fused=True, **settings)
            optimizer.load_state_dict(state)
    return weights.detach(), optimizer.state_dict()


@pytest.mark.parametrize(("name", "settings"), KINDS)
def test_steps_are_those_of_torch(name: str, settings: dict[str, Any]) -> None:
    """Weights and states are the same to the bit, and whoever has one form's state can load it into the other."""
    weights, state = take_steps(getattr(eager_optimizers, name), settings)
    expected, expected_state = take_steps(getattr(torch.optim, name), settings)
    assert torch.equal(weights, expected)
    torch.testing.assert_close(state, expected_state, rtol=0, atol=0)


def test_compiler_is_not_imported() -> None:
    """A process that trains with them does not wait for torch's compiler."""
    assert subprocess.run([sys.executable, "-c", TRAIN], capture_output=True, text=True, check=True).stdout == "False\n"
