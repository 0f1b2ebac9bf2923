"""How a run that does not end well ends: the exit code, and words that say what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ganaug_ray import cli, ranks
from ganaug_ray.config import Job
from ganaug_ray.errors import StageFailed
from ganaug_ray.gan.train import train_gans
from ganaug_ray.gan.worker import Training
from ganaug_ray.guard import Diverged
from ganaug_ray.pipeline import Pipeline
from tests.conftest import DIGITS


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [(StageFailed("the loss is not finite"), 1, "not finite"), (KeyboardInterrupt(), 130, "the same command goes on")],
)
def test_a_failed_stage_and_an_interrupt(
    error: BaseException, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    def fail(self: Pipeline) -> None:
        def work() -> dict:
            os.write(1, b"chatter")  # as libraries do that are not written in Python
            raise error

        self._stage("prepare", None, work, lambda record: "")

    monkeypatch.setattr(Pipeline, "all", fail)
    monkeypatch.setattr(sys, "argv", ["ganaug", "run", str(DIGITS), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    printed = capfd.readouterr()
    assert words in printed.err
    assert "prepare    failed" in printed.out
    assert "chatter" not in printed.out + printed.err
    assert "chatter" in (tmp_path / "out" / "log.txt").read_text()


def test_a_diverged_gan_says_what_is_kept_and_what_to_try(
    tiny_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*arguments: object) -> None:
        raise Diverged(41)

    monkeypatch.setattr(ranks, "run", diverge)
    training = Training(tiny_job.gan, 32, 0, "dataset", "teacher", str(tmp_path / "gan"), 1.0, {})
    with pytest.raises(StageFailed, match=r"not finite at step 41.*checkpoint is kept.*lower gan.lr"):
        train_gans([training])
