"""How the process of a command ends: without a search through all objects, and without a library's last words."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.conftest import environment

# What ends after the command is told first, and is called when the command has left the process to the interpreter.
COMMAND = """
import atexit, gc, os, sys
from ganaug_ray import __main__, cli

atexit.register(lambda: os.write(2, b"leaked 3 instances"))
atexit.register(lambda: os.write(1, b"%d objects left alone" % gc.get_freeze_count()))
if sys.argv[1] == "fail":
    sys.argv[1:], cli.main = [], lambda: 1 / 0
__main__.main()
"""


def end(argument: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", COMMAND, argument], env=environment(), capture_output=True, text=True)


def test_objects_are_left_alone_at_the_end() -> None:
    """The interpreter does not go through what torch and Ray have made, which would take seconds without a word."""
    ended = end("--version")
    assert (ended.returncode, ended.stderr) == (0, "")
    version, _, count = ended.stdout.partition(os.linesep)
    assert version.startswith("ganaug ")
    assert int(count.removesuffix(" objects left alone")) > 1000


def test_errors_are_shown_and_last_words_are_not() -> None:
    """An error of our own ends with its traceback; what libraries write to standard error after it is not shown."""
    ended = end("fail")
    assert ended.returncode == 1
    assert ended.stderr.strip().endswith("ZeroDivisionError: division by zero")
