"""The commands that list, show and compare experiments."""

from __future__ import annotations

import re
import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.config import Job
from ganaug_ray.config.loader import dump_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError


@pytest.fixture
def home(experiment: Run, tiny_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder runs/ with a finished experiment, one that has just begun with another rate, and something else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GANAUG_HOME", raising=False)
    (tmp_path / "runs" / "ours").mkdir(parents=True)
    (tmp_path / "runs" / "ours" / "tiny").symlink_to(str(experiment.root))
    (tmp_path / "runs" / "other").mkdir()
    job = tiny_job.model_copy(update={"gan": tiny_job.gan.model_copy(update={"lr": 1e-5})})
    (tmp_path / "runs" / "other" / "job.yaml").write_text(dump_job(job))
    (tmp_path / "runs" / "notes").mkdir()
    return tmp_path / "runs"


def call(*words: str) -> str:
    result = CliRunner().invoke(cli.app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_experiments_are_listed_newest_first(home: Path, experiment: Run) -> None:
    """Each has its name, time, verdict, figures and champion; one without a verdict says how far it is."""
    head, *rows = call("ls").splitlines()
    assert head.split() == ["NAME", "WHEN", "VERDICT", "FIGURES", "CHAMPION"]
    assert [row.split()[0] for row in rows] == ["other", "ours/tiny"]
    assert rows[0].endswith("begun")
    verdict = experiment.root.read_json("verdict.json")
    figures = [100 * verdict["arms"][arm]["mean"]["accuracy"] for arm in ("real+classic", "real+classic+synthetic")]
    assert f"accuracy {figures[0]:.1f} % → {figures[1]:.1f} %" in rows[1]
    assert verdict["verdict"] in rows[1]
    assert rows[1].endswith("version 1")
    assert call("ls", str(home / "notes")) == f"{home / 'notes'}: there is no experiment in it\n"


def test_experiment_is_shown_and_its_page_opened(home: Path, experiment: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer, the champion and the paths; the page opens where there is one."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    text = call("show", "ours/tiny", "--open")
    verdict = experiment.root.read_json("verdict.json")
    assert f"{verdict['sentence']} {verdict['action']}" in text
    assert f"page        {home}/ours/tiny/report.html" in text
    assert opened == [f"file://{home}/ours/tiny/report.html"]
    assert "begun; `ganaug run" in call("show", str(home / "other"))
    with pytest.raises(UserError, match="has no page yet"):
        call("show", "other", "--open")
    with pytest.raises(UserError, match="ganaug ls"):
        call("show", "nothing")


def test_differences_of_experiments_are_listed(home: Path) -> None:
    """Settings and figures in which two experiments differ, with both values; of the same one nothing."""
    lines = call("diff", "ours/tiny", "other").splitlines()
    assert ["gan.lr", "–", "1.0e-05"] in [line.split() for line in lines]
    assert any(line.startswith("verdict ") and line.endswith("–") for line in lines)
    assert any(re.match(r"GAN's (conditional )?KID against (validation|training) images  ", line) for line in lines)
    assert not any(line.startswith("gan.steps") for line in lines)
    assert call("diff", "other", "other") == "no difference\n"


def test_unfinished_experiment_names_its_last_stage(home: Path) -> None:
    """Before there is a verdict, an experiment says which stage was done or failed last."""
    folder = Folder.from_uri(home / "other")
    stages = {"dataset": {}, "gan": {}, "splits/1/models/real+classic/seed-0": {}}
    folder.write_json("run.json", {"stages": stages, "versions": {}})
    assert "train done" in call("ls")
    Run(folder).note_failure("train-gan", "diverged")
    assert "train-gan failed" in call("ls")
