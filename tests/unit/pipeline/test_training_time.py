"""The estimate of a job's training time rests on real steps, whose times are replaced here."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.data.ingest.scan import survey_without_storing
from ganaug_ray.pipeline import run_time, training_time
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.run_time import estimate_run_time
from ganaug_ray.pipeline.stage_times import StageTime
from ganaug_ray.pipeline.step_timer import StepTimer
from ganaug_ray.pipeline.training_time import (
    ImageFacts,
    StepTime,
    TrainingTime,
    measure_step_time,
    scale_training_time,
)
from ganaug_ray.pipeline.work_left import count_work
from ganaug_ray.runtime.hardware import Hardware, NodeResources
from tests.conftest import DIGITS, TINY

STEP_S, LOOK_S = 0.5, 0.01


@pytest.fixture(scope="module")
def images(tiny_job: Job) -> ImageFacts:
    survey = survey_without_storing(tiny_job.data)
    return ImageFacts(len(survey.classes), survey.channels, survey.count_images(), 2.0)


def measure(job: Job, images: ImageFacts) -> TrainingTime:
    return scale_training_time(job, images, measure_step_time(job, images))


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


def test_steps_and_looks_are_multiplied(clock: None, tiny_job: Job, images: ImageFacts) -> None:
    """A training takes its steps and its looks at all validation images, without what the first step takes more."""
    measured = measure(tiny_job, images)
    assert measured.classifier_s == pytest.approx(8 * STEP_S + 2 * 50 * LOOK_S)
    assert measured.gan_s == pytest.approx(6 * STEP_S)
    epochs = load_job(DIGITS, [*TINY, "gan.epochs=10", "classifier.epochs=4", "classifier.evaluate_every=100"])
    measured = measure(epochs, images)
    assert measured.classifier_s == pytest.approx(20 * STEP_S + 50 * LOOK_S)
    assert measured.gan_s == pytest.approx(50 * STEP_S)
    assert measure(load_job(DIGITS, [*TINY, "augment.ratio=0"]), images).gan_s == 0


def test_measuring_leaves_no_trace(
    tiny_job: Job, images: ImageFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measuring takes real steps of both networks, and changes neither random draws nor threads nor any folder."""
    monkeypatch.setattr(training_time, "MIN_TIMED_S", 0.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    before = torch.get_rng_state()
    measured = measure(tiny_job, images)
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
def test_batch_is_that_of_average_arm(images: ImageFacts, settings: list[str], rows: int) -> None:
    """The batch that is timed has as many rows as those of all arms and steps have on average."""
    counts = images.counts["train"]
    assert training_time._average_batch(load_job(DIGITS, [*TINY, *settings]), counts, 8) == rows


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(run_time.hardware.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)


FIVE_SPLITS = ["arms={}", "data.split.test=0.2", "compare.splits=5", "compare.seeds=2", "gan.workers=auto"]


def test_time_is_summed_over_all_stages(four_cores: None, images: ImageFacts) -> None:
    """A whole run takes its trainings in rounds, and what is around them: data, images, figures and the page."""
    job = load_job(DIGITS, FIVE_SPLITS)
    work = replace(count_work(job), early_classifiers=0)  # nothing beside the GANs
    time = estimate_run_time(job, images, TrainingTime(38, 21), work)
    stages = {stage.name: stage for stage in time.stages}
    order = ["prepare", "teach", "train-gan", "generate", "train", "compare", "evaluate", "report", "promote"]
    assert list(stages) == order
    assert stages["prepare"].seconds == pytest.approx(5 * (2.0 + run_time.DATASET_S))
    assert stages["train"].words == "20 classifiers of 400 steps, 4 at a time"
    fit_s = run_time.SIDE_BY_SIDE_FACTOR * (38 + run_time.FIT_S)
    assert stages["train"].seconds == pytest.approx(run_time.PROCESSES_START_S + 5 * fit_s)
    assert stages["teach"].seconds == pytest.approx(run_time.RAY_START_S + run_time.PROCESSES_START_S + 2 * fit_s)
    assert (stages["prepare"].calls, stages["generate"].calls, stages["train"].calls) == (5, 5, 1)
    assert time.total_s == sum(stage.seconds for stage in time.stages)
    assert time.describe().startswith("about 7 minutes on this machine (train 4 minutes, teach 98 s)")


def test_other_work_is_reckoned_with(four_cores: None, images: ImageFacts) -> None:
    """Four trainings on four cores, on which others are at work, take half as long again; one process does not."""
    job = load_job(DIGITS, FIVE_SPLITS)
    alone = estimate_run_time(job, images, TrainingTime(38, 21), count_work(job))
    busy = estimate_run_time(job, images, TrainingTime(38, 21, other_processes=4.0), count_work(job))
    longer = {stage.name: other.seconds / stage.seconds for stage, other in zip(alone.stages, busy.stages, strict=True)}
    assert longer["train"] == pytest.approx(1.5)
    assert longer["train-gan"] == pytest.approx(1.5)
    assert longer["prepare"] == longer["report"] == 1
    assert "times as slow" not in alone.describe()
    assert re.search(r"other work makes it 1\.[45] times as slow", busy.describe())


def test_ranks_share_a_gan(four_cores: None, images: ImageFacts) -> None:
    """A single GAN of as many workers as fit is sooner done than one of a single worker; several go side by side."""

    def gan_s(*settings: str) -> float:
        job = load_job(DIGITS, ["arms={}", *settings])
        time = estimate_run_time(job, images, TrainingTime(38, 400), count_work(job))
        return next(stage.seconds for stage in time.stages if stage.name == "train-gan")

    assert gan_s("gan.workers=auto") < gan_s("gan.workers=2") < gan_s("gan.workers=1")
    assert run_time.plan_processes(load_job(DIGITS, FIVE_SPLITS).gan, 5, Hardware.of_one_machine(4)) == (4, 1)
    assert run_time.plan_processes(load_job(DIGITS, FIVE_SPLITS).gan, 1, Hardware.of_one_machine(4)) == (1, 4)


def test_figures_beside_the_training_cost_little(four_cores: None, images: ImageFacts) -> None:
    """Figures that a free core measures prolong a training by the last of them alone; else all of them do."""

    def gan_stage(workers: int, look_s: float) -> StageTime:
        job = load_job(DIGITS, ["arms={}", "gan.steps=400", "gan.snapshot_every=100", f"gan.workers={workers}"])
        work = replace(count_work(job), early_classifiers=0)
        time = estimate_run_time(job, images, TrainingTime(38, 100, look_s=look_s), work)
        return next(stage for stage in time.stages if stage.name == "train-gan")

    assert gan_stage(1, 10).seconds - gan_stage(1, 0).seconds == pytest.approx((1 + 3) * 10)
    assert gan_stage(1, 50).seconds - gan_stage(1, 0).seconds == pytest.approx((1 + 3) * 50 + 50), "longer than steps"
    shared = run_time.RANK_EFFICIENCY * 4
    assert gan_stage(4, 10).seconds - gan_stage(4, 0).seconds == pytest.approx((4 + 3) * 10 / shared), "no core is free"
    assert (gan_stage(1, 10).processes, gan_stage(4, 10).processes) == (2, 4)


def test_classifiers_beside_a_gan_take_what_it_leaves(four_cores: None, images: ImageFacts) -> None:
    """Classifiers that wait for no image fill the cores that a GAN leaves free, and are not counted again."""

    def estimate(workers: int, gan_s: float) -> dict[str, StageTime]:
        settings = ["arms={oversample: {}, synthetic: {}}", "compare.splits=1", "compare.seeds=4"]
        job = load_job(DIGITS, [*settings, f"gan.workers={workers}"])
        time = estimate_run_time(job, images, TrainingTime(38, gan_s), count_work(job))
        return {stage.name: stage for stage in time.stages}

    fit_s = 38 + run_time.FIT_S
    start_s = run_time.PROCESSES_START_S
    beside = estimate(1, 400)
    assert beside["train-gan"].words.endswith(" steps, and 8 classifiers beside")
    assert beside["train"].words == "4 classifiers of 400 steps, 4 at a time"
    alone_s = 400 + run_time.GAN_END_S
    assert beside["train-gan"].seconds == pytest.approx(start_s + run_time.SIDE_BY_SIDE_FACTOR * alone_s)
    filled_s = run_time.SIDE_BY_SIDE_FACTOR * (20 + run_time.GAN_END_S + 8 * fit_s) / 4
    assert estimate(1, 20)["train-gan"].seconds == pytest.approx(start_s + filled_s), "they are longer than the GAN"
    assert estimate(4, 400)["train"].words == "12 classifiers of 400 steps, 4 at a time", "no core is free"


def test_last_of_several_gans_leaves_cores(four_cores: None, images: ImageFacts) -> None:
    """Five GANs on four cores take two turns, and in the second there is room for classifiers; four fill all cores."""

    def estimate(splits: int) -> dict[str, StageTime]:
        job = load_job(DIGITS, [*FIVE_SPLITS, f"compare.splits={splits}"])
        time = estimate_run_time(job, images, TrainingTime(38, 400), count_work(job))
        return {stage.name: stage for stage in time.stages}

    five = estimate(5)
    assert five["train-gan"].words.endswith("4 at a time, and 10 classifiers beside")
    turns_s = 2 * run_time.SIDE_BY_SIDE_FACTOR * (400 + run_time.GAN_END_S)
    assert five["train-gan"].seconds == pytest.approx(run_time.PROCESSES_START_S + turns_s), "no longer than the GANs"
    assert five["train"].words == "10 classifiers of 400 steps, 4 at a time"
    assert estimate(4)["train"].words == "16 classifiers of 400 steps, 4 at a time"


def test_cluster_counts_by_its_slots(tiny_job: Job, images: ImageFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings fill the cluster that RAY_ADDRESS names, and the words say that steps were timed elsewhere."""
    cluster = Hardware((NodeResources(2), NodeResources(2)))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr("ganaug_ray.runtime.cluster.read_cluster", lambda cpu_only: cluster)
    job = load_job(DIGITS, FIVE_SPLITS)
    facts = JobFacts(job)
    vars(facts).update(images=images, time=TrainingTime(38, 21))
    time = facts.estimate(job)
    assert "train" in {stage.name for stage in time.stages if stage.words.endswith("4 at a time")}
    assert " on 4 CPUs of the cluster, by steps timed on a core of this machine (" in time.describe()
    assert time.start_clock().estimate_left(0.0) == pytest.approx(time.total_s)


def test_unlabelled_images_take_time(four_cores: None, images: ImageFacts) -> None:
    """A teacher's answers to unlabelled images are a stage, in each split that lacks them."""
    job = load_job(DIGITS, [*FIVE_SPLITS, "arms={pseudo: {}}", "data.unlabelled=more"])
    many = replace(images, unlabelled=3000)
    time = estimate_run_time(job, many, TrainingTime(38, 21, image_s=0.01), count_work(job))
    label = next(stage for stage in time.stages if stage.name == "label")
    assert (label.words, label.calls) == ("3,000 images", 5)
    assert label.seconds == pytest.approx(5 * (30 + run_time.FIT_S))


def test_sizes_and_models_take_time(four_cores: None, images: ImageFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons with other numbers of images and compared models are stages with their own times."""
    steps = {"cnn": StepTime(0.1, 0.001, 0.2), "torchvision:resnet18": StepTime(1.0, 0.001, 0.2)}
    monkeypatch.setattr(StepTimer, "time_steps", lambda timer, job, images: steps[job.classifier.arch])
    models = "models={small: {}, large: {arch: torchvision:resnet18}}"
    job = load_job(DIGITS, [*FIVE_SPLITS, "data.train_per_class=8", "compare.sizes=[4, 40]", models])

    def estimate(*overrides: str) -> dict[str, StageTime]:
        asked = load_job(DIGITS, [*FIVE_SPLITS, "data.train_per_class=8", *overrides])
        facts = JobFacts(asked)
        vars(facts).update(images=images)
        return {stage.name: stage for stage in facts.estimate(asked).stages}

    plain = estimate()
    assert not {"sizes", "compare-models"} & set(plain)
    rest = estimate("compare.sizes=[4, 40]", models)
    assert rest["sizes"].seconds > 1.5 * sum(stage.seconds for stage in plain.values())
    fit_s = job.classifier.count_steps(80) * (0.1 + 1.0)
    assert rest["compare-models"].seconds > fit_s * run_time.SIDE_BY_SIDE_FACTOR
    assert rest["compare-models"].words == "small, large: 4 trainings"


def test_images_from_elsewhere_take_time() -> None:
    """Images that are there are screened: they need a teacher and a pool in each split, and no GAN."""
    work = count_work(load_job(DIGITS, [*FIVE_SPLITS, "augment.images=made"]))
    assert (work.teachers, work.gans, work.pools) == (5, 0, 5)


def test_finished_work_takes_no_time(
    tiny_job: Job, experiment: Run, images: ImageFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an experiment's folder has is not counted; a seed more is two classifiers."""
    monkeypatch.setattr(run_time, "plan_processes", lambda config, trainings, gpus: (1, 1))
    assert count_work(tiny_job, experiment).trainings == 0
    more = tiny_job.model_copy(update={"compare": tiny_job.compare.model_copy(update={"seeds": 3})})
    left = estimate_run_time(more, images, TrainingTime(38, 21), count_work(more, experiment))
    first = left.stages[0]
    assert (first.name, first.words) == ("train", "2 classifiers of 8 steps, one after another")
