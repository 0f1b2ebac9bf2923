"""Ctrl-C and SIGTERM from the first import on: a line, no traceback, and the exit code of the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DIGITS, ROOT, environment

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def run_with_module(folder: Path, name: str, text: str, *arguments: str) -> tuple[int, str]:
    """Run ganaug with a module of that name in place of the real one; return its exit code and its complaint."""
    (folder / f"{name}.py").write_text(f"import os, signal\n{text}\n")
    path = os.pathsep.join([str(folder), str(ROOT)])
    command = [sys.executable, "-m", "ganaug_ray", *arguments]
    child = subprocess.run(command, cwd=folder, env=environment(PYTHONPATH=path), capture_output=True, text=True)
    return child.returncode, child.stderr


@pytest.mark.parametrize("number", SIGNALS)
def test_interrupt_of_imports_is_short(tmp_path: Path, number: signal.Signals) -> None:
    """While the command line is imported, an interrupt ends the process at once."""
    text = f"os.kill(os.getpid(), {int(number)})"
    assert run_with_module(tmp_path, "typer", text, "--help") == (128 + number, "interrupted; nothing was begun\n")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "text",
    [
        'exec("os.kill(os.getpid(), {number})")',
        "try:\n    os.kill(os.getpid(), {number})\nexcept BaseException:\n    raise ImportError('it broke') from None",
    ],
    ids=["within exec", "taken for another error"],
)
def test_interrupted_command_has_signals_code(tmp_path: Path, number: signal.Signals, text: str) -> None:
    """A command's own imports are interrupted as well, whatever libraries and Python make of it."""
    found = run_with_module(tmp_path, "yaml", text.format(number=int(number)), "run", str(DIGITS), "--dry-run")
    assert found == (128 + number, "interrupted\n")


def test_ignored_interrupts_stay_ignored(tmp_path: Path) -> None:
    """A command that a shell has started in the background does not end by a Ctrl-C for another one."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code, _ = run_with_module(tmp_path, "yaml", "os.kill(os.getpid(), 2); raise SystemExit(7)", "run", str(DIGITS))
    finally:
        signal.signal(signal.SIGINT, handler)
    assert code == 7
