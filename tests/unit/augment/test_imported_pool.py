"""Images from elsewhere become a pool: copies of real images are left out, the rest is screened and drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.random import default_rng

from ganaug_ray.augment import arm_batches, imported_pool, synthetic_pools
from ganaug_ray.augment.arms import locate_teacher
from ganaug_ray.config import ImagesConfig, Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest.synthetic_images import import_images
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import NothingPassed, StageFailed
from ganaug_ray.pipeline import generation_stage
from ganaug_ray.report import gan_figures, sources_section, template
from tests.conftest import DIGITS, TINY
from tests.helpers.elsewhere import write_images

Rows = image_store.LabelledImages


@pytest.fixture
def run(experiment: Run, tmp_path: Path) -> Run:
    """An experiment with data and a teacher, and nothing else yet."""
    for name in ("dataset", "models"):
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).symlink_to(f"{experiment.root}/{name}")
    return Run(Folder.from_uri(tmp_path / "run"))


def read(run: Run, split: str, first: int, last: int) -> Rows:
    return image_store.read_images(run.dataset / split).take(np.arange(first, last))


def change(rows: Rows, spread: float) -> Rows:
    """The images with noise of so many grey levels."""
    noisy = rows.images + default_rng(0).normal(0, spread, rows.images.shape)
    return Rows(noisy.clip(0, 255).astype(np.uint8), rows.labels, rows.ids, rows.paths, rows.provenance)


def join(*parts: Rows) -> Rows:
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    blank = [""] * len(labels)
    return Rows(images, labels, blank, blank, blank)


def make_job(made: Path, *settings: str) -> Job:
    tiny = [setting for setting in TINY if not setting.startswith("augment.per_class")]
    return load_job(DIGITS, [*tiny, f"augment.images={made}", *settings])


def fill(job: Job, run: Run) -> synthetic_pools.SyntheticPool:
    """Import the images of a job and fill the pool of its arm."""
    (pool,) = synthetic_pools.list_pools(job, run)
    if pool.source.find_record() is None:
        source = job.augment.images["images"]
        import_images(job.data, source, DatasetRecord.read(run.dataset), pool.source.folder)
    teacher = locate_teacher(run)
    screening = synthetic_pools.build_screening(run, pool)
    imported_pool.fill_pool(
        pool.source.folder, run.dataset, teacher, pool.counts, screening, 0, pool.folder, job.augment.allow_copies
    )
    return pool


def test_copies_of_real_images_are_listed(run: Run, tmp_path: Path) -> None:
    """What copies a test, validation or training image is in no batch, and in the list with its reason."""
    parts = [read(run, "test", 0, 4), read(run, "val", 0, 3), read(run, "train", 0, 2)]
    made = write_images(tmp_path / "made", join(*parts, change(read(run, "test", 100, 160), 25)))
    pool = fill(make_job(made), run)
    record = pool.folder.read_json("synthetic.json")
    assert record["left_out"] == {"near test": 4, "near val": 3, "near train": 2}
    assert record["images"] == 60
    assert record["memorization"]["verdict"] == "does not copy"
    listed = pool.folder.read_table("screened.parquet").to_pylist()
    assert Counter(row["reason"] for row in listed) == record["left_out"]
    assert all(str(made) in row["provenance"] for row in listed)


def test_arm_draws_classes_equally_often(run: Run, tmp_path: Path) -> None:
    """An arm's other rows are these images, of each class as many, however many there are; its lineage has them."""
    rows = read(run, "test", 100, 400)
    few = rows.take(np.flatnonzero((rows.labels == 1) | (np.arange(len(rows)) < 30)))
    job = make_job(write_images(tmp_path / "made", change(few, 25)))
    pool = fill(job, run)
    counts = pool.folder.read_json("synthetic.json")["counts"]
    assert counts["1"] > 3 * counts["2"] > 0
    fit = arm_batches.build_training(job, run, "real+classic+images", 0)
    assert fit.inputs["images"] == pool.source.find_record().hash
    drawn = Counter(label for step in range(60) for label in fit.batches(Place())(step).y_B[16:].tolist())
    assert max(drawn.values()) <= 1.5 * min(drawn.values())
    limited = fill(make_job(tmp_path / "made", "augment.per_class=2"), run)
    assert set(limited.folder.read_json("synthetic.json")["counts"].values()) <= {0, 1, 2}


def test_copied_training_images_stop_the_stage(run: Run, tmp_path: Path) -> None:
    """Images that are mostly training images are refused, and with leave of the job used without these."""
    copies = change(read(run, "train", 0, 60), 3)
    made = write_images(tmp_path / "made", join(copies, change(read(run, "test", 100, 110), 25)))
    with pytest.raises(StageFailed, match=r"the images of .*made copy: .*allow_copies=true"):
        fill(make_job(made), run)
    pool = fill(make_job(made, "augment.allow_copies=true"), run)
    assert pool.folder.read_json("synthetic.json")["images"] <= 20


def test_noise_is_screened_away(run: Run, tmp_path: Path) -> None:
    """Of noise under names of classes little passes a teacher, and where nothing does a sentence says so."""
    rows = read(run, "test", 0, 100)
    noise = Rows(default_rng(0).integers(0, 256, rows.images.shape, np.uint8), rows.labels, *([[""] * 100] * 3))
    made = write_images(tmp_path / "made", noise)
    # Agreement 0: so short a training knows no class, and would judge none.
    strict = ["augment.screen.enabled=true", "augment.screen.confidence=0.99", "augment.screen.class_agreement=0"]
    job = make_job(made, *strict)
    with pytest.raises(NothingPassed, match=r"none of the 100 images of .*made passed the screening"):
        fill(job, run)
    (pool,) = synthetic_pools.list_pools(job, run)
    advice = generation_stage._advise_after_screening(job, run, pool, None)
    assert "--set augment.screen.enabled=false accepts all images" in advice


def test_report_tells_of_the_source(run: Run, tmp_path: Path) -> None:
    """The report names the source and its arm, what was left out, and shows the images."""
    made = write_images(tmp_path / "made", join(read(run, "test", 0, 3), change(read(run, "test", 100, 160), 25)))
    job = make_job(made)
    fill(job, run)
    sources = sources_section.collect_sources(run, job)
    pictures = sources_section.draw_sources(run, job, sources, DatasetRecord.read(run.dataset).classes)
    page = template.render_template(
        "sources.html", sources=sources, pictures={"sources": pictures}, gan_figures=gan_figures
    )
    for words in (
        str(made),
        "for training on real and synthetic images of ",
        "3 (nearly the same as a test image)",
        "does not copy",
        "data:image/png",
    ):
        assert words in page


def test_config_of_images_names_its_source() -> None:
    """A source's short name is the last part of its address."""
    assert ImagesConfig(source=["/data/made/", "s3://bucket/more.zip"]).short_name == "made, more.zip"
