"""A pause that is told of, and those that are not."""

from __future__ import annotations

import logging

import pytest

from ganaug_ray.core import worker_log
from ganaug_ray.gan import train_callbacks


def test_stall_between_steps_is_reported(
    monkeypatch: pytest.MonkeyPatch, package_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unusual pause between two steps is reported; a slow measurement and steadily slow steps are not."""
    worker_log.install_print_handler()
    now = [0.0]
    monkeypatch.setattr(train_callbacks.time, "monotonic", lambda: now[0])
    told = train_callbacks.StallWatch()

    def steps(seconds: list[float], first: int) -> str:
        for number, second in enumerate(seconds, first):
            now[0] += second
            told.mark_step(number)
        return capsys.readouterr().out

    assert steps([50.0, 0.5, 0.5, 4.0], 1) == ""
    now[0] += 100.0
    told.restart_clock()
    assert steps([0.5], 5) == ""
    assert steps([31.0, 0.5], 6).startswith("step 6 took 31 s, usually 0.5 s")
    assert steps([15.0, 25.0, 25.0], 8) == ""
