"""Whether networks are compiled: where a few steps show that it pays, and never without being asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ganaug_ray.config import ClassifierConfig, GanConfig
from ganaug_ray.core import compilation
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.gan import train_worker, training_loop

BATCH = Batch(torch.rand(4, 1, 32, 32) * 2 - 1, torch.tensor([0, 1, 2, 2]), np.arange(4), 4)
GPU = Place(device=torch.device("cuda"))


def fail_to_train(compiled: bool, batches: Callable[[int], Any], place: Place) -> None:
    raise AssertionError("no step is timed")


def choose(place: Place = GPU, steps: int = 100_000, kind: type = GanConfig, **settings: Any) -> bool:
    config = kind(**{"steps": steps, "compile": "auto", **settings})
    return compilation.choose_compile(config, steps, place, lambda: BATCH, fail_to_train)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[bool, float | Exception]:
    """What a step takes, by whether it is compiled; an exception is raised."""
    taken: dict[bool, float | Exception] = {False: 0.02, True: 0.01}

    def measure(train_briefly: Any, compiled: bool, batch: object, device: torch.device) -> float:
        result = taken[compiled]
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(compilation, "measure_step_seconds", measure)
    return taken


@pytest.mark.parametrize("kind", [GanConfig, ClassifierConfig])
def test_faster_steps_are_compiled(seconds: dict[bool, float | Exception], kind: type) -> None:
    """On a GPU auto compiles where steps get a tenth shorter, in a training that is long enough."""
    assert choose(kind=kind)
    assert not choose(kind=kind, steps=20_000)  # 400 s: compiling takes too much of it
    assert not choose(kind=kind, deterministic=True)
    seconds[True] = 0.019
    assert not choose(kind=kind, steps=100_001)


def test_failed_compilation_trains_without(
    seconds: dict[bool, float | Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """Where the compiler fails, or a GPU has no room for a second network, the training does without, and says so."""
    seconds[True] = RuntimeError("no C compiler")
    assert not choose()
    assert "not compiled, as a trial failed: no C compiler" in caplog.text
    seconds[False] = torch.OutOfMemoryError("CUDA out of memory")
    assert not choose()
    assert "a trial failed: CUDA out of memory" in caplog.text


@pytest.mark.parametrize("kind", [GanConfig, ClassifierConfig])
@pytest.mark.parametrize("compiled", [True, False])
def test_given_answer_needs_no_trial(compiled: bool, kind: type) -> None:
    """True and false are taken at their word; and auto never compiles on the CPU."""
    assert choose(compile=compiled, kind=kind) == compiled
    assert not choose(place=Place(), kind=kind)


def test_gan_trial_runs_real_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial of a GAN runs the training's own steps, of both ways, as often as it says."""
    measure, ways = compilation.measure_step_seconds, []

    def measure_on_cpu(train_briefly: Any, compiled: bool, batch: object, device: torch.device) -> float:
        ways.append(compiled)
        assert 0 < measure(train_briefly, False, batch, torch.device("cpu")) < 60
        return 0.02 if compiled else 1.0

    monkeypatch.setattr(compilation, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(compilation, "TIMED_STEPS", 2)
    monkeypatch.setattr(compilation, "measure_step_seconds", measure_on_cpu)
    config = GanConfig(steps=900, filters=4, latent=8, compile="auto")
    shape = training_loop.ImageShape(3, 1, 32)
    assert train_worker.choose_compile(lambda step: BATCH, config, shape, range(900), GPU)
    assert ways == [False, True]
