"""Ranks of a training that is measured: in a small Ray of this machine, and in plain processes without Ray."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
import torch
from torch import distributed as dist
from torch import multiprocessing as mp

from ganaug_ray.core.distributed import Place


@contextmanager
def start_ray(cpus: int) -> Iterator[None]:
    """Start a Ray with so many CPUs on this machine, and end it at the end."""
    ray.init(
        address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False,
        # Else 15: where others compute too, all but Ray's workers would get the cores.
        _system_config={"worker_niceness": 0},
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


def run_without_ray(work: Callable[[Any, Place], None], run: Any, ranks: int) -> None:
    """Do the work on as many ranks as Ray Train does, with one thread each, in processes of their own."""
    with tempfile.TemporaryDirectory() as meeting:
        mp.spawn(_run_rank, args=(work, run, ranks, f"{meeting}/rendezvous"), nprocs=ranks)


def _run_rank(rank: int, work: Callable[[Any, Place], None], run: Any, ranks: int, rendezvous: str) -> None:
    torch.set_num_threads(1)
    if ranks > 1:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # a name of this machine may lead nowhere
        dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=ranks)
    work(run, Place(rank, ranks))
    if ranks > 1:
        dist.barrier()
    os._exit(0)  # torch's own threads were once seen to abort an interpreter that was taking itself down
