"""A process that has computed on a GPU takes no other task: it would keep that GPU, whichever the next one reserves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray

from ganaug_ray.core.storage import Folder
from ganaug_ray.runtime import worker_group
from ganaug_ray.runtime.device_task import make_device_task
from ganaug_ray.runtime.resources import StageResources


@pytest.mark.parametrize(("gpus", "calls"), [(0, {}), (0.25, {"max_calls": 1}), (1, {"max_calls": 1})])
def test_process_ends_with_its_gpu(gpus: float, calls: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A task with a GPU, or a share of one, is the last of its process; others take the next one too."""
    made: list[dict[str, float]] = []

    def remote(**decorated: float) -> Any:
        made.append(decorated)
        return lambda function: SimpleNamespace(options=lambda **asked: made.append(asked))

    monkeypatch.setattr(ray, "remote", remote)
    make_device_task(print, StageResources(1, 2, gpus), max_retries=7)
    assert made == [{"max_retries": 7, **calls}, {"num_cpus": 2, "num_gpus": gpus}]


@pytest.mark.parametrize(("use_gpu", "reserved"), [(True, {"CPU": 1, "GPU": 1}), (False, {"CPU": 1})])
def test_ranks_reserve_a_cpu(use_gpu: bool, reserved: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rank of Ray Train takes a CPU, as it is reckoned, beside its GPU if it has one."""
    asked: list[Any] = []

    class Trainer:
        def __init__(self, *given: Any, **named: Any) -> None:
            asked.append(named["scaling_config"])

        def fit(self) -> Any:
            return ray.train.Result(metrics={}, checkpoint=None, error=None, path=None, metrics_dataframe=None)

    monkeypatch.setattr(worker_group, "BoundedTorchTrainer", Trainer)
    monkeypatch.setattr(ray.train.Result, "return_value", None, raising=False)
    worker_group._run_trainer(print, None, 2, Folder.from_uri("/nowhere"), "pack", [], use_gpu)
    (config,) = asked
    assert config._resources_per_worker_not_none == reserved
