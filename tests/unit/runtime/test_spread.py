"""Doing the same to many things: in order, in several processes, and with a clean end whatever happens."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.runtime.executors import map_serially, open_process_pool
from tests.conftest import environment


def square(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


def complain(n: int) -> int:
    raise UserError(f"data.source {n}: no")


def die(n: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_results_come_in_order_from_several_processes() -> None:
    with open_process_pool() as each:
        found = list(each(square, range(200)))
        assert [n for n, _ in found] == [n for n, _ in map_serially(square, range(200))]
        if len(os.sched_getaffinity(0)) > 1:
            assert {pid for _, pid in found}.isdisjoint({os.getpid()})


def test_a_few_things_are_done_here() -> None:
    with open_process_pool() as each:
        assert {pid for _, pid in each(square, range(3))} == {os.getpid()}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one core: no other process is started")
@pytest.mark.parametrize(("function", "error"), [(complain, UserError), (die, StageFailed)])
def test_an_error_there_is_an_error_here(function: Callable[[int], int], error: type[Exception]) -> None:
    with pytest.raises(error), open_process_pool() as each:
        list(each(function, range(40)))
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


SLOW = """
import pathlib, os, sys, time
def wait(n):
    pathlib.Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)
if __name__ == "__main__":
    from ganaug_ray.runtime.executors import open_process_pool
    with open_process_pool() as each:
        list(each(wait, range(100)))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one core: no other process is started")
def test_workers_end_with_the_process_that_started_them_when_it_is_killed(tmp_path: Path) -> None:
    script, seen = tmp_path / "slow.py", tmp_path / "seen"
    script.write_text(SLOW)
    seen.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(seen)], env=environment())
    try:
        while len(list(seen.iterdir())) < 2:
            assert parent.poll() is None
        workers = [psutil.Process(int(path.name)) for path in seen.iterdir()]
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
