"""``ganaug_ray.run`` of images of every kind: the job is chosen for them and prepared; what trains is replaced."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import ganaug_ray
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.pipeline.pipeline import Pipeline
from tests.helpers.hub import serve_hub
from tests.unit.data.test_saved_dataset import save_split
from tests.unit.pipeline.test_default_job import Machine, machine, write_images

__all__ = ["machine", "serve_hub"]  # fixtures
PER_CLASS = 24


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path, serve_hub: Callable[[dict[str, Any]], Any]) -> Iterator[str]:
    """Images of two classes as they come: what is typed for them."""
    folder = tmp_path / "pets"
    if request.param == "pets":
        save_split(folder, range(2 * PER_CLASS), 2 * PER_CLASS)
        yield "pets"
        return
    write_images(folder, PER_CLASS, (40, 40))
    if request.param == "pets.zip":
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)
    if request.param != "hf:someone/pets":
        yield request.param
        return
    pictures = {str(path.relative_to(tmp_path)): path.read_bytes() for path in folder.rglob("*.jpg")}
    server = serve_hub({"main": pictures})
    yield request.param
    server.__exit__(None, None, None)


@pytest.mark.parametrize(
    "source",
    ["pets/", "pets.zip", "pets", "hf:someone/pets"],
    indirect=True,
    ids=["folder", "archive", "saved by datasets", "of the Hub"],
)
def test_python_runs_images_of_every_kind(
    source: str, experiment: Run, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder, an archive, a saved data set and one of the Hub are planned for the minutes, and prepared."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GANAUG_HOME", raising=False)
    for stage in ("choose_augmentation", "train_gan", "generate_images", "train_classifiers", "_conclude"):
        monkeypatch.setattr(Pipeline, stage, lambda self, **named: None)
    verdict = experiment.root.read_bytes("verdict.json")
    monkeypatch.setattr(Pipeline, "compare_arms", lambda self: self.run.root.write_bytes("verdict.json", verdict))

    result = ganaug_ray.run(source, minutes=10)

    assert machine.timed, "its steps were timed for the plan"
    assert result.answer == json.loads(verdict)["sentence"]
    assert Path(result.folder) == tmp_path / "runs" / "pets"
    job = yaml.safe_load((tmp_path / "runs" / "pets" / "job.yaml").read_text())
    assert job["about"] == "do synthetic images of pets help?"
    assert job["compare"]["budget_minutes"] == 10
    dataset = json.loads((tmp_path / "runs" / "pets" / "dataset" / "dataset.json").read_text())
    counts = [sum(split.get(name, 0) for split in dataset["counts"].values()) for name in ("cat", "dog")]
    assert counts == [PER_CLASS, PER_CLASS]
