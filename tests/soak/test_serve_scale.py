"""From one connection to 64 and back: replicas come and go with the load, and no request fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from threading import Event

import pytest

from ganaug_ray.core.storage import Folder
from tests.helpers.callers import Course, Question, ask
from tests.helpers.serving import Server, promote, questions, replicas, running

MOST = 4
WITHIN = 60.0  # seconds for the set maximum, from the first of the 64 connections on
BACK = 240.0  # seconds for the minimum, likewise


def test_replica_count_follows_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The number of replicas follows the load, and no request fails."""
    promote(Folder.from_uri(tmp_path / "pets"), 0)
    with running(tmp_path / "pets", "--replicas", f"1:{MOST}") as server:
        assert len(replicas(server)) == 1
        phases = [
            during(server, 1, lambda number, seconds: seconds > 5),
            during(server, 64, lambda number, seconds: number == MOST or seconds > WITHIN),
            during(server, 64, lambda number, seconds: seconds > 10),
            during(server, 1, lambda number, seconds: number == 1 or seconds > BACK),
        ]
    lines = [f"{'connections':>11} {'seconds':>7} {'requests':>8} {'failed':>6}  replicas from second"]
    for connections, (seconds, seen, courses) in zip((1, 64, 64, 1), phases, strict=True):
        failed = sum(course.answer is None for course in courses)
        told = ", ".join(f"{number} from {since:.0f}" for since, number in seen)
        lines.append(f"{connections:>11} {seconds:>7.0f} {len(courses):>8} {failed:>6}  {told}")
    table = "\n".join(lines)
    with capsys.disabled():
        print(f"\n{table}")
    failed = [course for *_, courses in phases for course in courses if course.answer is None]
    assert not failed, f"{table}\n{[course.refusals for course in failed[:5]]}"
    assert phases[1][1][-1][1] == MOST, table
    assert phases[3][1][-1][1] == 1, table


def during(
    server: Server, connections: int, is_over: Callable[[int, float], bool]
) -> tuple[float, list[tuple[float, int]], list[Course]]:
    """Ask over so many connections, each question once, until enough replicas have been there for long enough.

    Returns:
        The seconds that took, the number of replicas and since when, and how the requests went.
    """
    enough, seen, started = Event(), list[tuple[float, int]](), time.monotonic()

    def endless() -> Iterator[Question]:
        for question in cycle(questions(500)):
            if enough.is_set():
                return
            yield question

    with ThreadPoolExecutor(1) as thread:
        load = thread.submit(ask, server.url, endless(), connections, tries=1)
        while not enough.is_set():
            number, seconds = len(replicas(server)), time.monotonic() - started
            if not seen or seen[-1][1] != number:
                seen.append((seconds, number))
            if is_over(number, seconds) or load.done():
                enough.set()
            time.sleep(0.3)
        return time.monotonic() - started, seen, load.result()
