"""The estimate of a job's training time rests on real steps, whose times are replaced here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.data.ingest.scan import Survey, survey_without_storing
from ganaug_ray.pipeline import training_time
from ganaug_ray.pipeline.training_time import TrainingTime, measure_training_time
from tests.conftest import DIGITS, TINY

STEP_S, LOOK_S = 0.5, 0.01


@pytest.fixture(scope="module")
def survey(tiny_job: Job) -> Survey:
    return survey_without_storing(tiny_job.data)


class Clock:
    """Time goes on by STEP_S each time that it is asked for; the first step takes a minute more."""

    def __init__(self) -> None:
        self.asked = 0

    def read(self) -> float:
        self.asked += 1
        return STEP_S * self.asked + (60.0 if self.asked > 1 else 0.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of a training takes STEP_S, the first one more, and every image of a look LOOK_S."""
    build = training_time._TimedBatches.__init__
    clocks: list[Clock] = []

    def start_clock(self: Any, *args: Any) -> None:
        build(self, *args)
        clocks.append(Clock())

    monkeypatch.setattr(training_time._TimedBatches, "__init__", start_clock)
    monkeypatch.setattr(training_time, "_read_clock", lambda device: clocks[-1].read())
    monkeypatch.setattr(training_time, "_time_evaluation", lambda network, val, place: LOOK_S)


def test_steps_and_looks_are_multiplied(clock: None, tiny_job: Job, survey: Survey) -> None:
    """A training takes its steps and its looks at all validation images, without what the first step takes more."""
    measured = measure_training_time(tiny_job, survey)
    assert measured.classifier_s == pytest.approx(8 * STEP_S + 2 * 50 * LOOK_S)
    assert measured.gan_s == pytest.approx(6 * STEP_S)
    epochs = load_job(DIGITS, [*TINY, "gan.epochs=10", "classifier.epochs=4", "classifier.evaluate_every=100"])
    measured = measure_training_time(epochs, survey)
    assert measured.classifier_s == pytest.approx(20 * STEP_S + 50 * LOOK_S)
    assert measured.gan_s == pytest.approx(50 * STEP_S)
    assert measure_training_time(load_job(DIGITS, [*TINY, "augment.ratio=0"]), survey).gan_s == 0


def test_measuring_leaves_no_trace(
    tiny_job: Job, survey: Survey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measuring takes real steps of both networks, and changes neither random draws nor threads nor any folder."""
    monkeypatch.setattr(training_time, "MIN_TIMED_S", 0.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    before = torch.get_rng_state()
    measured = measure_training_time(tiny_job, survey)
    assert torch.equal(torch.get_rng_state(), before)
    assert threads == [1, 3]
    assert measured.classifier_s > 0
    assert measured.gan_s > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "rows"),
    [
        (["augment.ratio=0"], 16),
        (["augment.ratio=0.5"], 20),
        (["augment.strategy=pretrain"], 16),
        (["augment.ratio=1", "augment.strategy=anneal"], 20),
        (["arms={real: {}, synthetic-only: {}, oversample: {ratio: 1.0}}"], 20),
    ],
)
def test_batch_is_that_of_average_arm(survey: Survey, settings: list[str], rows: int) -> None:
    """The batch that is timed has as many rows as those of all arms and steps have on average."""
    counts = survey.count_images()["train"]
    assert training_time._average_batch(load_job(DIGITS, [*TINY, *settings]), counts, 8) == rows


def test_words_name_what_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dry run's line has the total, what it is made of, in which order, and what is not in it."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(training_time.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    job = load_job(DIGITS, ["arms={}", "data.split.test=0.2", "compare.splits=5", "compare.seeds=2"])
    assert TrainingTime(38, 21).describe(job) == (
        "about 5 minutes of training on this machine: 20 classifiers of 38 s, 4 at a time, 5 teachers of 38 s, 4 at a "
        "time, 5 GANs of 21 s, 2 at a time; data, predictions, the GAN's figures of quality, generation and "
        "screening come on top"
    )
    assert "5 GANs of 21 s, one after another" in TrainingTime(38, 21, gpus=2).describe(job)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    alone = load_job(DIGITS, ["arms={}", "augment.ratio=0", "compare.seeds=1"])
    assert TrainingTime(0.4, 0).describe(alone) == (
        "about 0.4 s of training on this machine: 1 classifier of 0.4 s; data and predictions come on top"
    )
    assert TrainingTime(38, 21).sum_seconds(job) == 25 * 38 + 5 * 21, "of a cluster's machines nothing is known here"
