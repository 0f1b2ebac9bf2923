"""The advice in a message on an evaluation, followed with the same model."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.evaluate import evaluate_model, targets, test_images
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.runtime.executors import map_serially


def evaluate(experiment: Run, job: Job, source: Path, out: Path) -> int:
    """Evaluate the champion on a source; return the number of images."""
    (model,) = targets.list_models(experiment, job)
    target = targets.build_target(experiment, model, str(source))
    target = targets.EvaluationTarget(target.home, target.model, target.record, target.data, Folder.from_uri(out))
    with test_images.read_other_images(job.data, target, map_serially) as others:
        return evaluate_model.evaluate_model(target, 0, others)["n"]


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_model, "_draw_figures", lambda *arguments: None)


def write_split(experiment: Run, split: str, out: Path) -> Path:
    """Write 50 images of a split as they were before they were scaled."""
    digits = load_digits()
    rows = experiment.dataset.read_table("split.parquet", ["path", "split"]).to_pylist()
    for row in [row for row in rows if row["split"] == split][:50]:
        number = int(row["path"].rpartition("/")[2])
        path = out / str(digits.target[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[number] * 255 / 16).round().astype(np.uint8)).save(path)
    return out


def test_model_is_evaluated_on_other_images(experiment: Run, tiny_job: Job, tmp_path: Path) -> None:
    """Images that the model was trained on are refused, and others evaluate it."""
    trained_on = write_split(experiment, "train", tmp_path / "train")
    with pytest.raises(UserError, match=r"all \d+ images were used to train the model; give others$"):
        evaluate(experiment, tiny_job, trained_on, tmp_path / "out")
    others = write_split(experiment, "test", tmp_path / "test")
    assert evaluate(experiment, tiny_job, others, tmp_path / "out") == 50


def test_images_have_classes_that_the_model_knows(experiment: Run, tiny_job: Job, tmp_path: Path) -> None:
    """Images of an unknown class are refused with the classes that are known, under one of which they are taken."""
    images = write_split(experiment, "test", tmp_path / "test")
    (images / "3").rename(images / "three")
    with pytest.raises(UserError, match="found the classes three, which the model does not know") as caught:
        evaluate(experiment, tiny_job, images, tmp_path / "out")
    known = str(caught.value).partition("it knows ")[2].split(", ")
    assert set(known) >= {"3", "4"}
    (images / "three").rename(images / known[3])
    assert evaluate(experiment, tiny_job, images, tmp_path / "out") == 50


def test_missing_images_are_named_as_given(experiment: Run, tiny_job: Job, tmp_path: Path) -> None:
    """Images that are not there are named with the option that they were given with."""
    with pytest.raises(UserError, match=r"^--data .*nowhere: there is no such folder$"):
        evaluate(experiment, tiny_job, tmp_path / "nowhere", tmp_path / "out")


def test_earlier_stage_is_run_by_command(experiment: Run, tiny_job: Job, tmp_path: Path) -> None:
    """Where nothing is trained yet, the command in the message makes what an evaluation needs."""
    shutil.copytree(str(experiment.root), tmp_path / "my run", symlinks=True)
    run = Run(Folder.from_uri(tmp_path / "my run"))
    models = Path(str(run.models))
    models.rename(tmp_path / "trained")
    run.root.delete_file("verdict.json")
    arguments = shlex.join([str(run.root / "job.yaml"), "--out", str(run.root)])
    pipeline = Pipeline(tiny_job, run, Terminal(), arguments=arguments)
    with pytest.raises(UserError, match="has not been run there yet; run it first") as caught:
        pipeline.evaluate_models()
    match = re.search("`(.*)` has not been run", str(caught.value))
    assert match
    program, verb, job_file, option, out = shlex.split(match[1])
    assert (program, verb, option) == ("ganaug", "train", "--out")
    same = Run(Folder.from_uri(out))
    same.claim_folder(load_job(Path(job_file)))
    (tmp_path / "trained").rename(models)  # as the command leaves it
    pipeline.evaluate_models()
    assert any((folder / "evaluation.json").exists() for folder in (tmp_path / "my run").rglob("*"))
