"""Comparing models: the same data and seeds for each, figures of their own predictions, and a conclusion by a rule."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from ganaug_ray import cli
from ganaug_ray.classify import compared_models, train_worker
from ganaug_ray.classify import launch as training
from ganaug_ray.classify.train_worker import ClassifierTraining
from ganaug_ray.config import Job
from ganaug_ray.config.loader import dump_job, load_job
from ganaug_ray.core import experiment_dir
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.evaluate import metrics
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.stage import StageContext
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.verdict import model_comparison
from ganaug_ray.verdict.verdict import compare_arms
from tests.conftest import DIGITS, JOBS, TINY
from tests.helpers import records
from tests.unit.report.test_report import Page
from tests.unit.verdict.test_compare import arm

SMALL = "models={cnn: {}, small: {arch: 'timm:test_resnet', input_size: 32, lr: 1.0e-3}}"


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[ClassifierTraining]:
    """Train in this process rather than on Ray; what was trained."""
    trained: list[ClassifierTraining] = []

    def train(fits: list[ClassifierTraining], resident_gb: float, *_: object) -> None:
        for fit in fits:
            train_worker.train_and_finish(fit, Place())
            trained.append(fit)

    monkeypatch.setattr(training, "train_classifiers", train)
    monkeypatch.setattr(StageContext, "connect_cluster", lambda self: Hardware.of_one_machine(2))
    return trained


def test_compared_models_are_trained_and_reported(
    experiment: Run, tmp_path: Path, in_process: list[ClassifierTraining], capfd
) -> None:
    """Compared models are trained with the same data and seeds, measured, and shown in the report."""
    shutil.copytree(str(experiment.root), tmp_path / "run", symlinks=True)
    run, job = Run(Folder.from_uri(tmp_path / "run")), load_job(DIGITS, [*TINY, SMALL])
    Pipeline(job, run, Terminal()).reach_model_comparison()
    assert [(fit.arm, fit.seed) for fit in in_process] == [("cnn", 0), ("cnn", 1), ("small", 0), ("small", 1)]
    record = run.root.read_json("board.json")
    assert record["baseline"] == "cnn"
    for row in record["models"]:
        for seed in range(2):
            folder = run.board / row["model"] / f"seed-{seed}"
            labels, probabilities = metrics.read_split(folder.read_table("predictions.parquet"), "test")
            assert row["accuracy"]["seeds"][seed] == pytest.approx((probabilities.argmax(1) == labels).mean())
        assert row["parameters"] == folder.read_json("model.json")["parameters"]
        assert row["train_images_per_second"] > 0
        assert row["predict_images_per_second"] > 0
    # The base CNN is the real arm's classifier: same batches, steps and seeds give the same weights.
    assert record["inputs"]["cnn/seed-1"] == experiment.locate_model("real+classic", 1).read_json("model.json")["hash"]
    assert record["models"][0]["reached"]["seeds"] == 2
    page = Page(run.root.read_bytes("report.html").decode())
    assert record["sentence"] in page.text
    assert "timm:test_resnet" in page.text
    assert any("Test accuracy over seconds" in (attributes.get("aria-label") or "") for _, attributes in page.tags)

    capfd.readouterr()
    Pipeline(job, run, Terminal()).reach_model_comparison()
    assert "compare-models kept" in capfd.readouterr().out
    other = load_job(DIGITS, [*TINY, SMALL, "models.small.lr=2e-3"])
    Pipeline(other, run, Terminal()).reach_model_comparison()
    assert [(fit.arm, fit.seed) for fit in in_process[4:]] == [("small", 0), ("small", 1)], "only what has changed"


def test_compared_model_inherits_classifier_settings(tmp_path: Path) -> None:
    """A compared model inherits the classifier's settings except network, weights and its own values."""
    text = """
data: {source: sklearn:digits}
gan: {steps: 1}
classifier: {epochs: 3, arch: "timm:test_resnet", weights: a.pth, batch_size: 32, flip: false}
models: {cnn: {}, b: {arch: "timm:test_resnet", weights: w/b.pth, steps: 7}}
"""
    (tmp_path / "job.yaml").write_text(text)
    job = load_job(tmp_path / "job.yaml")
    cnn, other = job.models["cnn"], job.models["b"]
    assert (cnn.arch, cnn.weights, cnn.epochs, cnn.batch_size, cnn.flip) == ("cnn", None, 3, 32, False)
    assert (other.weights, other.steps, other.epochs, other.batch_size) == (f"{tmp_path}/w/b.pth", 7, None, 32)
    (tmp_path / "again.yaml").write_text(dump_job(job))
    assert load_job(tmp_path / "again.yaml") == job


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("models.a.archh=cnn", "models.a.archh: unknown key; did you mean arch?"),
        ("models.a.arch=timm:resnetv2_5", "models.a.arch: timm has no network 'resnetv2_5'"),
        ("models={a: {}}", "models: found a alone, expected two models or more"),
        ("models.a.patience=3", "models that are compared run all steps"),
        ("models={a: {}, ../b: {}}", "models.../b"),
        (None, "models: the job has no such section"),
    ],
)
def test_invalid_models_name_setting(
    setting: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    """A mistake in the section models ends with exit code 2 and names the setting."""
    out = tmp_path / "out"
    both = ["--set", "models={a: {}, b: {}}"] if setting and setting.startswith("models.") else []
    asked = [*both, "--set", setting] if setting else []
    monkeypatch.setattr(sys, "argv", ["ganaug", "compare-models", str(DIGITS), "--out", str(out), *asked])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    error = capfd.readouterr().err
    assert words in error
    assert len(error.splitlines()) <= 2
    assert not (out / "dataset").exists()


def test_missing_weights_name_the_model(digits: Folder, tmp_path: Path) -> None:
    """A missing file of weights is an error that names the model."""
    run = Run(Folder.from_uri(tmp_path / "run").create())
    (tmp_path / "run" / "dataset").symlink_to(str(digits))
    job = load_job(DIGITS, [*TINY, SMALL, "models.small.weights=/nowhere/x.pth"])
    with pytest.raises(UserError, match=r"^models\.small\.weights /nowhere/x\.pth: .*no such file"):
        compared_models.prepare_weights(job, run, "small")


def test_catch_up_time_follows_baseline_best(tmp_path: Path) -> None:
    """The catch-up time is the first evaluation that is as good as the baseline's best of the same seed."""
    logs = [
        [{"step": 5, "loss": 1.0}, {"step": 10, "val_accuracy": 0.5}, {"step": 20, "val_accuracy": 0.8}],
        [{"step": 10, "val_accuracy": 0.6}, {"step": 20, "val_accuracy": 0.666667}],
    ]
    models = [
        records.write_model((Folder.from_uri(tmp_path) / str(seconds)).create(), train_seconds=seconds, steps=20)
        for seconds in (4.0, 8.0)
    ]
    both = model_comparison.measure_catch_up(logs, [0.5, 2 / 3], models)
    assert both == {"seeds": 2, "steps": 15.0, "seconds": pytest.approx((2.0 + 8.0) / 2)}
    assert model_comparison.measure_catch_up(logs, [0.5, 0.9], models) == {"seeds": 1, "steps": 10.0, "seconds": 2.0}
    assert model_comparison.measure_catch_up(logs, [0.9, 0.9], models) == {"seeds": 0, "steps": None, "seconds": None}


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ([0.9, 0.91, 0.92], "deep is better than cnn: +11.0 points in test accuracy (95 % interval"),
        ([0.7, 0.71, 0.69], "cnn is better than every other model; deep comes nearest, with -10.0 points"),
        ([0.9, 0.7, 0.8], "No model is clearly better than cnn; deep comes nearest, with +0.0 points"),
        ([0.9], "Not enough repeats: deep against cnn is +10.0 points in test accuracy"),
    ],
)
def test_comparison_sentence_follows_interval(ours: list[float], words: str) -> None:
    """The conclusion about the models follows from where the confidence interval lies."""
    base = [0.8, 0.795, 0.805][: len(ours)]
    found = compare_arms("deep", "cnn", arm(ours), arm(base), "accuracy")
    rows: list[dict[str, Any]] = [{"model": "cnn", "train_seconds": 2.0}, {"model": "deep", "train_seconds": 5.0}]
    said = model_comparison.describe_comparison([found], rows)
    assert words in said
    assert "2.5 times the training time" in said


def test_many_models_need_larger_gain() -> None:
    """The best of many models needs a clearer gain than a single one that is compared."""
    base, nearly = arm([0.8, 0.795, 0.805]), arm([0.83, 0.86, 0.86])
    (one,) = model_comparison.compare_with_first({"cnn": base, "deep": nearly}, "accuracy")
    many = model_comparison.compare_with_first({"cnn": base, **{f"deep{i}": nearly for i in range(6)}}, "accuracy")
    assert (one.verdict, {each.verdict for each in many}) == ("helped", {"unclear"})


def test_shipped_job_compares_three_networks() -> None:
    """The job that is shipped compares the base network, a ResNet and an Inception network."""
    job: Job = load_job(JOBS / "compare_models.yaml")
    assert [model.arch for model in job.models.values()] == ["cnn", "timm:resnetv2_50", "timm:inception_v3"]
    assert experiment_dir.compute_fingerprint(job.models["cnn"].model_dump()) == experiment_dir.compute_fingerprint(
        job.classifier.model_dump()
    )
