"""A classifier whose training is killed goes on from its checkpoint, to the same bits."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.augment import arm_batches
from ganaug_ray.classify import checkpointing, train_worker
from ganaug_ray.classify.train_worker import ClassifierTraining
from ganaug_ray.config import ClassifierConfig
from ganaug_ray.config.loader import load_job
from ganaug_ray.core import checkpoint, worker_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading.batch import Batch, BatchFeed
from ganaug_ray.data.loading.resident_loader import open_real_feed
from tests.conftest import DIGITS, TINY

STEPS, DIES_AT = 24, 14
SETTINGS: dict[str, Any] = {"steps": STEPS, "batch_size": 16, "log_every": 2, "evaluate_every": 4}


class Mortal(BatchFeed):
    """Real batches that are counted; where no scar is, the process is killed at a step."""

    def __init__(self, feed: BatchFeed, scar: Path) -> None:
        self._feed, self._scar, self._count = feed, scar, 0

    def count_rows(self, step: int) -> int:
        return self._feed.count_rows(step)

    def __call__(self, step: int) -> Batch:
        if step == DIES_AT and not self._scar.exists():
            self._scar.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1
        return self._feed(step)

    def collect_counts(self) -> dict[str, int]:
        return {"served": self._count}


def mortal(dataset: str, scar: str, place: Place) -> Mortal:
    return Mortal(open_real_feed(dataset, 16, 1.0, 0, place), Path(scar))


def fit(digits: Folder, out: Path, **settings: Any) -> ClassifierTraining:
    batches = functools.partial(mortal, str(digits), str(out.parent / "scar"))
    config = ClassifierConfig(**(SETTINGS | settings))
    return ClassifierTraining("real+classic", 0, config, str(digits), str(out), batches, {"dataset": "d"})


def train(one: ClassifierTraining) -> None:
    """With a checkpoint at each look."""
    checkpointing.MIN_INTERVAL_S, checkpointing.INTERVAL_PER_SAVE_SECOND = 0.0, 0
    train_worker.train_and_finish(one, Place())


def killed(one: ClassifierTraining) -> None:
    """Train until it is killed, in a fork of a process that has imported all this and done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=train, args=(one,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIN_INTERVAL_S", "INTERVAL_PER_SAVE_SECOND"):
        monkeypatch.setattr(checkpointing, name, getattr(checkpointing, name))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"optimizer": "sgd", "schedule": "plateau", "plateau_looks": 1, "lr": 0.5},
        {"ema_half_life": 64, "accumulate": 2, "dropout": 0.3},
        {"class_weights": "balanced", "mixup": 0.2, "patience": 5},
    ],
    ids=["adamw", "plateau", "average", "patience"],
)
def test_killed_training_resumes_bit_identically(
    digits: Folder,
    tmp_path: Path,
    settings: dict[str, Any],
    package_logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A training that was killed resumes from its checkpoint and ends with the same bits."""
    worker_log.install_print_handler()
    one = fit(digits, tmp_path / "killed", **settings)
    killed(one)
    out = Folder.from_uri(one.out)
    assert not out.has_file("model.json")
    assert checkpoint.read_newest_step(out / "checkpoints") == 12, "of the last look before"
    capsys.readouterr()
    train(one)
    assert "resuming at step 12" in capsys.readouterr().out
    undisturbed = fit(digits, tmp_path / "undisturbed", **settings)
    train(undisturbed)
    there = Folder.from_uri(undisturbed.out)
    for name in ("model.safetensors", "metrics.jsonl", "predictions.parquet"):
        assert out.read_bytes(name) == there.read_bytes(name), name
    assert out.read_json("model.json")["tally"] == there.read_json("model.json")["tally"] == {"served": STEPS}
    assert out.list_folders() == there.list_folders() == [], "what is finished needs no checkpoints"


def test_foreign_checkpoint_is_not_used(
    digits: Folder, tmp_path: Path, package_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint made with other settings or rows is not used, and a message says so."""
    worker_log.install_print_handler()
    killed(fit(digits, tmp_path / "out"))
    capsys.readouterr()
    train(fit(digits, tmp_path / "out", lr=5e-4))
    said = capsys.readouterr().out
    assert "not used" in said
    assert "going on" not in said
    made, others = (replace(fit(digits, tmp_path / "out"), settings={"ratio": ratio}) for ratio in (0.5, 0.25))
    assert made.compute_fingerprint(None) != others.compute_fingerprint(None)


def test_moved_code_keeps_fingerprint(experiment: Run) -> None:
    """A checkpoint outlives new names and places of the functions that open the batches."""
    job = load_job(DIGITS, [*TINY, "arms={one: {kind: synthetic}}"])
    before = arm_batches.build_training(job, experiment, "one", 0)
    renamed = replace(before, batches=mortal)
    assert renamed.compute_fingerprint(None) == before.compute_fingerprint(None)


def test_fingerprint_covers_all_arm_settings(experiment: Run) -> None:
    """Also what shaped nothing yet, and so may change in the same folder, while a checkpoint of it is there."""
    settings = [
        "{}",
        "{ratio: 0.25}",
        "{weight: 0.5}",
        "{strategy: anneal}",
        "{batch_norm: separate}",
        "{classes: ['3']}",
    ]
    kinds = ["synthetic", "oversample", "noise", "shuffled-labels", "synthetic-only", "real"]
    arms = [one.replace("{", "{kind: synthetic, ", 1) for one in settings] + [f"{{kind: {kind}}}" for kind in kinds[1:]]
    found = []
    for arm in arms:
        job = load_job(DIGITS, [*TINY, f"arms={{one: {arm}}}"])
        told = arm_batches.build_training(job, experiment, "one", 0)
        assert "0x" not in str(told.settings), "an address is another one in each process"
        found.append(told.compute_fingerprint(None))
    assert len(set(found)) == len(arms)


def test_leaving_machine_saves_every_evaluation(
    digits: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that is about to be taken away saves a checkpoint at every evaluation but the last."""
    (tmp_path / "scar").touch()
    steps: list[int] = []
    monkeypatch.setattr(checkpoint, "save", lambda folder, checkpoint, inputs: steps.append(checkpoint.step))
    train_worker.train_and_finish(fit(digits, tmp_path / "out"), Place(is_leaving=lambda: True))
    assert steps == [4, 8, 12, 16, 20], "at each look but the last, long before a minute is over"


def test_short_trainings_write_no_checkpoint(digits: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that is over before a checkpoint is due writes none."""
    (tmp_path / "scar").touch()
    monkeypatch.setattr(checkpoint, "save", lambda *given: pytest.fail("a checkpoint"))
    train_worker.train_and_finish(fit(digits, tmp_path / "out"), Place())
