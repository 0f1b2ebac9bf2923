"""Every command that works for long shows that it does, before and while it loads torch or Ray, lists and downloads."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from ganaug_ray.core.experiment_dir import Run
from tests.conftest import DIGITS, PATIENCE, environment

# What takes long says so on the terminal and waits for a line; the test sends none before it has seen a bar move.
WAITING = """
import sys

def wait(*arguments):
    with open("/dev/tty", "w") as screen:
        screen.write("<waiting>")
    sys.stdin.readline()
"""

COMMAND_BEFORE_HEAVY_IMPORTS = f"""{WAITING}
from importlib.machinery import ModuleSpec

class Gate:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name in ("torch", "ray", "huggingface_hub") else None

    def create_module(self, spec):
        return None

    exec_module = wait

sys.meta_path.insert(0, Gate())
from ganaug_ray.__main__ import main
main()
"""

COMMAND_BEFORE_LISTING = f"""{WAITING}
from ganaug_ray.data import sources

sources.list_parts = wait
from ganaug_ray.__main__ import main
main()
"""

SERVICE_THAT_ENDS = f"""{WAITING}
from contextlib import nullcontext
from types import SimpleNamespace
from ganaug_ray.serve import launch, serve_config

ignore = lambda *arguments, **options: None
sys.modules["ganaug_ray.runtime.cluster"] = SimpleNamespace(
    start_private=ignore, disconnect=ignore, kill_stuck_ray=nullcontext
)
serve_config.start_serve, serve_config.stop_serve = ignore, wait
launch._serve_until_interrupted(
    SimpleNamespace(max_replicas=1, cpus=1, gpus=0), serve_config.ListenAddress(), verbose=False
)
"""


@contextmanager
def type_command(*words: str, folder: Path, script: str = COMMAND_BEFORE_HEAVY_IMPORTS) -> Iterator[pexpect.spawn]:
    """Type a command on a pseudo-terminal, in a folder."""
    child = pexpect.spawn(
        sys.executable, ["-c", script, *words], cwd=str(folder), encoding="utf-8",
        env=environment(TERM="xterm-256color"), dimensions=(30, 100), timeout=PATIENCE,
    )  # fmt: skip
    try:
        yield child
    finally:
        child.close(force=True)


@pytest.fixture(scope="module")
def folder(experiment: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of a finished experiment, a picture, and a folder of pictures."""
    folder = tmp_path_factory.mktemp("typed")
    shutil.copytree(str(experiment.root), folder / "tiny")
    picture = next((folder / "tiny/gan/samples").glob("*.png"))
    shutil.copy(picture, folder / "picture.png")
    for label in ("cat", "dog"):
        (folder / "pets" / label).mkdir(parents=True)
        shutil.copy(picture, folder / "pets" / label)
    shutil.copy(DIGITS, folder / "digits.yaml")
    return folder


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        (f"run {DIGITS} --out new", "plan"),
        (f"run {DIGITS} --out new --dry-run", "plan"),
        ("run sklearn:digits --out other", "plan"),
        (f"run {DIGITS} --out new --set classifier.arch=torchvision:resnet18", "plan"),
        (f"run {DIGITS} --out new --set classifier.arch=timm:resnet18 --settings", "plan"),
        (f"run {DIGITS} --out new --set data.source=hf:owner/name", "prepare"),
        ("run hf:owner/name --out new", "plan"),
        ("run hf:owner/name --out new --set classifier.arch=torchvision:resnet18", "plan"),
        ("init hf:owner/name --out hub.yaml", "plan"),
        ("init sklearn:digits --out job.yaml --set classifier.arch=torchvision:resnet18", "plan"),
        ("train tiny/job.yaml --out tiny --set classifier.arch=torchvision:resnet18", "plan"),
        ("compare tiny/job.yaml --out tiny --set classifier.arch=torchvision:resnet18", "plan"),
        ("report tiny/job.yaml --out tiny --set classifier.arch=torchvision:resnet18", "plan"),
        (f"search classifier {DIGITS} --out new", "search"),
        (f"search classifier {DIGITS} --out new --set classifier.arch=torchvision:resnet18", "search"),
        ("evaluate tiny/job.yaml --out tiny --data sklearn:digits", "evaluate"),
        ("predict tiny picture.png --out answers.csv", "predict"),
        ("serve tiny --port 18437", "serve"),
        ("export tiny --out model.onnx", "export"),
        ("generate tiny --count 3=1 --png pictures", "generate"),
        ("share tiny --out pack", "share"),
        ("publish tiny published", "publish"),
        ("submit digits.yaml --address http://127.0.0.1:1 --out /shared/out", "submit"),
        ("jobs --address http://127.0.0.1:1", "jobs"),
        ("stop raysubmit_1 --address http://127.0.0.1:1", "stop"),
    ],
)
def test_bar_moves_while_libraries_are_loaded(folder: Path, tmp_path: Path, command: str, stage: str) -> None:
    """A bar with the name of the stage is drawn while torch or Ray is imported, or a data set is asked for."""
    words = [str(tmp_path) if word == "new" else word for word in command.split()]
    with type_command(*words, folder=folder) as child:
        child.expect("<waiting>")
        child.expect(rf"{stage} .* \d+ %")


@pytest.mark.parametrize("command", ["run pets", "init pets --out job.yaml", "run pets.yaml", "prepare pets.yaml"])
def test_bar_moves_while_sources_are_listed(folder: Path, command: str) -> None:
    """A bar is drawn while the files of a large folder are found."""
    (folder / "pets.yaml").write_text("data: {source: pets, image_size: 32}\n")
    with type_command(*command.split(), folder=folder, script=COMMAND_BEFORE_LISTING) as child:
        child.expect("<waiting>")
        child.expect(r"plan .* 0 % .*finding the images")


def test_interrupt_while_a_bar_is_drawn_ends_the_command(folder: Path) -> None:
    """Ctrl-C ends a command that loads a library beside its bar, with the exit code of Ctrl-C and no traceback."""
    command = f"run {DIGITS} --out other --set classifier.arch=torchvision:resnet18"
    with type_command(*command.split(), folder=folder) as child:
        child.expect("<waiting>")
        child.expect(r"plan .* 0 %")
        child.sendintr()
        child.expect("interrupted")
        child.expect(pexpect.EOF)
        assert "Traceback" not in child.before
        child.close()
        assert os.waitstatus_to_exitcode(child.status) == 130


def test_bar_moves_while_a_service_ends(folder: Path) -> None:
    """After Ctrl-C a bar is drawn until the replicas and Ray have ended."""
    with type_command(folder=folder, script=SERVICE_THAT_ENDS) as child:
        child.expect("ready")
        child.sendintr()
        child.expect("<waiting>")
        child.expect("serve .* 100 % .*stopping")
        child.sendline()
        child.expect(pexpect.EOF)
