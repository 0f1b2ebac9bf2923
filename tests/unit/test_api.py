"""How a model gets into other software: the public doctests, and every other doctest of the package."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

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


def test_loading_imports_no_ray(experiment: Run) -> None:
    """Loading a model imports no Ray, and the command line imports no heavy library."""
    code = f"import sys, ganaug_ray; ganaug_ray.load({str(experiment.root)!r}); assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
    code = """
import sys
from ganaug_ray import cli
heavy = {"torch", "ray", "numpy", "pydantic", "pyarrow", "matplotlib", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


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
