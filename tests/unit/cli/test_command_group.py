"""The commands are found by their names; the help of all of them imports none."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from ganaug_ray import cli
from ganaug_ray.cli.command_group import OUTLINE
from tests.conftest import environment

MODULES = sorted({module for module, _ in OUTLINE.values()})


def test_outline_names_every_command() -> None:
    """Each command stands in the outline, under the module that has it."""
    for module in MODULES:
        commands = importlib.import_module(f"ganaug_ray.cli.{module}").COMMANDS
        assert commands.keys() == {name for name, entry in OUTLINE.items() if entry[0] == module}


@pytest.mark.parametrize("name", OUTLINE)
def test_every_command_explains_itself(name: str) -> None:
    """Each command is found by its name, and has a help of its own."""
    printed = CliRunner().invoke(cli.app, [name, "--help"], catch_exceptions=False, prog_name="ganaug").output
    assert printed.startswith(f"Usage: ganaug {name} ")
    assert printed.splitlines()[2].strip()


def test_help_builds_no_command() -> None:
    """The help lists every command on one uncut line, and imports the module of none."""
    code = "import sys; from ganaug_ray import cli; sys.argv = ['ganaug', '--help']\n"
    code += "try: cli.main()\nexcept SystemExit: print('|', *sys.modules)"
    command = [sys.executable, "-c", code]
    printed = subprocess.run(
        command, check=True, env=environment() | {"COLUMNS": "80"}, capture_output=True, text=True
    ).stdout
    help_text, _, imported = printed.rpartition("|")
    listed = [line.split()[0] for line in help_text.partition("Commands:")[2].splitlines() if line.strip()]
    assert listed == list(OUTLINE)
    assert "..." not in help_text.partition("Commands:")[2]
    assert not {f"ganaug_ray.cli.{module}" for module in MODULES} & set(imported.split())


def test_mistyped_command_gets_a_suggestion() -> None:
    """A name that is no command is refused with the one that was meant."""
    result = CliRunner().invoke(cli.app, ["exampels"])
    assert result.exit_code == 2
    assert "Did you mean 'examples'?" in result.output
