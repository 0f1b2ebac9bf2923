"""How a model gets into other software: the public doctests, and every other doctest of the package."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ganaug_ray
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.errors import UserError
from tests.conftest import environment

MODULES = [name for _, name, _ in pkgutil.walk_packages(ganaug_ray.__path__, "ganaug_ray.") if "__main__" not in name]


@pytest.mark.parametrize("name", ["ganaug_ray", *MODULES])
def test_doctests_of_every_module(name: str, experiment: Run) -> None:
    """Every example in the docstrings of the package gives what it shows."""
    given = {"EXPERIMENT": str(experiment.root), "some_image": np.zeros((20, 30, 3), np.uint8)}
    assert doctest.testmod(importlib.import_module(name), extraglobs=given).failed == 0


def list_imported(code: str) -> set[str]:
    """Run code in a process of its own; return what is imported when it ends: packages, and this one's rooms."""
    script = f"""
import sys
try:
    {code}
except SystemExit:
    pass
print("|", *{{".".join(name.split(".")[: 1 + name.startswith("ganaug_ray.")]) for name in sys.modules}})
"""
    command = [sys.executable, "-c", script]
    printed = subprocess.run(command, check=True, env=environment(), capture_output=True, text=True).stdout
    return set(printed.rpartition("|")[2].split())


COMPUTING = {"torch", "ray", "numpy", "pyarrow", "matplotlib", "sklearn", "scipy", "pandas", "PIL", "timm"}
CONVENIENT = {"rich", "asyncio", "pydantic", "yaml", "jinja2"}


def test_commands_import_what_they_need(experiment: Run, tmp_path: Path) -> None:
    """The package itself imports nothing heavy, nor does --help or a job that is refused; loading needs no Ray."""
    (tmp_path / "bad.yaml").write_text("data: {source: sklearn:digits, image_sise: 32}")
    command = "from ganaug_ray import cli; sys.argv = ['ganaug', {}]; cli.main()"
    assert not list_imported("import ganaug_ray") & (COMPUTING | CONVENIENT | {"typer"})
    assert not list_imported(command.format("'--help'")) & (COMPUTING | CONVENIENT)
    for verb in ("prepare", "run"):
        refused = list_imported(command.format(f"{verb!r}, {str(tmp_path / 'bad.yaml')!r}"))
        assert not refused & (COMPUTING | {"jinja2"}), verb
    not_needed = {"ray", "timm", "torchvision", "pandas", "matplotlib", "sklearn", "scipy"}
    assert not list_imported(f"import ganaug_ray; ganaug_ray.load({str(experiment.root)!r})") & not_needed
    Image.new("L", (20, 30)).save(tmp_path / "grey.png")
    words = ["predict", str(experiment.root), str(tmp_path / "grey.png"), "--out", str(tmp_path / "answers.parquet")]
    rooms = {f"ganaug_ray.{room}" for room in ("config", "runtime", "gan", "pipeline")}
    assert not list_imported(command.format(", ".join(map(repr, words)))) & (not_needed | rooms)
    assert (tmp_path / "answers.parquet").exists()


def test_every_kind_of_folder_loads(experiment: Run) -> None:
    """An experiment, a registry, a model and a GAN load by their folder; a data set is refused."""
    champion = experiment.root.read_json("verdict.json")["champion"]
    model = experiment.locate_model(champion["arm"], champion["seed"])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    answers = [
        ganaug_ray.load(str(path)).predict(list(pixels)) for path in (experiment.root, experiment.registry, model)
    ]
    assert answers[0] == answers[1] == answers[2]
    with pytest.raises(UserError, match="no experiment"):
        ganaug_ray.load(str(experiment.root / "dataset"))
    with pytest.raises(UserError, match="no class 'cat'"):
        ganaug_ray.load(str(experiment.gan)).generate("cat", 1)


def test_promotion_preserves_earlier_versions(experiment: Run, tmp_path) -> None:
    """Promotion keeps all versions and never changes an earlier one."""
    from ganaug_ray.core import model_registry
    from ganaug_ray.core.storage import Folder

    own = Folder.from_uri(tmp_path)
    one, two = experiment.locate_model("real+classic", 0), experiment.locate_model("real+classic", 1)
    assert model_registry.promote_model(own, one, {"arm": "a"})["version"] == 1
    first = (own / "versions" / "1").read_bytes("model.safetensors")
    assert model_registry.promote_model(own, one, {"arm": "a"})["version"] == 1, "the same model is no new version"
    assert model_registry.promote_model(own, two, {"arm": "a"})["version"] == 2
    assert (own / "versions" / "1").read_bytes("model.safetensors") == first
    assert str(model_registry.find_champion_model(own)).endswith("versions/2")
    with pytest.raises(UserError, match="no model has been promoted"):
        model_registry.find_champion_model(Folder.from_uri(tmp_path / "empty"))
