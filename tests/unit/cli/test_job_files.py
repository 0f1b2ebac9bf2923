"""The commands that need no experiment: schema, explain and examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.config.examples import list_examples


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
