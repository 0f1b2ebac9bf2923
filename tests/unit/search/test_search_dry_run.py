"""What a search would do, said without doing it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.pipeline.job_facts import JobFacts
from ganaug_ray.pipeline.training_time import TrainingTime
from ganaug_ray.runtime import hardware
from ganaug_ray.search.dry_run import describe_search
from ganaug_ray.search.search_space import SearchKind, load_space
from tests.conftest import DIGITS, TINY


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores, classifiers of a minute and GANs of two, and nothing around them."""
    monkeypatch.setattr(JobFacts, "time", TrainingTime(60.0, 120.0))
    monkeypatch.setattr(hardware, "count_usable_cores", lambda: 2)
    for name in ("FIT_S", "PROCESSES_START_S"):
        monkeypatch.setattr(f"ganaug_ray.search.dry_run.{name}", 0.0)
    monkeypatch.setattr("ganaug_ray.search.dry_run.SIDE_BY_SIDE_FACTOR", 1.0)


def describe(kind: SearchKind, job: Job, run: Run, tmp_path, space: str, **search: object) -> dict[str, str]:
    job = job.model_copy(update={"search": job.search.model_copy(update=search)})
    file = tmp_path / "space.yaml"
    file.write_text(f"space: {space}\n")
    text = describe_search(job, run, JobFacts(job), load_space(file, kind, job))
    return {line[:12].strip(): line[13:] for line in text.splitlines()}


def test_trials_and_minutes_are_told(known: None, tiny_job: Job, experiment: Run, tmp_path) -> None:
    """Of a finished experiment only the trials take time: all of them, and the one without synthetic images."""
    space = "{augment.ratio: {choice: [0.25, 0.5]}}"
    lines = describe("mix", tiny_job, experiment, tmp_path, space, trials=7, seeds=2, stop_early=False)
    assert lines["searched"] == "augment.ratio"
    assert lines["trials"] == "7 trials, and one without synthetic images; 2 at a time"
    assert lines["a trial"] == "2 classifiers of 8 steps: about 2 minutes"
    assert lines["time"] == "about 8 minutes on this machine", "eight trials of two minutes, two at a time"
    space = "{gan.lr: {log_uniform: [1.0e-4, 1.0e-3]}}"
    lines = describe("gan", tiny_job, experiment, tmp_path, space, trials=4, stop_early=True)
    assert lines["a trial"] == "a GAN of 6 steps: about 2 minutes"
    assert lines["time"] == "about 4 minutes on this machine; less where trials are stopped early"
    lines = describe("gan", tiny_job, experiment, tmp_path, space, hours=2.0)
    assert (lines["trials"], lines["time"]) == (
        "as many as 2 hours allow; 2 at a time",
        "about 2.0 hours on this machine",
    )


def test_stages_before_the_trials_count(known: None, tmp_path) -> None:
    """A new experiment's data, teacher and GAN come first; nothing is written."""
    settings = [f"--set={one}" for one in TINY]
    out = tmp_path / "out"
    words = ["search", "mix", str(DIGITS), "--out", str(out), "--dry-run", *settings]
    result = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert "of it for prepare, teach, train-gan" in " ".join(result.output.split())
    assert not out.exists()
