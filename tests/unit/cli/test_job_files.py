"""The commands that need no experiment: schema, explain and examples."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.cli.completion import complete_setting
from ganaug_ray.config.examples import list_examples
from tests.conftest import environment


def call(*words: str) -> str:
    """Run a command, and return what it prints."""
    result = CliRunner().invoke(cli.app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_schema_is_printed_for_editors() -> None:
    """Each schema is JSON; the one of jobs is the default."""
    assert "gan" in json.loads(call("schema"))["properties"]
    assert "space" in json.loads(call("schema", "space"))["properties"]


def test_setting_is_explained_on_terminal() -> None:
    """A setting, a section, and a job's sections."""
    assert call("explain", "gan.filters").startswith("gan.filters: whole number, 4 to 512; default 32\n")
    assert "\nfilters: whole number" in call("explain", "gan")
    assert "\ngan: a section" in call("explain")


def test_examples_are_listed_and_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example has a line with what it is about; a copy comes with the command that takes it."""
    lines = call("examples").splitlines()
    assert [line.split()[0] for line in lines] == [path.stem for path in list_examples()]
    assert all(len(line.split()) > 6 for line in lines)
    offline = {line.split()[0] for line in lines if "$GANAUG_DATA" not in line}
    assert {"digits", "digits_long_tail", "mix"} <= offline
    assert not {"cats_dogs", "long_tail_alone", "partner"} & offline
    monkeypatch.chdir(tmp_path)
    assert "`ganaug run digits.yaml`" in call("examples", "copy", "digits")
    assert "`ganaug search gan JOB.yaml --space mine.yaml`" in call("examples", "copy", "gan", "--out", "mine.yaml")
    assert {path.name for path in tmp_path.iterdir()} == {"digits.yaml", "mine.yaml"}


def test_shell_completion_is_offered() -> None:
    """The shell's completion can be installed."""
    assert "--install-completion" in call("--help")


# As the shell asks for completions: with the words typed so far in variables of the environment.
COMPLETING = """
import sys
from ganaug_ray.__main__ import main

sys.argv = ["ganaug"]
try:
    main()
finally:
    print(*{"torch", "ray", "pyarrow", "ganaug_ray.config"} & set(sys.modules), file=sys.stderr)
"""


def complete(line: str, folder: Path, **variables: str) -> list[str]:
    """Return what a shell in a folder is offered for the last word of a line, at little cost."""
    words = line.split(" ")
    asked = environment(_GANAUG_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words) - 1), **variables)
    command = [sys.executable, "-c", COMPLETING]
    ended = subprocess.run(command, cwd=folder, env=asked, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "\n")
    return ended.stdout.split()


def test_settings_and_examples_are_completed(tmp_path: Path) -> None:
    """Settings are completed section by section, also those of what the user names."""
    assert complete("ganaug ex", tmp_path) == ["export", "explain", "examples"]
    assert complete("ganaug explain gan.fi", tmp_path) == ["gan.filters"]
    assert "classifier" in complete("ganaug explain c", tmp_path)
    assert complete("ganaug explain arms.rat", tmp_path) == ["arms.ratio"]
    assert complete("ganaug explain gan.none.x", tmp_path) == []
    assert complete("ganaug examples copy digits_l", tmp_path) == ["digits_long_tail"]
    assert set(complete("ganaug examples copy ", tmp_path)) == {path.stem for path in list_examples()}


def test_every_completed_setting_is_explained(tmp_path: Path) -> None:
    """What is offered is known to the command."""
    for section in ("", "gan.", "data.split.", "tracking.", "arms."):
        for key in complete_setting(section)[::20]:
            assert call("explain", key).startswith(f"{key}: ")


def test_experiments_are_completed(tmp_path: Path) -> None:
    """By name in runs/ or $GANAUG_HOME, and by folder where a command takes a model."""
    for name in ("digits", "dogs/first", "dogs/second"):
        (tmp_path / "runs" / name / "splits").mkdir(parents=True)
        (tmp_path / "runs" / name / "job.yaml").touch()
        (tmp_path / "runs" / name / "splits" / "job.yaml").touch()
    (tmp_path / "runs" / "notes").mkdir()
    assert complete("ganaug show d", tmp_path) == ["digits", "dogs/first", "dogs/second"]
    assert complete("ganaug diff digits dogs/s", tmp_path) == ["dogs/second"]
    assert complete("ganaug publish di", tmp_path) == ["digits"]
    assert complete("ganaug show f", tmp_path, GANAUG_HOME="runs/dogs") == ["first"]
    assert complete("ganaug show f", tmp_path, GANAUG_HOME="s3://bucket/runs") == []
    for verb in ("predict", "serve", "export", "share", "rollback"):
        assert complete(f"ganaug {verb} runs/di", tmp_path) == ["runs/digits"]
