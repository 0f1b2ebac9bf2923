"""The stage that obtains synthetic images, where they come from elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline.pipeline import Pipeline
from tests.conftest import DIGITS, TINY
from tests.helpers.elsewhere import write_images


@pytest.fixture
def run(experiment: Run, tmp_path: Path) -> Run:
    """An experiment with data and a teacher, and nothing else yet."""
    (tmp_path / "run").mkdir()
    for name in ("dataset", "models"):
        (tmp_path / "run" / name).symlink_to(f"{experiment.root}/{name}")
    return Run(Folder.from_uri(tmp_path / "run"))


def test_images_need_no_gan_and_are_named(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Images are imported and screened in one call, without a GAN; the terminal names them, and keeps them."""
    rows = image_store.read_images(run.dataset / "test", 60)
    noise = np.random.default_rng(0).normal(0, 25, rows.images.shape)
    noisy = (rows.images + noise).clip(0, 255).astype(np.uint8)
    blank = [""] * len(rows)
    made = write_images(tmp_path / "made", image_store.LabelledImages(noisy, rows.labels, blank, blank, blank))
    pipeline = Pipeline(load_job(DIGITS, [*TINY, f"augment.images={made}"]), run, Terminal())
    pipeline.generate_images()
    said = " ".join(capsys.readouterr().out.split())
    assert f"import done {made}: 60 images of 10 classes" in said
    assert f"images of 10 classes from {made}" in said
    assert not run.gan.list_entries()
    pipeline.generate_images()
    kept = capsys.readouterr().out
    assert kept.count("kept") == 3
    assert "done" not in kept
    settings = f"augment.images={{source: {made}, label_from: {{regex: '(?P<label>.)'}}}}"
    with pytest.raises(UserError, match=r"images: was read with another setting of label_from; give .* another name"):
        Pipeline(load_job(DIGITS, [*TINY, settings]), run, Terminal()).import_sources()


def test_sources_come_and_go(run: Run, tmp_path: Path) -> None:
    """A source may be added to a finished experiment and left out again; under its name there is no other one."""
    copy = Run(Folder.from_uri(tmp_path / "other"))
    plain = load_job(DIGITS, [*TINY, "arms.real+classic+synthetic={}"])
    copy.claim_folder(plain)
    for name in ("synthetic", "images-sd", "images-cg", "models/real+classic+synthetic/seed-0"):
        marker = {"synthetic": "synthetic.json", "models": "model.json"}.get(name.split("/")[0], "images.json")
        (copy.root / name).create().write_json(marker, {})

    def claim(*settings: str) -> None:
        copy.claim_folder(load_job(DIGITS, [*TINY, "arms.real+classic+synthetic={}", *settings]))

    claim("augment.images={sd: made, cg: more}")
    claim("augment.images={sd: made}")
    with pytest.raises(UserError, match=r"augment\.images\.sd\.source is .*made.* there and .*else.*images-sd is made"):
        claim("augment.images={sd: else}")
    claim()
    assert copy.root.list_folders() == ["images-cg", "images-sd", "models", "synthetic"]


def test_missing_pack_is_told_before_training(run: Run) -> None:
    """A pack that is not there is told as soon as the data are prepared, before any training."""
    pipeline = Pipeline(load_job(DIGITS, [*TINY, "augment.generator=nowhere"]), run, Terminal())
    with pytest.raises(UserError, match=r"augment\.generator .*nowhere: not a pack that `ganaug share` wrote"):
        pipeline.import_sources()
