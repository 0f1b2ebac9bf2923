"""Whether a GAN's networks are compiled: where a few steps show that it pays, and never without being asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ganaug_ray.config import GanConfig
from ganaug_ray.core.distributed import Place
from ganaug_ray.data.loading.batch import Batch
from ganaug_ray.gan import compile_trial, training_loop

SHAPE = training_loop.ImageShape(3, 1, 32)
BATCH = Batch(torch.rand(4, 1, 32, 32) * 2 - 1, torch.tensor([0, 1, 2, 2]), np.arange(4), 4)
GPU = Place(device=torch.device("cuda"))


def choose(place: Place = GPU, steps: int = 100_000, **settings: Any) -> bool:
    config = GanConfig(**{"steps": steps, "compile": "auto", "filters": 4, "latent": 8, **settings})
    return compile_trial.choose_compile(lambda step: BATCH, config, SHAPE, range(steps), place)


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[bool, float | Exception]:
    """What a step takes, by whether it is compiled; an exception is raised."""
    taken: dict[bool, float | Exception] = {False: 0.02, True: 0.01}

    def measure(batch: Batch, config: GanConfig, shape: Any, place: Place) -> float:
        result = taken[bool(config.compile)]
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(compile_trial, "measure_step_seconds", measure)
    return taken


def test_faster_steps_are_compiled(seconds: dict[bool, float | Exception]) -> None:
    """On a GPU auto compiles where steps get a tenth shorter, in a training that is long enough."""
    assert choose()
    assert not choose(steps=20_000)  # 400 s: compiling takes too much of it
    assert not choose(deterministic=True)
    seconds[True] = 0.019
    assert not choose()


def test_failed_compilation_trains_without(
    seconds: dict[bool, float | Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """Where the compiler fails, the training does without, and a line says why."""
    seconds[True] = RuntimeError("no C compiler")
    assert not choose()
    assert "could not be compiled: no C compiler" in caplog.text


@pytest.mark.parametrize("compiled", [True, False])
def test_given_answer_needs_no_trial(monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    """True and false are taken at their word; and auto never compiles on the CPU."""
    monkeypatch.setattr(compile_trial, "measure_step_seconds", pytest.fail)
    assert choose(compile=compiled) == compiled
    assert not choose(place=Place())


def test_trial_measures_real_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial runs the training's own steps, as often as it says."""
    monkeypatch.setattr(compile_trial, "WARM_UP_STEPS", 1)
    monkeypatch.setattr(compile_trial, "TIMED_STEPS", 2)
    config = GanConfig(steps=9, filters=4, latent=8)
    assert 0 < compile_trial.measure_step_seconds(BATCH, config, SHAPE, Place()) < 60
