"""The same weights to the bit from the same seed, also on GPUs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

CUBLAS_WORKSPACE = ":4096:8"  # one of the two sizes with which cuBLAS sums in a fixed order


@contextmanager
def use_deterministic_algorithms(enabled: bool) -> Iterator[None]:
    """Let torch use only operators that give the same bits every time, if ``enabled``, until the context ends.

    On the CPU all operators of our trainings do, given the same number of threads. On a GPU some sum in whatever order
    their threads end: then torch takes slower ones, and raises RuntimeError for an operator that has none.
    """
    if not enabled:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", CUBLAS_WORKSPACE)  # read when a process first multiplies on a GPU
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
