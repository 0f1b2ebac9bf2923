"""How a run that does not end well ends: the exit code, and words that say what to do."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ganaug_ray import cli
from ganaug_ray.augment import arms
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed
from ganaug_ray.gan.launch import train_gans
from ganaug_ray.gan.training_spec import GanTraining
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.runtime import worker_group
from ganaug_ray.runtime.hardware import Hardware
from tests.conftest import DIGITS, TINY

pytestmark = pytest.mark.usefixtures("signals_stay")


@pytest.mark.parametrize(
    ("error", "code", "status", "words"),
    [
        (StageFailed("the teacher was lost"), 1, "failed", "the teacher was lost"),
        (KeyboardInterrupt(), 130, "interrupted", "interrupted; the same command continues from here"),
    ],
)
def test_failures_and_interrupts_set_exit_codes(
    error: BaseException, code: int, status: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """A failed stage ends with exit code 1, an interrupt with 130, and both print a clear message."""

    def fail(self: Pipeline) -> None:
        def work() -> dict:
            os.write(1, b"chatter")  # as libraries do that are not written in Python
            raise error

        self.context.run_stage("prepare", None, work, lambda record: "")

    monkeypatch.setattr(Pipeline, "run_all", fail)
    monkeypatch.setattr(sys, "argv", ["ganaug", "run", str(DIGITS), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    printed = capfd.readouterr()
    assert words in printed.err
    assert f"prepare    {status}" in printed.out
    assert "chatter" not in printed.out + printed.err
    assert "chatter" in (tmp_path / "out" / "log.txt").read_text()


NINE = [str(label) for label in range(9)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["classifier.arch=torchvision:resnet81"], ["classifier.arch", "no network 'resnet81'", "did you mean"]),
        (["classifier.weights={other}"], ["classifier.weights", "other.safetensors", "not weights of cnn", "missing"]),
        (["classifier.init_from={nine}"], ["classifier.init_from", "classes are 9", "here are 10"]),
    ],
    ids=["unknown architecture", "weights of another network", "another number of classes"],
)
def test_unsuitable_network_stops_before_training(
    settings: list[str], words: list[str], digits: Folder, experiment: Run, tmp_path: Path, monkeypatch, capfd
) -> None:
    """A network or weights that do not suit the job end the run before any training."""
    save_file({"features.0.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    model = experiment.locate_model(arms.REAL, 0)
    nine = Folder.from_uri(tmp_path / "nine").create()
    nine.write_json("model.json", {**model.read_json("model.json"), "classes": NINE})
    out = tmp_path / "out"
    Run(Folder.from_uri(out)).claim_folder(load_job(DIGITS, [*TINY, "augment.ratio=0"]))
    (out / "dataset").symlink_to(str(digits))
    overrides = [one.format(other=tmp_path / "other.safetensors", nine=nine) for one in settings]
    command = ["ganaug", "train", str(DIGITS), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, *(f"--set={one}" for one in [*TINY, "augment.ratio=0", *overrides])])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    message = capfd.readouterr().err
    assert caught.value.code == 2, message
    assert all(word in message for word in words), message
    assert len(message.strip().splitlines()) <= 2
    assert not (out / "models").exists()


def test_diverged_gan_suggests_next_steps(
    tiny_job: Job, digits: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GAN that diverges is an error that says what to try, and what that costs."""

    def diverge(*arguments: object, **more: object) -> None:
        raise DivergenceError(41)

    monkeypatch.setattr(worker_group, "run_on_ranks", diverge)
    config = tiny_job.gan.model_copy(update={"workers": 2})
    training = GanTraining(config, 32, 0, str(digits), "teacher", str(tmp_path / "gan"), 1.0, {})
    with pytest.raises(StageFailed, match=r"not finite.* 41\..*Set gan\.lr below .*starts the training again"):
        train_gans([training], Hardware.of_one_machine(2))


def test_version_option_prints_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The option --version prints the installed version."""
    monkeypatch.setattr(sys, "argv", ["ganaug", "--version"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert capsys.readouterr().out == f"ganaug {version('ganaug-ray')}\n"
