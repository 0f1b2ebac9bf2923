"""Where a job leaves open how often it compares, the number of its images decides, once for an experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.config.loader import load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.pipeline import comparison_plan, dry_run
from ganaug_ray.verdict.visible_gain import predict_visible_gain

OPEN_JOB = """
data: {{source: {source}}}
gan: {{steps: 5}}
classifier: {{steps: 5}}
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def write_job(tmp_path: Path, photos: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(OPEN_JOB.format(source=photos))
    return path


def open_run(tmp_path: Path) -> Run:
    return Run(Folder.from_uri(tmp_path / "run"))


def test_few_images_are_all_tested(tmp_path: Path, photos: Path) -> None:
    """Of few images every one is tested, and the dry run says what gain that can show."""
    job = comparison_plan.plan_comparison(load_job(write_job(tmp_path, photos)), open_run(tmp_path))
    assert (job.compare.splits, job.compare.seeds) == (5, 2)
    text = dry_run.describe_job(job, open_run(tmp_path))
    assert "5 splits with 2 seeds: 20 classifiers, 5 GANs; every image is tested once" in text
    assert "on 40 test images" in text


def test_many_images_need_one_split(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many images one split's test part is sharp enough, and seeds are added instead."""
    monkeypatch.setattr(comparison_plan, "MANY_PARTS", 0)
    job = comparison_plan.plan_comparison(load_job(write_job(tmp_path, photos)), open_run(tmp_path))
    assert (job.compare.splits, job.compare.seeds) == (1, 5)


@pytest.mark.parametrize("setting", ["compare.seeds=3", "compare.splits=2", "augment.ratio=0"])
def test_settings_of_job_are_kept(tmp_path: Path, photos: Path, setting: str) -> None:
    """A job that says how often it compares, or compares nothing, is left as it is."""
    job = load_job(write_job(tmp_path, photos), [setting])
    assert comparison_plan.plan_comparison(job, open_run(tmp_path)) == job


@pytest.mark.parametrize("setting", ["data.split=given", "data.split.test=0.4"])
def test_splits_without_room_are_not_planned(tmp_path: Path, photos: Path, setting: str) -> None:
    """Where five splits without a common test image are not possible, there is one, with more seeds."""
    job = load_job(write_job(tmp_path, photos), [setting])
    planned = comparison_plan.plan_comparison(job, open_run(tmp_path))
    assert (planned.compare.splits, planned.compare.seeds) == (1, 5)


def test_plan_stands_when_images_are_added(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was planned for an experiment stands, whatever the number of images is later."""
    job, run = load_job(write_job(tmp_path, photos)), open_run(tmp_path)
    run.claim_folder(comparison_plan.plan_comparison(job, run))
    monkeypatch.setattr(comparison_plan, "MANY_PARTS", 0)
    again = comparison_plan.plan_comparison(job, run)
    assert (again.compare.splits, again.compare.seeds) == (5, 2)
    run.claim_folder(again)


def test_visible_gain_falls_with_images_and_repeats() -> None:
    """More test images, splits and seeds can each show a smaller gain; two trainings can show none."""
    gains = [predict_visible_gain(*plan) for plan in ((48, 1, 3), (48, 1, 5), (240, 5, 1), (240, 5, 2), (2400, 5, 2))]
    assert gains == sorted(gains, key=lambda gain: -(gain or 0))
    assert len(set(gains)) == len(gains)
    assert predict_visible_gain(48, 1, 2) is None
