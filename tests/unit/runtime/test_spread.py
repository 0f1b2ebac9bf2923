"""Doing the same to many things: in order, in several processes, and with a clean end whatever happens."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.runtime.executors import map_serially, open_process_pool
from tests.conftest import PATIENCE, ROOT, environment


def square(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


def complain(n: int) -> int:
    raise UserError(f"data.source {n}: no")


def die(n: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return n


def test_parallel_results_keep_order() -> None:
    """Results come in order although several processes compute them."""
    with open_process_pool() as each:
        found = list(each(square, range(200)))
        assert [n for n, _ in found] == [n for n, _ in map_serially(square, range(200))]
        if len(os.sched_getaffinity(0)) > 1:
            assert {pid for _, pid in found}.isdisjoint({os.getpid()})


def test_few_items_run_in_process() -> None:
    """A few items are computed in this process, without starting others."""
    with open_process_pool() as each:
        assert {pid for _, pid in each(square, range(3))} == {os.getpid()}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one core: no other process is started")
@pytest.mark.parametrize(("function", "error"), [(complain, UserError), (die, StageFailed)])
def test_worker_process_error_is_raised(function: Callable[[int], int], error: type[Exception]) -> None:
    """An error in a worker process is raised here, and no worker process is left behind."""
    with pytest.raises(error), open_process_pool() as each:
        list(each(function, range(40)))
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def take_long(place: tuple[Path, int]) -> int:
    folder, n = place
    if n:
        (folder / f"{n} begun").touch()
        time.sleep(20)
        (folder / f"{n} done").touch()
    return n


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one core: no other process is started")
def test_interrupt_abandons_what_runs(tmp_path: Path) -> None:
    """An interrupt does not wait for the items that processes are working on; the processes end."""

    def work_until_interrupted() -> None:
        with open_process_pool() as each:
            results = each(take_long, [(tmp_path, n) for n in range(40)])
            assert next(results) == 0
            while not list(tmp_path.iterdir()):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work_until_interrupted()
    assert not list(tmp_path.glob("* done"))
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


WAIT = """
import pathlib, os, sys, time
def wait(n):
    pathlib.Path(sys.argv[1], str(os.getpid())).touch()
    time.sleep(600)
"""
SLOW = """
from ganaug_ray.runtime.executors import open_process_pool
from waiting import wait
with open_process_pool() as each:
    list(each(wait, range(100)))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="one core: no other process is started")
def test_worker_processes_end_with_parent(tmp_path: Path) -> None:
    """Worker processes end when the process that started them is killed."""
    script, seen = tmp_path / "slow.py", tmp_path / "seen"
    script.write_text(SLOW)
    (tmp_path / "waiting.py").write_text(WAIT)
    seen.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(seen)], env=environment())
    try:
        while len(list(seen.iterdir())) < 2:
            assert parent.poll() is None
        workers = [psutil.Process(int(path.name)) for path in seen.iterdir()]
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
    assert not alive


def test_scripts_need_no_main_guard(tmp_path: Path) -> None:
    """A script that has no ``if __name__ == "__main__"`` runs once, not again in every process."""
    script = tmp_path / "script.py"
    script.write_text(
        "from ganaug_ray.runtime.executors import open_process_pool\n"
        "print('begun', flush=True)\n"
        "with open_process_pool() as execute:\n"
        "    print(sum(execute(abs, range(9))))\n"
    )
    printed = subprocess.run(
        [sys.executable, str(script)], env=environment(PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=True
    )
    assert printed.stdout == "begun\n36\n"
