"""The package as it is installed: its dependencies, what the wheel holds, and what it says of itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from ganaug_ray.version import __version__
from tests.conftest import ROOT
from tests.helpers import import_graph

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "constraints.txt", "ganaug_ray")


def normalize_name(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def list_distributions(requirements: list[str]) -> set[str]:
    """Return the names in requirements such as ``ray[tune]>=2``, with those of this project's own extras."""
    names = set()
    for requirement in requirements:
        matched = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", requirement)
        assert matched is not None, requirement
        name, extras = matched.groups()
        if normalize_name(name) == PROJECT["name"]:
            for extra in extras.split(","):
                names |= list_distributions(PROJECT["optional-dependencies"][extra])
        else:
            names.add(normalize_name(name))
    return names


def list_imported(folder: str) -> dict[str, set[str]]:
    """Distribution -> modules of a folder that import it; of what is no part of Python."""
    providers = packages_distributions()
    imported: dict[str, set[str]] = {}
    for module, tree in import_graph.read_modules(ROOT / folder).items():
        for name in {name.split(".")[0] for name in import_graph.iter_imports(tree)}:
            if name not in sys.stdlib_module_names and name not in (import_graph.PACKAGE, "tests"):
                provider = normalize_name(providers.get(name, [name])[0])
                imported.setdefault(provider, set()).add(module)
    return imported


MAIN = list_distributions(PROJECT["dependencies"])
EXTRAS = {name: list_distributions(value) for name, value in PROJECT["optional-dependencies"].items()}


def test_every_import_is_declared() -> None:
    """What the package imports is a dependency, or in one of the extras that a user chooses; and nothing is idle."""
    imported = list_imported("ganaug_ray")
    optional = EXTRAS["export"] | EXTRAS["mlflow"] | EXTRAS["wandb"] | EXTRAS["tensorboard"] | EXTRAS["pandas"]
    assert {name: modules for name, modules in imported.items() if name not in MAIN | optional} == {}
    assert MAIN - imported.keys() == set(), "declared, and not imported anywhere"


def test_every_import_of_the_tests_is_declared() -> None:
    """What the tests import is a dependency of the package or of its tests, or of the docs: one skips without these."""
    declared = MAIN | EXTRAS["test"] | EXTRAS["docs"]
    assert {name: modules for name, modules in list_imported("tests").items() if name not in declared} == {}


def test_every_dependency_is_pinned() -> None:
    """constraints.txt has a tested version of each dependency, in all extras."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {normalize_name(line.split("==")[0]) for line in lines if "==" in line}
    assert MAIN.union(*EXTRAS.values()) - pinned == set()


def list_package_files(root: Path) -> set[str]:
    """Return the files of the package that are not made by running it."""
    files = (path.relative_to(root).as_posix() for path in (root / "ganaug_ray").rglob("*") if path.is_file())
    return {name for name in files if "__pycache__" not in name}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel and a source distribution, built from a copy with the setuptools that is installed: without a network."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in BUILT_FROM:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    code = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
    made = {}
    for kind in ("build_wheel", "build_sdist"):
        run = subprocess.run(
            [sys.executable, "-c", code, kind, str(out)], cwd=source, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        made[kind] = out / run.stdout.splitlines()[-1]
    return made


def test_wheel_holds_the_whole_package(built: dict[str, Path]) -> None:
    """The wheel has every file of the package, jobs, spaces, pages and schemas among them, and nothing else."""
    with zipfile.ZipFile(built["build_wheel"]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (metadata,) = [wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        (scripts,) = [wheel.read(name).decode() for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert names == list_package_files(ROOT)
    for part in ("examples/jobs/digits.yaml", "examples/spaces/gan.yaml", "examples/job.schema.json", "py.typed"):
        assert f"ganaug_ray/{part}" in names
    assert len([name for name in names if "/page/" in name]) > 5
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nAuthor: ganaug_ray contributors\n" in metadata
    assert metadata.count("\nProject-URL: ") >= 3
    assert "ganaug = ganaug_ray.__main__:main" in scripts


def test_source_distribution_builds(built: dict[str, Path]) -> None:
    """The source distribution has every file of the package, and what a wheel is built from."""
    with tarfile.open(built["build_sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert list_package_files(ROOT) <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"} <= names


def test_supported_pythons_agree() -> None:
    """Classifiers, requires-python and the workflow's matrix name the same Pythons."""
    prefix = "Programming Language :: Python :: "
    named = [line.removeprefix(prefix) for line in PROJECT["classifiers"] if re.fullmatch(prefix + r"3\.\d+", line)]
    minors = [int(version.partition(".")[2]) for version in named]
    assert PROJECT["requires-python"] == f">=3.{min(minors)},<3.{max(minors) + 1}"
    assert minors == list(range(min(minors), max(minors) + 1))
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert workflow["jobs"]["unit"]["strategy"]["matrix"]["python"] == named


def test_workflow_runs_the_same_script() -> None:
    """The workflow calls .ci/run, and targets of the Makefile that there are."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert "bash .ci/run" in commands
    assert {command.removeprefix("make ") for command in commands if command.startswith("make ")} <= targets


def test_citation_names_this_version() -> None:
    """The citation, the changelog and the code agree on the version."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == __version__
    assert citation["authors"] == [{"name": PROJECT["authors"][0]["name"]}]
    assert f"\n## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
