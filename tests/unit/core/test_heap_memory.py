"""Memory that is freed at a step serves the next one, and goes back to the system at the end."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from ganaug_ray.augment import generate
from ganaug_ray.classify import batch_inference
from ganaug_ray.core import heap_memory
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.runtime import cluster

needs_glibc = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone has this switch"
)

COUNT_PAGES = """
import resource, threading
import torch
from ganaug_ray.core.heap_memory import keep_freed_memory, reuse_freed_memory

def count_fresh_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        held = [torch.ones(mib << 18) for mib in (8, 24, 40, 40)]  # 40 MiB are more than glibc ever keeps by itself
        while held:
            held.pop()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def read_resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20

count_fresh_pages()
with reuse_freed_memory("cpu"):
    with reuse_freed_memory("cpu"):
        count_fresh_pages()  # the first few find no place that fits
    inside = min(count_fresh_pages() for _ in range(4))  # what else was put there meanwhile may have cut a place
    resident = read_resident_mib()
returned = resident - read_resident_mib()
after = count_fresh_pages()
keep_freed_memory("cpu")
with reuse_freed_memory("cpu"):
    count_fresh_pages()
kept = min(count_fresh_pages() for _ in range(4))
print(inside, returned, after, kept)

def use_in_thread(counts):
    for _ in range(8):
        counts.append(count_fresh_pages())

counts = []
thread = threading.Thread(target=use_in_thread, args=(counts,))
thread.start()
thread.join()
print(min(counts))
"""


@needs_glibc
def test_freed_memory_is_taken_again() -> None:
    """Inside, the same tensor again takes no fresh page, in threads too; at the end memory is returned, unless kept."""
    printed = subprocess.run([sys.executable, "-c", COUNT_PAGES], capture_output=True, text=True, check=True).stdout
    inside, returned, after, kept, in_thread = map(int, printed.split())
    assert after >= 20, "the pages of a tensor, or as many large ones"
    assert inside < after / 20
    assert kept < after / 20
    assert in_thread < 3, "no piece of a thread's memory goes back in between"
    assert returned > 30, "MiB of the 40"


def test_gpus_have_memory_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a GPU computes, this process's memory stays as it is; without glibc too, and nothing fails."""
    monkeypatch.setattr(heap_memory.ctypes, "CDLL", lambda name: object())
    before = heap_memory._uses
    with heap_memory.reuse_freed_memory("cpu"), heap_memory.reuse_freed_memory(torch.device("cuda")):
        assert heap_memory._uses == before


def test_actors_keep_their_memory(experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Actors that classify or generate keep the memory of a block for the next one."""
    monkeypatch.setattr(heap_memory, "_load_libc", lambda device: Mock())
    monkeypatch.setattr(heap_memory, "_uses", 0)
    monkeypatch.setattr(cluster, "get_reserved_device", lambda: "cpu")
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    batch_inference._Predictor(str(experiment.locate_model("real+classic", 0)), 1)
    assert heap_memory._uses == 1
    generate._GeneratorActor(str(experiment.gan), str(tmp_path), 0, None, stored=True)
    assert heap_memory._uses == 2
