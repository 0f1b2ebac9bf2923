"""All benchmarks in the order in which they run: what is done in seconds comes first."""

from __future__ import annotations

import torch

from tests.benchmarks import (
    classifier_in_ray,
    gan_in_ray,
    generation,
    ingest,
    memory,
    other_tools,
    quickstart,
    serving,
    start_up,
    streaming,
    sweep,
)
from tests.benchmarks.pairs import Benchmark


def list_benchmarks(peer_python: str | None, device: str | None) -> list[Benchmark]:
    """Return them all.

    Args:
        peer_python: interpreter that has AutoGluon or Ludwig.
        device: cpu or cuda, of the servers; None: cuda where there is one.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return [
        *(benchmark for module in (start_up, generation, ingest, streaming) for benchmark in module.BENCHMARKS),
        *serving.list_benchmarks(device),
        *(
            benchmark
            for module in (gan_in_ray, classifier_in_ray, memory, quickstart, sweep)
            for benchmark in module.BENCHMARKS
        ),
        *other_tools.list_benchmarks(peer_python),
    ]
