"""A terminal that is not UTF-8 gets replaced characters, and never an error."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from ganaug_ray import cli
from ganaug_ray.cli.command_group import OUTLINE
from ganaug_ray.core.console import Terminal


def run_on_terminal(encoding: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[object, str]:
    """Run the command line on a terminal of that encoding; return its exit code and all that it printed."""
    sinks = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sinks[0], encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(sinks[1], encoding=encoding))
    monkeypatch.setattr(sys, "argv", ["ganaug", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    sys.stdout.flush()
    sys.stderr.flush()
    return ended.value.code, "".join(sink.getvalue().decode(encoding) for sink in sinks)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_help_prints_on_any_terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb prints its help on a terminal that lacks some of its characters."""
    for verb in OUTLINE:
        code, printed = run_on_terminal(encoding, [verb, "--help"], monkeypatch)
        assert code == 0, verb
        assert "Usage" in printed


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_messages_and_stage_lines_are_replaced(encoding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Characters that a terminal lacks become question marks, in messages and in the lines of stages."""
    code, printed = run_on_terminal(encoding, ["run", str(tmp_path / "Kätzchen猫.yaml"), "--dry-run"], monkeypatch)
    assert code == 2
    assert "tzchen?.yaml: " in printed
    assert "no such" in printed
    sink = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sink, encoding=encoding, errors="replace"))
    Terminal().print_stage_line("prepare", "done", "40 × 猫")
    sys.stdout.flush()
    assert "?" in sink.getvalue().decode(encoding)
