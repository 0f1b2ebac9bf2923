"""Candidates and the images that they are tested on are known by what they are, not by where they lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.pipeline import dry_run
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.split_plan import plan_given
from ganaug_ray.pipeline.training_time import TrainingTime
from ganaug_ray.verdict import from_experiment
from ganaug_ray.verdict.candidates import hash_candidates, hash_testable_images
from tests.conftest import DIGITS, TINY
from tests.helpers import records

DATASET = "d" * 16


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Folder.from_uri(tmp_path / "runs" / "cats"))


def hash_with(run: Run, *settings: str, dataset: str = DATASET) -> list[str]:
    return hash_candidates(load_job(DIGITS, [*TINY, *settings]), run, dataset)


def test_free_settings_make_no_candidate(run: Run) -> None:
    """Settings by which no weight changes, more seeds, and the place of the images leave a candidate what it is."""
    plain = hash_with(run)
    free = [
        "gan.workers=2", "gan.min_workers=1", "classifier.workers=2", "data.loader=stream", "data.executor=ray_data",
        "data.resident_limit=0.5", "compare.seeds=9", "classifier.log_every=2", "gan.checkpoint_every=3",
        "compare.worthwhile=0.02", "augment.allow_copies=true",
        "augment.pseudo_confidence=0.5",
    ]  # fmt: skip
    for setting in free:
        assert hash_with(run, setting) == plain, setting
    for setting in ("gan.steps=7", "classifier.steps=9", "augment.ratio=0.25", "seed=7", "compare.metric=macro_f1"):
        assert hash_with(run, setting) != plain, setting
    assert hash_with(run, dataset="e" * 16) != plain


def test_images_from_elsewhere_count_by_content(run: Run) -> None:
    """The same images from another path or under another name are the same candidate; others at that path are not."""

    def hash_read(name: str, path: str, content: str) -> list[str]:
        records.write_images(run.root / ("images" if name == "images" else f"images-{name}"), hash=content)
        return hash_with(run, f"augment.images={{{name}: {path}}}")

    first = hash_read("images", "made/first", "a" * 16)
    assert len(first) == 1
    assert hash_read("images", "elsewhere/copy", "a" * 16) == first
    assert hash_read("mine", "made/first", "a" * 16) == first
    assert hash_read("images", "made/first", "b" * 16) != first
    records.write_images(run.root / "images", hash="a" * 16)
    assert hash_with(run, "augment.images={images: made/first}", "gan.steps=7") == first, "no GAN is trained for it"
    assert hash_with(run, "augment.images={images: made/first}", "classifier.steps=9") != first


@pytest.mark.parametrize(("setting", "folder"), [("classifier.init_from", "models"), ("gan.init_from", "gan")])
def test_weights_from_elsewhere_count_by_content(run: Run, setting: str, folder: str) -> None:
    """Weights that trainings start from are known by their content too; without any, a left-over file says nothing."""

    def hash_read(path: str, content: str) -> list[str]:
        (run.root / folder).write_json("start.json", {"hash": content})
        return hash_with(run, f"{setting}={path}")

    fresh = hash_with(run)
    first = hash_read("first", "a" * 16)
    assert hash_read("copy", "a" * 16) == first
    assert hash_read("first", "b" * 16) != first
    assert hash_with(run) == fresh != first


def test_unread_images_are_like_no_others(run: Run) -> None:
    """Where images were not read, or their folder was deleted, a candidate has a fingerprint all the same."""
    unread = hash_with(run, "augment.images={images: made/first}")
    records.write_images(run.root / "images", hash="a" * 16)
    assert hash_with(run, "augment.images={images: made/first}") != unread


def test_division_of_images_does_not_count() -> None:
    """The images that may be tested are the same however they are dealt out; given splits test their own alone."""

    def deal(ids: str, splits: list[str]) -> pa.Table:
        return pa.table({"id": list(ids), "class": [name.upper() for name in ids], "split": splits})

    first = deal("abc", ["train", "val", "test"])
    assert hash_testable_images(first, False) == hash_testable_images(deal("cab", ["unused", "test", "train"]), False)
    assert hash_testable_images(first, False) != hash_testable_images(deal("abd", ["train", "val", "test"]), False)
    given = hash_testable_images(first, True)
    assert given == hash_testable_images(deal("xyc", ["train", "val", "test"]), True)
    assert given != hash_testable_images(deal("abc", ["train", "test", "val"]), True)


def draw_duplicates(folder: Path) -> None:
    """Draw two classes of 18 images: three groups of five near-duplicates, and three images like no others."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for group, size in enumerate((5, 5, 5, 1, 1, 1)):
            base = np.kron(rng.integers(0, 240, (8, 8, 3)), np.ones((5, 5, 1)))
            for copy in range(size):
                pixels = base + rng.integers(0, 4, base.shape)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{group}-{copy}.png")


@pytest.mark.parametrize("settings", [["compare.splits=5"], ["data.unlabelled=unused", "data.train_per_class=3"]])
def test_unprepared_images_are_foreseen(run: Run, tmp_path: Path, settings: list[str]) -> None:
    """Before images are prepared, a survey tells images and candidates as their data set will.

    That is so for several splits too, where near-duplicates leave other images to test than a single split has.
    """
    draw_duplicates(tmp_path / "pets")
    own = [f"data.source={tmp_path}/pets", "data.train_per_class=null", "data.split.test=0.2", "compare.seeds=3"]
    job = plan_given(load_job(DIGITS, [*TINY, *own, *settings]))
    prepare_dataset(job.derive_split(0).data, run.dataset)
    assert DatasetRecord.read(run.dataset).near_duplicates["groups"] == 6
    assert from_experiment.record_looks(job, run) == (1, 1)
    other = Run(Folder.from_uri(f"{run.root.parent}/other"))
    survey = JobFacts(job).survey
    assert from_experiment.count_looks(job, other, survey) == (1, 1)
    more = job.model_copy(update={"compare": job.compare.model_copy(update={"seeds": 6})})
    assert from_experiment.count_looks(more, other, survey) == (1, 3), "the same candidate, looked at again"


def test_dry_run_knows_the_books_beside(
    experiment: Run, tiny_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dry run of a new folder counts what was compared beside it, on the same images dealt out otherwise too."""
    monkeypatch.setattr(JobFacts, "time", TrainingTime(60.0, 120.0))
    shutil.copytree(str(experiment.root), tmp_path / "runs" / "mine", symlinks=True)
    mine, other = (Run(Folder.from_uri(tmp_path / "runs" / name)) for name in ("mine", "other"))
    shutil.rmtree(tmp_path / "runs" / "mine" / "compared")
    mine.root.delete_file("verdict.json")
    Pipeline(tiny_job, mine, Terminal()).compare_arms()
    words = (
        "2 arms were compared on these images, now or before (an arm counts again with another seed or metric), so the"
    )
    assert words not in dry_run.describe_job(tiny_job, other)
    assert DatasetRecord.find(other.dataset) is None
    dealt_otherwise = load_job(DIGITS, [*TINY, "data.val_per_class=4"])
    assert words in dry_run.describe_job(dealt_otherwise, other)
    aiming = [f"compare.{name}" for name in ("seeds=5", "visible_gain=0.018", "planned_seeds=5", "planned_splits=1")]
    told = dry_run.describe_job(load_job(DIGITS, [*TINY, "data.val_per_class=4", *aiming]), other)
    assert "compare.visible_gain 0.018: this plan sees no gain below 1.9 points" in told, "which it would see by itself"
    from_elsewhere = dry_run.describe_job(load_job(DIGITS, [*TINY, "augment.images=made"]), other)
    assert f"{words} interval is wider; what comes from elsewhere counts as new" in from_elsewhere
