"""All benchmarks in the order in which they run: what is done in seconds comes first."""

from __future__ import annotations

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
    sweep,
)
from tests.benchmarks.pairs import Benchmark


def list_benchmarks(peer_python: str | None) -> list[Benchmark]:
    """Return them all.

    Args:
        peer_python: interpreter that has AutoGluon or Ludwig.
    """
    modules = (start_up, generation, ingest, serving, gan_in_ray, classifier_in_ray, memory, quickstart, sweep)
    return [
        *(benchmark for module in modules for benchmark in module.BENCHMARKS),
        *other_tools.list_benchmarks(peer_python),
    ]
