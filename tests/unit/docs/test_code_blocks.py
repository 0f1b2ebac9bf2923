"""Every code block of the README and of the documentation is run or checked here, or says why it is not."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from unittest.mock import MagicMock
from urllib.parse import urlsplit

import click
import pytest
import typer
import yaml
from PIL import Image

from ganaug_ray import cli
from ganaug_ray.classify.network_check import check_network
from ganaug_ray.config import Job
from ganaug_ray.config.loader import build_job, load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.search import search_space
from tests.conftest import DIGITS, ROOT, environment
from tests.helpers import recipes
from tests.helpers.prose import CodeBlock, list_code_blocks

PAGES = [ROOT / "README.md", *sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("[!_]*/**/*.md")])]
BLOCKS = [block for page in PAGES for block in list_code_blocks(page)]
TEXT = "text"  # a listing or a formula: there is nothing to run
SHELL_WORDS = {"python3", "export", ".", "ruff", "mypy"}  # what a block may have beside the commands checked here


def _choose(language: str, run: bool = True) -> list[CodeBlock]:
    blocks = [block for block in BLOCKS if block.language == language and block.recipe is None]
    return [block for block in blocks if (block.not_run is None) == run]


def _split_commands(block: CodeBlock) -> Iterator[list[str]]:
    for line in block.text.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|;", line.partition("  #")[0]):
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if ">" in words:
                words = words[: words.index(">")]
            if words:
                yield [Path(words[0]).name or words[0], *words[1:]]


def test_every_block_has_a_known_language() -> None:
    """A block is run, or parsed, by its language; one without would slip through."""
    assert not [str(block) for block in BLOCKS if block.language not in ("sh", "python", "yaml", TEXT)]
    assert len(BLOCKS) > 60


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "sh"], ids=str)
def test_commands_exist_with_their_options(block: CodeBlock) -> None:
    """Each ganaug command is accepted by the command line; each other one is known, or the block is not run."""
    for words in _split_commands(block):
        if words[0] == "ganaug":
            _parse_command(words[1:])
        elif block.not_run is None:
            _check_other_command(words)


def _parse_command(words: list[str]) -> None:
    group = typer.main.get_command(cli.app)
    if words == ["--version"]:
        return
    context = click.Context(group)
    name, command, rest = group.resolve_command(context, words)  # type: ignore[attr-defined]  # a group's
    assert name is not None
    while hasattr(command, "resolve_command") and rest:
        name, command, rest = command.resolve_command(context, rest)
    command.make_context(name, rest)  # raises where an argument is missing, or an option is unknown


def _check_other_command(words: list[str]) -> None:
    if words[0] == "pip":
        _check_pip(words)
    elif words[0] == "pytest":
        new_files = {block.recipe.removeprefix("new file ") for block in BLOCKS if block.recipe}
        assert all((ROOT / word).exists() or word in new_files for word in words[1:] if not word.startswith("-"))
    elif words[0] == "curl":
        _check_curl(words)
    else:
        assert words[0] in SHELL_WORDS, f"{words[0]}: run it in a test, or mark the block as not run"


def _check_pip(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for option, value in pairwise(words):
        if option == "-c":
            assert (ROOT / value).is_file()
        if option == "-e" and "[" in value:
            assert value[value.index("[") + 1 : -1] in extras


def _check_curl(words: list[str]) -> None:
    from ganaug_ray.serve.routes import pages, rollout, v1, v2

    routers = [pages.build_router(), *(module.build_router(MagicMock()) for module in (v1, rollout, v2))]
    known = {getattr(route, "path", "") for router in routers for route in router.routes}
    addresses = [urlsplit(word).path for word in words if word.startswith("http://127.0.0.1")]
    assert addresses
    assert set(addresses) <= known


@pytest.mark.parametrize("block", _choose("yaml"), ids=str)
def test_jobs_and_spaces_are_valid(block: CodeBlock, tmp_path: Path) -> None:
    """Each YAML block is a whole job, or a search space."""
    content = yaml.safe_load(block.text)
    if "space" in content:
        path = tmp_path / "space.yaml"
        path.write_text(block.text)
        kind = "mix" if any(key.startswith("augment.") for key in content["space"]) else "gan"
        assert search_space.load_space(path, kind, load_job(DIGITS)).dimensions
    else:
        assert content.keys() <= Job.model_fields.keys()
        build_job(content, str(block), tmp_path, check_network=check_network)


@pytest.fixture(scope="module")
def place(experiment: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the examples find what they name: a finished experiment, and images."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "runs").mkdir()
    (folder / "runs" / "mine").symlink_to(str(experiment.root))
    for name in ("new.jpg", "old.jpg"):
        Image.new("RGB", (40, 30), "gray").save(folder / name)
    return folder


@pytest.mark.parametrize("block", _choose("python"), ids=str)
def test_python_runs(block: CodeBlock, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each Python block runs, where runs/mine is a finished experiment."""
    monkeypatch.chdir(place)
    exec(compile(block.text, str(block), "exec"), {"__name__": "example"})


@pytest.mark.parametrize("block", _choose("python", run=False), ids=str)
def test_python_that_is_not_run_compiles(block: CodeBlock) -> None:
    """What would take too long is at least Python."""
    compile(block.text, str(block), "exec")


def test_recipes_work_as_written(tmp_path: Path) -> None:
    """Applied to a copy of the package, each recipe does what it promises, and the lists of names still agree."""
    shutil.copytree(ROOT / "ganaug_ray", tmp_path / "ganaug_ray", ignore=shutil.ignore_patterns("__pycache__"))
    checks = recipes.apply_recipes(ROOT / "docs" / "contributing" / "recipes.md", tmp_path)
    assert len(checks) == 5
    code = "\n".join(checks) + RECIPES_AGREE
    variables = environment(PYTHONPATH=str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=variables)
    pytest_command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", "tests"]
    tests = subprocess.run(pytest_command, check=True, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert "1 passed" in tests.stdout


RECIPES_AGREE = """
import ganaug_ray
from pathlib import Path
from typing import get_args

from ganaug_ray.augment.strategies import STRATEGIES
from ganaug_ray.config.augment import StrategyName
from ganaug_ray.config.gan_presets import LossName
from ganaug_ray.evaluate.metric_register import COMPARED
from ganaug_ray.serve import app

assert Path(ganaug_ray.__file__).is_relative_to(Path.cwd()), ganaug_ray.__file__
assert get_args(LossName) == tuple(LOSSES) and get_args(StrategyName) == tuple(STRATEGIES)
metrics = get_args(CompareConfig.model_fields["metric"].annotation)
assert list(metrics) == [metric.key for metric in COMPARED]
"""


def test_named_benchmarks_and_files_exist() -> None:
    """A benchmark or a test that the documentation names is there."""
    for page in PAGES:
        text = page.read_text()
        for module in re.findall(r"python -m (tests\.[\w.]+)", text):
            assert importlib.util.find_spec(module), f"{page.name}: {module}"
        for path in re.findall(r"pytest (tests/[\w/.]+)", text):
            assert (ROOT / path).exists(), f"{page.name}: {path}"
