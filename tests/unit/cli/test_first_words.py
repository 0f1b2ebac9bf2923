"""Every command that works for long shows so before it loads torch or Ray, which takes seconds."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from ganaug_ray.core.experiment_dir import Run
from tests.conftest import DIGITS, PATIENCE, environment

# What loads torch or Ray waits for a line; the test sends none, as it has to see something shown by then.
COMMAND_BEFORE_HEAVY_IMPORTS = """
import sys
from importlib.machinery import ModuleSpec

class Gate:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name in ("torch", "ray") else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        sys.stdin.readline()

sys.meta_path.insert(0, Gate())
from ganaug_ray.__main__ import main
main()
"""


@contextmanager
def type_command(*words: str, folder: Path) -> Iterator[pexpect.spawn]:
    """Type a command on a pseudo-terminal, in a folder."""
    child = pexpect.spawn(
        sys.executable, ["-c", COMMAND_BEFORE_HEAVY_IMPORTS, *words], cwd=str(folder), encoding="utf-8",
        env=environment(TERM="xterm-256color"), dimensions=(30, 100), timeout=PATIENCE,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.close(force=True)


@pytest.fixture(scope="module")
def folder(experiment: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of a finished experiment, and a picture."""
    folder = tmp_path_factory.mktemp("typed")
    shutil.copytree(str(experiment.root), folder / "tiny")
    shutil.copy(next((folder / "tiny/gan/samples").glob("*.png")), folder / "picture.png")
    return folder


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        (f"run {DIGITS} --out new", "plan|prepare"),
        (f"run {DIGITS} --out new --dry-run", "plan"),
        ("run sklearn:digits --out other", "plan"),
        (f"prepare {DIGITS} --out new", "plan|prepare"),
        (f"search classifier {DIGITS} --out new", "search"),
        ("evaluate tiny/job.yaml --out tiny --data sklearn:digits", "evaluate"),
        ("predict tiny picture.png --out answers.csv", "predict"),
        ("serve tiny --port 18437", "serve"),
        ("export tiny --out model.onnx", "export"),
        ("generate tiny --count 3=1 --png pictures", "generate"),
        ("share tiny --out pack", "share"),
        ("publish tiny published", "publish"),
    ],
)
def test_something_moves_before_torch_is_loaded(folder: Path, command: str, stage: str) -> None:
    """The name of the stage and its bar are drawn at once, whatever is loaded then."""
    with type_command(*command.split(), folder=folder) as child:
        child.expect(rf"({stage}) .*0 %")
