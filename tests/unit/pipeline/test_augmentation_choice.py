"""``classifier.augment: auto``: two trials, one choice, and every arm trains with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ganaug_ray.augment import arm_batches, arms
from ganaug_ray.classify import augmentation_choice, launch
from ganaug_ray.classify.train_worker import ClassifierTraining
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline import training_stages
from ganaug_ray.pipeline.missing_trainings import count_missing
from ganaug_ray.pipeline.stage import StageContext
from ganaug_ray.pipeline.work_left import count_work
from ganaug_ray.verdict import augmentation_trials
from tests.conftest import DIGITS, TINY
from tests.helpers import records

AUTO = ["classifier.augment=auto", "arms={real: {}, oversample: {}}", "compare.splits=2"]


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    """An experiment of two splits, with data sets and nothing else."""
    context = StageContext(load_job(DIGITS, [*TINY, *AUTO]), Run(Folder.from_uri(tmp_path)), Terminal())
    for split in context.splits:
        records.write_dataset(split.run.dataset.create())
    return context


def finish_trial(run: Run, name: str, wrong: int) -> None:
    """A trial that is wrong about so many of 40 validation images."""
    folder = run.locate_model(name, 0).create()
    labels = np.arange(40) % 2
    given = np.where(np.arange(40) < wrong, 1 - labels, labels)
    probabilities = np.where(np.arange(2) == given[:, None], 0.9, 0.1)
    columns = {"split": ["val"] * 40, "id": list(map(str, range(40))), "label": labels}
    columns["probabilities"] = pa.FixedSizeListArray.from_arrays(probabilities.ravel(), 2)
    folder.write_table("predictions.parquet", pa.table(columns))
    records.write_model(folder)


def test_better_trial_decides_for_every_arm(context: StageContext) -> None:
    """The augmentation of the trial with the lower loss is that of all arms in all splits, but of bare real rows."""
    assert context.settled_job.classifier.augment == "auto"
    finish_trial(context.run, "augment-light", 10)
    finish_trial(context.run, "augment-strong", 5)
    augmentation_trials.choose_augmentation(context.job, context.run)
    for split in context.splits:
        trainings = {}
        for name in (arms.REAL, arms.TEACHER, "oversample", "real"):
            trainings[name] = arm_batches.build_training(split.job, split.run, name, 0).config.augment
        assert trainings == {arms.REAL: "strong", arms.TEACHER: "strong", "oversample": "strong", "real": "light"}
    assert context.job.classifier.augment == "auto", "job.yaml says what was asked for"


def test_given_augmentation_is_never_overruled(context: StageContext) -> None:
    """A job that names its augmentation keeps it, whatever trials lie in the folder, and needs none."""
    finish_trial(context.run, "augment-light", 10)
    finish_trial(context.run, "augment-strong", 5)
    augmentation_trials.choose_augmentation(context.job, context.run)
    job = load_job(DIGITS, [*TINY, *AUTO, "classifier.augment=light"])
    assert augmentation_choice.apply_choice(job, context.run) == job
    assert augmentation_choice.list_missing_trials(job, None) == []


def test_trials_differ_by_augmentation_alone(context: StageContext) -> None:
    """The trials draw alike, of a seed that is not compared, and keep their hands off the test images."""
    split = context.splits[0]
    light, strong = (arm_batches.build_training(split.job, split.run, name, 0) for name in arms.AUGMENT_TRIALS)
    baseline = arm_batches.build_training(split.job, split.run, arms.REAL, 0)
    assert (light.config.augment, strong.config.augment) == ("light", "strong")
    assert light.config.model_copy(update={"augment": "strong"}) == strong.config
    assert light.draw_seed == strong.draw_seed != baseline.draw_seed
    assert light.inputs == strong.inputs == baseline.inputs
    assert light.parts == strong.parts == ("val",)


def test_choosing_goes_on_after_a_kill(
    context: StageContext, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the trial that is missing is trained; the choice is told, and kept from then on."""
    finish_trial(context.run, "augment-light", 4)
    trained = []

    def train(trainings: list[ClassifierTraining], *rest: Any) -> None:
        for training in trainings:
            trained.append((training.arm, training.seed, training.config.augment))
            finish_trial(context.run, training.arm, 8)

    monkeypatch.setattr(launch, "train_classifiers", train)
    monkeypatch.setattr(StageContext, "connect_cluster", lambda self: None)
    monkeypatch.setattr(arm_batches, "refuse_streamed", lambda job, run: None)  # there are no images
    assert count_work(context.job, context.run).trials == 1
    training_stages.choose_augmentation(context)
    assert trained == [("augment-strong", 0, "strong")]
    printed = " ".join(capsys.readouterr().out.split())
    assert "light augmentation, by cross-entropy after calibration on validation: light 0.325, strong 0.502" in printed
    training_stages.choose_augmentation(context)
    assert len(trained) == 1
    assert "kept" in capsys.readouterr().out
    assert count_work(context.job, context.run).trials == 0


def test_single_verbs_choose_before_training(context: StageContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ganaug train` alone chooses first, and once; a job that names its augmentation has no such stage."""
    stages = []

    def train(context: StageContext, requests: list[training_stages.ModelRequest], stage: str) -> None:
        stages.append(stage)
        for split, name, seed in requests:
            assert stage == "choose" or split.job.classifier.augment == "light"
            if stage == "choose":
                finish_trial(split.run, name, 8)
            else:
                records.write_model(split.run.locate_model(name, seed).create())

    monkeypatch.setattr(training_stages, "_train_models", train)
    training_stages.train_classifiers(context)
    assert [stage for index, stage in enumerate(stages) if stage not in stages[:index]] == ["choose", "train"]


def test_work_counts_trials(tmp_path: Path) -> None:
    """What a run has to do, and what a comparison lacks, are two trainings more."""
    run = Run(Folder.from_uri(tmp_path))
    jobs = [load_job(DIGITS, [*TINY, f"classifier.augment={name}"]) for name in ("light", "auto")]

    def count(job: Job) -> tuple[int, int]:
        return count_work(job).trainings, count_missing(job, run).classifiers

    light, auto = map(count, jobs)
    assert [after - before for before, after in zip(light, auto, strict=True)] == [2, 2]
