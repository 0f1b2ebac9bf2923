"""Measures training steps on one device beside a peer's, without Ray: images a second in turn, and the busy share.

A training is a function that is given ``mark``, and calls it once warmed up and once at the end of what is measured.
On a GPU it calls ``mark`` when the device has done the work before.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

Mark = Callable[[], None]
Train = Callable[[Mark], None]


@dataclass(frozen=True)
class Contest:
    """Two trainings that are measured in turn.

    Attributes:
        ours: our training.
        peer: what a user would take instead, or the limit.
        images: that each of the two trains between its marks.
    """

    ours: Train
    peer: Train
    images: int


def measure_rate(train: Train, images: int) -> float:
    """Return the images a second between the two marks."""
    times: list[float] = []
    train(lambda: times.append(time.perf_counter()))
    return images / (times[1] - times[0])


def measure_busy_share(train: Train, device: torch.device) -> float:
    """Return the share of the time between the marks in which the device computes, by torch's profiler.

    On a GPU that is the time in which a kernel runs or a copy is made; on the CPU that in which an operator of torch
    runs, so that the rest is Python.
    """
    is_gpu = device.type == "cuda"
    profiler = profile(activities=[ProfilerActivity.CUDA if is_gpu else ProfilerActivity.CPU])
    marks = iter([profiler.start, profiler.stop])
    train(lambda: next(marks)())
    kind = DeviceType.CUDA if is_gpu else DeviceType.CPU
    return compute_covered_share(
        (event.time_range.start, event.time_range.end)
        for event in profiler.events()
        if event.device_type == kind and not event.is_user_annotation
    )


def compute_covered_share(intervals: Iterable[tuple[float, float]]) -> float:
    """Return which share of the time from the first start to the last end is covered by intervals; they may overlap.

    >>> compute_covered_share([(6.0, 8.0), (0.0, 3.0), (1.0, 2.0)])
    0.625
    """
    ordered = sorted(intervals)
    first = covered_upto = ordered[0][0]
    covered = 0.0
    for start, end in ordered:
        covered += max(0.0, end - max(start, covered_upto))
        covered_upto = max(covered_upto, end)
    return covered / (covered_upto - first)


def build_parser(words: str | None, batch: tuple[int, int], steps: tuple[int, int]) -> argparse.ArgumentParser:
    """Return a parser of the options that all such commands have; defaults are (on a GPU, on the CPU)."""
    on_cpu = not torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu" if on_cpu else "cuda")
    parser.add_argument("--batch", type=int, default=batch[on_cpu])
    parser.add_argument("--steps", type=int, default=steps[on_cpu], help="measured, after as many to warm up")
    parser.add_argument("--rounds", type=int, default=3 if on_cpu else 5)
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    return parser


def print_contests(contests: Mapping[str, Contest], peer: str, given: argparse.Namespace) -> None:
    """Measure the contests in turn, and print a table of them: medians, the rounds' ratios, our busy share."""
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in contests}
    for _ in range(given.rounds):
        for name, contest in contests.items():
            theirs = measure_rate(contest.peer, contest.images)
            rounds[name].append((theirs, measure_rate(contest.ours, contest.images)))
    on_gpu = given.device.startswith("cuda")
    machine = torch.cuda.get_device_name(given.device) if on_gpu else f"CPU, {given.threads} threads"
    print(f"batch {given.batch}, {given.steps} steps; {machine}")
    busy_words = "GPU busy" if on_gpu else "in operators of torch (how busy a GPU is, is measured on a GPU only)"
    print(f"{'images/s, medians':28}{peer:>10}{'ours':>10}   ratio: min median max   {busy_words}")
    for name, contest in contests.items():
        peer_rate, our_rate = (statistics.median(column) for column in zip(*rounds[name], strict=True))
        ratios = [ours / theirs for theirs, ours in rounds[name]]
        spread = " ".join(f"{ratio:5.2f}" for ratio in (min(ratios), statistics.median(ratios), max(ratios)))
        busy = measure_busy_share(contest.ours, torch.device(given.device))
        print(f"{name:28}{peer_rate:10.0f}{our_rate:10.0f}          {spread}   {busy:.0%}", flush=True)
