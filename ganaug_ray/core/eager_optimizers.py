"""Torch's optimizers without the import of its compiler, for processes that compile no optimizer's step.

At its first step each of them imports ``torch._dynamo``, to mark for the compiler what it must not look into: two
seconds of processor time, as much as torch itself, in every process that trains. Small trainings take less than that.
"""

import inspect
from typing import TypeVar, cast

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=Optimizer)

# Methods that carry such a mark. Without it they compute the same.
MARKED_METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


def _make_eager(kind: type[Kind]) -> type[Kind]:
    """Return the class with its marked methods as they were written, and a step that is not differentiated."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in MARKED_METHODS}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return cast(type[Kind], type(kind.__name__, (kind,), methods))


Adam = _make_eager(torch.optim.Adam)
AdamW = _make_eager(torch.optim.AdamW)
SGD = _make_eager(torch.optim.SGD)
