"""How often lost ranks are started again; that they are, tests/ray and tests/e2e show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError

from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed
from ganaug_ray.runtime import side_by_side, worker_group

LOST = WorkerGroupError("the node was lost", {})


def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, course: Iterator[tuple[int, TrainingFailedError | None]]
) -> int:
    """Call ranks.run where each attempt ends as told: the newest checkpoint then, the error; return the attempts."""
    steps, attempts = [0], []

    def fit(*args: Any) -> None:
        attempts.append(args)
        step, error = next(course)
        steps.append(step)
        if error:
            raise error

    (tmp_path / f"{worker_group.STATE_PREFIX}of-a-call-that-was-killed").mkdir(exist_ok=True)
    monkeypatch.setattr(worker_group, "_run_trainer", fit)
    worker_group.run_on_ranks(print, None, 2, Folder.from_uri(tmp_path), read_step=lambda: steps[-1])
    assert not list(tmp_path.iterdir()), "Ray Train's own state is not kept"
    return len(attempts)


def test_progressing_training_restarts_without_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A training that makes progress between lost workers is restarted as often as needed."""
    course = [(step, LOST) for step in range(1, 20)]
    assert run(monkeypatch, tmp_path, iter([*course, (20, None)])) == 20


def test_training_without_progress_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A training that loses workers without any progress fails."""
    course = iter([(1, LOST), (1, LOST), (2, None)])
    with pytest.raises(StageFailed, match="the node was lost"):
        run(monkeypatch, tmp_path, course)
    assert next(course) == (2, None)


def test_ray_controller_errors_are_retried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Errors of Ray Train's controller are retried a limited number of times, then the stage fails."""
    own = ControllerError(RuntimeError("the actor died"))
    assert (
        run(monkeypatch, tmp_path, iter([(0, own)] * worker_group.MAX_RESTARTS + [(1, None)]))
        == worker_group.MAX_RESTARTS + 1
    )
    with pytest.raises(StageFailed, match="the actor died"):
        run(monkeypatch, tmp_path, iter([(0, own)] * (worker_group.MAX_RESTARTS + 1)))


def test_only_progressing_parallel_tasks_restart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of parallel tasks, one that makes progress is restarted, and the failures of others are reported."""
    lost = ray.exceptions.WorkerCrashedError()
    ends: dict[str, list[Any]] = {"lost often": [lost] * 9 + [None], "lost at once": [lost], "diverged": [7]}
    steps = dict.fromkeys(ends, 0)

    def plan(name: str) -> side_by_side.TrainingTask:
        def start() -> Any:
            return name, len(ends[name]), ends[name].pop(0)

        return side_by_side.TrainingTask(start, lambda: steps[name], str)

    tasks = {name: plan(name) for name in ends}

    def wait(refs: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return refs[:1], refs[1:]

    def get(ref: Any) -> Any:
        task, _, end = ref
        steps[task] += task == "lost often"  # it has kept a checkpoint since it was started
        if isinstance(end, Exception):
            raise end
        return end

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", get)
    told = dict(side_by_side.run_tasks(list(tasks.values())))
    assert told[tasks["lost often"]] is None
    assert isinstance(told[tasks["lost at once"]], StageFailed)
    diverged = told[tasks["diverged"]]
    assert isinstance(diverged, DivergenceError)
    assert diverged.step == 7
    assert not any(ends.values()), "each was started as often as it was to be"


def test_others_start_once_slots_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are started, in their order, when fewer of the first are left than there are slots; or at once."""
    started: list[str] = []

    def plan(name: str) -> side_by_side.TrainingTask:
        def start() -> Any:
            started.append(name)
            return name

        return side_by_side.TrainingTask(start, lambda: 0, str)

    monkeypatch.setattr(ray, "wait", lambda refs, num_returns: (refs[:1], refs[1:]))
    monkeypatch.setattr(ray, "get", lambda ref: None)
    firsts, others = [plan(f"gan {number}") for number in range(3)], [plan("a"), plan("b")]
    counts = [len(started) for _ in side_by_side.run_tasks(firsts, others, slots=2)]
    assert counts == [3, 3, 5, 5, 5]
    assert started == ["gan 0", "gan 1", "gan 2", "a", "b"]
    started.clear()
    assert len(list(side_by_side.run_tasks([], others, slots=0))) == 2, "none of them is forgotten"
