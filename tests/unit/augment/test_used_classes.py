"""Synthetic images are made of those classes that arms use; more are added when arms of other classes come."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ganaug_ray.augment import arm_batches, synthetic_pools
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Record, Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.run_time import estimate_run_time
from ganaug_ray.pipeline.training_time import ImageFacts, TrainingTime
from ganaug_ray.pipeline.work_left import count_work
from tests.conftest import DIGITS, TINY


@pytest.fixture
def run(experiment: Run, tmp_path: Path) -> Run:
    """An experiment with a trained GAN, and no images of it."""
    shutil.copytree(str(experiment.root), tmp_path / "run", symlinks=True)
    run = Run(Folder.from_uri(tmp_path / "run"))
    shutil.rmtree(str(run.synthetic))
    return run


def load_arms(arms: str, *settings: str) -> Job:
    return load_job(DIGITS, [*TINY, f"arms={arms}", *settings])


def generate(run: Run, arms: str, *settings: str) -> Record:
    Pipeline(load_arms(arms, *settings), run, Terminal()).generate_images()
    return run.synthetic.read_json("synthetic.json")


def test_unused_classes_are_not_made(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Arms of a few classes have images of these alone, and no word is said about the others."""
    record = generate(run, "{few: {kind: synthetic, classes: ['1', '3']}, one: {kind: synthetic, classes: ['7']}}")
    assert record["counts"] == {"1": 10, "3": 10, "7": 10}
    assert record["not_drawn"] == []
    assert "30 images of 3 classes" in capsys.readouterr().out
    assert len(run.synthetic.list_files(".parquet")) == 3


def test_classes_are_added_for_new_arms(run: Run) -> None:
    """An arm of other classes adds their images; those that were there stay the same, and so does the pool's hash."""
    few = generate(run, "{few: {kind: synthetic, classes: ['1']}}")
    made = run.synthetic.read_bytes("part-0001-00000.parquet")
    both = generate(run, "{few: {kind: synthetic, classes: ['1']}, more: {kind: synthetic, classes: ['3']}}")
    assert (few["asked"], both["asked"]) == ({"1": 10}, {"1": 10, "3": 10})
    other = generate(run, "{other: {kind: synthetic, classes: ['7']}}")
    assert other["asked"] == {"1": 10, "3": 10, "7": 10}
    everything = generate(run, "{mix: {kind: synthetic}}")
    assert everything["asked"] == dict.fromkeys("0123456789", 10)
    assert run.synthetic.read_bytes("part-0001-00000.parquet") == made
    assert few["hash"] == both["hash"] == other["hash"] == everything["hash"]


def test_pool_of_all_classes_is_kept(experiment: Run) -> None:
    """A finished pool with images of all classes is not made again for arms of a few."""
    job = load_arms("{few: {kind: synthetic, classes: ['1']}}")
    (pool,) = synthetic_pools.list_pools(job, experiment)
    record = synthetic_pools.read_finished_pool(pool)
    assert record is not None
    assert len(record["counts"]) == 10
    inputs = arm_batches.build_training(job, experiment, "few", 0).inputs
    assert (inputs["synthetic"], inputs["classes"]) == (record["hash"], "1")


def test_classes_that_gain_may_be_any(run: Run) -> None:
    """Which classes gain is known later: an arm that goes by them needs images of all."""
    guided = "best: {kind: synthetic, classes: gaining}, mix: {kind: synthetic, per_class: 20}"
    record = generate(run, f"{{few: {{kind: synthetic, classes: ['1']}}, {guided}}}")
    assert len(record["asked"]) == 10


def test_others_are_made_where_nothing_passes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no image of the used classes passes, an arm without images does not end the run as long as others pass."""
    from ganaug_ray.augment import generate as stage
    from ganaug_ray.errors import NothingPassed

    asked: list[list[str]] = []
    make = stage.generate_locally

    def refuse_few(counts: dict[str, int], *rest: object, **more: object) -> Record:
        asked.append(list(counts))
        if len(counts) < 10:
            raise NothingPassed("no generated image passed the screening")
        return make(counts, *rest, **more)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(stage, "generate_locally", refuse_few)
    record = generate(run, "{few: {kind: synthetic, classes: ['1']}}")
    assert [len(names) for names in asked] == [1, 10]
    assert len(record["counts"]) == 10


def test_minutes_are_those_of_used_classes() -> None:
    """The estimate of a run draws as many images as the stage does."""
    counts = {part: dict.fromkeys("0123456789", 20) for part in ("train", "val", "test")}
    images = ImageFacts(10, 1, counts, 1.0)
    words = []
    for arms in ("{few: {kind: synthetic, classes: ['1', '3']}}", "{mix: {kind: synthetic}}"):
        job = load_arms(arms, "augment.per_class=50")
        stages = estimate_run_time(job, images, TrainingTime(1.0, 1.0, image_s=0.01), count_work(job)).stages
        words += [stage.words for stage in stages if stage.name == "generate"]
    splits = job.compare.splits
    assert words == [f"{splits * 100} images", f"{splits * 500} images"]
