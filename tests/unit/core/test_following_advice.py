"""The advice in a message on a registry or a record, followed in the same folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ganaug_ray.augment import synthetic_pools
from ganaug_ray.classify import launch
from ganaug_ray.classify.train_worker import ClassifierTraining
from ganaug_ray.classify.train_worker import train_and_finish as train_classifier
from ganaug_ray.config import Job
from ganaug_ray.core import model_registry
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import DatasetRecord, GanRecord, ModelRecord, StageRecord, VerdictRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError
from ganaug_ray.gan.train_worker import train_and_finish
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.runtime import cluster
from tests.helpers.refusals import refuse
from tests.helpers.serving import promote


def train_gan(pipeline: Pipeline) -> None:
    """Train the GAN in this process, as the stage does elsewhere."""
    source = synthetic_pools.locate_gan(pipeline.run)
    train_and_finish(synthetic_pools.build_training(pipeline.job, pipeline.run, source), Place())


def train_models(pipeline: Pipeline) -> None:
    """Train the classifiers that are missing in this process, as the stage does elsewhere."""

    def train_here(trainings: list[ClassifierTraining], *hardware: object) -> None:
        for training in trainings:
            train_classifier(training, Place())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "connect", lambda *arguments, **options: None)
        patch.setattr(launch, "train_classifiers", train_here)
        pipeline.train_classifiers()


STAGES = {
    DatasetRecord: ("dataset", Pipeline.prepare_data, Pipeline.prepare_data),
    GanRecord: ("gan", Pipeline.generate_images, train_gan),
    ModelRecord: ("models/real+classic/seed-1", Pipeline.compare_arms, train_models),
    VerdictRecord: (".", Pipeline.compare_arms, Pipeline.compare_arms),
}
"""Record -> its folder, a stage that reads it, and the stage that makes it."""


@pytest.mark.parametrize("record", STAGES)
@pytest.mark.parametrize("advice", ["restore the file", "delete it and run its stage again"])
def test_damaged_record_is_replaced_as_advised(
    record: type[StageRecord], advice: str, experiment: Run, tiny_job: Job, tmp_path: Path
) -> None:
    """A record that was damaged is read again once it is restored, and made again once it is deleted."""
    shutil.copytree(str(experiment.root), tmp_path / "run")
    run = Run(Folder.from_uri(tmp_path / "run"))
    where, read, make = STAGES[record]
    pipeline = Pipeline(tiny_job, run, Terminal())
    file = tmp_path / "run" / where / record.FILE
    whole = file.read_text()
    file.write_text(whole[:40])
    with pytest.raises(UserError, match=re.escape(advice)):
        read(pipeline)
    if advice == "restore the file":
        file.write_text(whole)
    else:
        file.unlink()
        make(pipeline)
    read(pipeline)
    assert record.read(Folder.from_uri(file.parent)).hash == record.read(experiment.root / where).hash


@pytest.mark.parametrize("ask", [model_registry.find_champion_model, model_registry.roll_back])
def test_registry_has_champion_once_promoted(
    ask: Callable[[Folder], object], experiment: Run, tiny_job: Job, tmp_path: Path
) -> None:
    """An experiment without a champion is refused with the command that promotes one, after which there is one."""
    ignored = shutil.ignore_patterns("registry")
    shutil.copytree(str(experiment.root), tmp_path / "run", symlinks=True, ignore=ignored)
    run = Run(Folder.from_uri(tmp_path / "run"))
    refuse(r"no model has been promoted yet; `ganaug promote` does it$", ask, run.registry)
    Pipeline(tiny_job, run, Terminal()).promote_champion()
    assert model_registry.find_champion_model(run.registry).has_file("model.json")


def test_rollback_goes_to_named_version(tmp_path: Path) -> None:
    """Where no champion came before, the message names the versions that the champion can give way to."""
    experiment = Folder.from_uri(tmp_path)
    promote(experiment, 0)
    registry = experiment / "registry"
    with pytest.raises(UserError, match=r"there was no champion before version .*; there is no other version"):
        model_registry.roll_back(registry)
    promote(experiment, 1)
    model_registry.roll_back(registry)
    with pytest.raises(UserError, match="no champion before version 1; give a version with --to") as caught:
        model_registry.roll_back(registry)
    match = re.search(r"others are (\d+)\)", str(caught.value))
    assert match, caught.value
    assert model_registry.roll_back(registry, int(match[1]))["version"] == 2
    for version in (2, 9):
        with pytest.raises(UserError, match=r"others are 1$"):
            model_registry.roll_back(registry, version)
    assert model_registry.roll_back(registry, 1)["version"] == 1
