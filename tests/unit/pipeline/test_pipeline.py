"""Which stages a job has, without Ray: the work of each is replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.config import CompareConfig, Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.pipeline import dry_run
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.training_time import TrainingTime
from tests.conftest import DIGITS, TINY

UNCONDITIONAL = ["gan.conditional=false", "arms={}", "augment.ratio=0"]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the stages that were called."""
    names: list[str] = []
    stages = [
        "prepare_data",
        "import_sources",
        "train_gan",
        "generate_images",
        "train_classifiers",
        "compare_arms",
        "build_report",
    ]
    for name in (*stages, "promote_champion"):
        monkeypatch.setattr(Pipeline, name, lambda self, name=name, **named: names.append(name))
    return names


@pytest.mark.parametrize(
    ("settings", "gan"),
    [
        ([], ["train_gan", "generate_images"]),
        (["arms={}", "augment.ratio=0"], []),
        (UNCONDITIONAL, ["train_gan"]),
        (["arms={}", "augment.images=made"], ["generate_images"]),
        (["arms={live: {}}", "augment.images=made"], ["import_sources", "train_gan", "generate_images"]),
        (["arms={transfer: {}}", "augment.generator=pack"], ["generate_images"]),
    ],
    ids=[
        "an arm needs it",
        "nobody needs it",
        "for its own sake",
        "images are there",
        "beside images that are there",
        "a generator is there",
    ],
)
def test_run_trains_gan_only_if_needed(called: list[str], tmp_path: Path, settings: list[str], gan: list[str]) -> None:
    """A run trains a GAN where an arm needs one or the GAN is unconditional, and else leaves it out."""
    Pipeline(load_job(DIGITS, settings), Run(Folder.from_uri(tmp_path)), Terminal()).run_all()
    assert called == ["prepare_data", *gan, "train_classifiers", "compare_arms", "build_report", "promote_champion"]


def test_run_says_its_plan_first(called: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many trainings a comparison takes is said before any of them."""
    Pipeline(load_job(DIGITS), Run(Folder.from_uri(tmp_path)), Terminal()).run_all()
    assert "1 split with 3 seeds: 9 classifiers, 1 GAN" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "words"), [(599, ""), (840, "it took 14 minutes instead of 10 minutes")])
def test_run_beyond_its_minutes_says_so(
    called: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, seconds: float, words: str
) -> None:
    """A run that takes longer than its minutes does all its stages, and says at the end how long it took."""
    clock = SimpleNamespace(monotonic=iter((0.0, seconds)).__next__)
    monkeypatch.setattr("ganaug_ray.pipeline.pipeline.time", clock)
    job = load_job(DIGITS)
    job = job.model_copy(update={"compare": job.compare.model_copy(update={"budget_minutes": 10.0})})
    Pipeline(job, Run(Folder.from_uri(tmp_path)), Terminal()).run_all()
    assert called[-1] == "promote_champion"
    last = capsys.readouterr().out.strip().splitlines()[-1]
    assert ("instead of" in last) == bool(words)
    assert words in last


def test_dry_run_describes_planned_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run describes the GAN, the arms and the workers of the run that it stands for."""
    monkeypatch.setattr(JobFacts, "time", TrainingTime(1.0, 1.0))

    def lines(settings: list[str]) -> str:
        text = dry_run.describe_job(load_job(DIGITS, [*TINY, *settings]), Run(Folder.from_uri(tmp_path)))
        return "\n".join(
            line for line in text.splitlines() if line.startswith(("GAN", "real+classic+synthetic", "classifiers"))
        )

    both = lines([])
    assert "6 generator steps, 96 images seen (1 epoch), 1 worker" in both
    assert re.search(r"\breal\+classic\+synthetic synthetic, 100 images .*\b10 classes\b.*: 8 .*\b64 ", both)
    assert "2 trainings of 8 steps, batches of 16 real images" in lines(["augment.ratio=0", "arms={}"])
    long = ["augment.ratio=0", "arms={}", "compare.seeds=1", "classifier.steps=1200"]
    assert "1 training of 1,200 steps, batches of 16 real images" in lines(long)
    alone = lines(UNCONDITIONAL)
    assert "6 generator steps, 96 images seen (1 epoch), 1 worker, without classes" in alone
    assert "synthetic" not in alone
    assert "GAN" not in lines(["augment.ratio=0"])


def test_generate_without_classes_suggests_command(tmp_path: Path) -> None:
    """Generating for a job without classes is refused with the command that draws images without classes."""
    pipeline = Pipeline(load_job(DIGITS, UNCONDITIONAL), Run(Folder.from_uri(tmp_path)), Terminal())
    with pytest.raises(UserError, match=r"without classes.*ganaug generate .* --count any=100 --png DIR"):
        pipeline.generate_images()


@pytest.fixture
def reported(experiment: Run, tiny_job: Job) -> Iterator[Any]:
    """Ask a finished experiment for its report; True if it was drawn again. It is put back at the end."""
    before = {name: experiment.root.read_bytes(name) for name in ("report.json", "report.html")}

    def ask(job: Job = tiny_job) -> bool:
        experiment.root.write_bytes("report.html", b"untouched")
        Pipeline(job, experiment, Terminal()).build_report()
        return experiment.root.read_bytes("report.html") != b"untouched"

    yield ask
    for name, content in before.items():
        experiment.root.write_bytes(name, content)


def test_report_rebuilds_when_content_changes(experiment: Run, tiny_job: Job, reported: Any) -> None:
    """A report is built again only when something that it shows has changed, or when it is gone."""
    assert not reported()
    published = {"source": "elsewhere", "loss_g": 4.0}
    other = Job.model_validate(tiny_job.model_dump() | {"published": published})
    assert reported(other)
    assert not reported(other)
    assert reported()
    experiment.root.delete_file("report.html")
    Pipeline(tiny_job, experiment, Terminal()).build_report()
    assert experiment.root.has_file("report.html")
    experiment.claim_folder(other)  # it shapes nothing: the folder takes it
    experiment.claim_folder(tiny_job)


def test_old_folders_kept_the_best(tiny_job: Job, experiment: Run, tmp_path: Path) -> None:
    """A folder from before classifier.keep kept the best look: a job goes on in it only if it says so too."""
    run = Run(Folder.from_uri(tmp_path))
    old = yaml.safe_load(experiment.root.read_bytes("job.yaml"))
    del old["classifier"]["keep"]
    old["classifier"]["ema_half_life"] = 0
    run.root.write_bytes("job.yaml", yaml.safe_dump(old).encode())
    run.locate_model("real+classic", 0).write_json("model.json", {})
    with pytest.raises(UserError, match=r"classifier\.keep\b.*\bbest\b.*\bauto\b"):
        run.claim_folder(tiny_job)
    run.claim_folder(load_job(DIGITS, [*TINY, "classifier.keep=best", "classifier.ema_half_life=0"]))


def test_dry_run_refuses_what_a_run_would(experiment: Run, tiny_job: Job) -> None:
    """A folder with finished stages of other settings is refused before it is described."""
    job = ["run", str(experiment.root / "job.yaml"), "--out", str(experiment.root), "--dry-run"]
    assert CliRunner().invoke(cli.app, job, catch_exceptions=False).exit_code == 0
    with pytest.raises(UserError, match=r"belongs to another job; give another --out\ngan\.lr is"):
        CliRunner().invoke(cli.app, [*job, "--set", "gan.lr=1e-3"], catch_exceptions=False)


def test_metric_without_a_rare_class_is_refused(experiment: Run, tiny_job: Job) -> None:
    """A metric of rare classes is refused where none is rare, by a dry run and before anything is trained."""
    compare = tiny_job.compare.model_copy(update={"metric": "rare_f1"})
    job = tiny_job.model_copy(update={"compare": compare})
    with pytest.raises(UserError, match=r"compare\.metric rare_f1: no class is rare, .*; (macro_f1) lets") as caught:
        Pipeline(job, experiment, Terminal()).prepare_data()
    advised = {"metric": str(caught.value).rpartition("; ")[2].split()[0]}
    followed = job.model_copy(update={"compare": CompareConfig.model_validate(compare.model_dump() | advised)})
    Pipeline(followed, experiment, Terminal()).prepare_data()
    with pytest.raises(UserError, match=r"compare\.metric rare_f1"):
        dry_run.describe_job(job, experiment)
