"""Classifiers that need no generated image are trained on what GANs leave free."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ganaug_ray.classify import launch as classifier_launch
from ganaug_ray.config import Job
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord, ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.gan import launch as gan_launch
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.pipeline.progress import read_side_by_side_progress
from ganaug_ray.pipeline.stage import StageContext
from ganaug_ray.runtime import side_by_side
from ganaug_ray.runtime.hardware import Hardware


@pytest.fixture
def without_gan(experiment: Run, tmp_path: Path) -> Run:
    """An experiment with data and a teacher, and nothing after them."""
    run = Run(Folder.from_uri(tmp_path / "run").create())
    Path(str(run.dataset)).symlink_to(str(experiment.dataset))
    teacher = experiment.locate_model("teacher", 0)
    Path(str(run.models)).mkdir()
    Path(str(run.models / "teacher")).symlink_to(Path(str(teacher)).parent)
    return run


def list_started(job: Job, run: Run, cpus: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[str]:
    """Return the names of what train-gan starts, in order; nothing of it is trained."""
    started: list[str] = []

    class Ended(Exception):
        pass

    def run_tasks(tasks: list[side_by_side.TrainingTask], others: list[side_by_side.TrainingTask], slots: int) -> None:
        for task in [*tasks, *others]:
            task.start()
        raise Ended

    def note(training: Any, *rest: Any) -> None:
        started.append(getattr(training, "name", "gan"))

    for launch in ("ganaug_ray.classify.launch", "ganaug_ray.gan.launch"):
        monkeypatch.setattr(f"{launch}.make_device_task", lambda *given: SimpleNamespace(remote=note))
    monkeypatch.setattr(classifier_launch.object_store, "lend_stores", lambda *given: {})
    monkeypatch.setattr(side_by_side, "run_tasks", run_tasks)
    monkeypatch.setattr(StageContext, "connect_cluster", lambda self: Hardware.of_one_machine(cpus))
    with pytest.raises(Ended):
        Pipeline(job, run, Terminal()).train_gan(**options)
    return started


def test_early_arms_are_trained_beside_a_gan(tiny_job: Job, without_gan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GAN starts first, then the arms without generated images; by itself, or without a free core, it is alone."""
    arms = {"oversample": {"kind": "oversample"}, "synthetic": {"kind": "synthetic"}}
    job = Job.model_validate(tiny_job.model_dump() | {"arms": arms})
    seeds = range(job.compare.seeds)
    early = [f"{arm}, seed {seed}" for arm in ("real+classic", "oversample") for seed in seeds]
    assert list_started(job, without_gan, 2, monkeypatch, with_classifiers=True) == ["gan", *early]
    assert list_started(job, without_gan, 1, monkeypatch, with_classifiers=True) == ["gan"]
    assert list_started(job, without_gan, 2, monkeypatch) == ["gan"], "`ganaug train-gan` trains nothing else"


def test_progress_is_that_of_the_slower(tmp_path: Path) -> None:
    """A finished GAN is not the whole stage while classifiers are trained beside it."""
    gan = Folder.from_uri(tmp_path / "gan").create()
    gan.write_bytes(GanRecord.FILE, b"{}")
    assert read_side_by_side_progress([gan], 10, [])[0] == 1
    share, words = read_side_by_side_progress([gan], 10, [(Folder.from_uri(tmp_path / "model").create(), 5)])
    assert share == 0
    assert words.endswith("beside it 0 of 1 models trained")


def test_progress_of_many_gans_waits_for_no_classifier(tmp_path: Path) -> None:
    """Classifiers that begin beside the last of several GANs hold back what one GAN takes, and no more."""
    gans = [Folder.from_uri(tmp_path / f"gan-{number}").create() for number in range(5)]
    fits = [(Folder.from_uri(tmp_path / "model").create(), 5)]
    shares = []
    for gan in gans:
        gan.write_bytes(GanRecord.FILE, b"{}")
        shares.append(read_side_by_side_progress(gans, 10, fits)[0])
    assert shares == pytest.approx([0.16, 0.32, 0.48, 0.64, 0.8])
    fits[0][0].write_bytes(ModelRecord.FILE, b"{}")
    assert read_side_by_side_progress(gans, 10, fits)[0] == 1


@pytest.mark.parametrize(("gans", "slots", "leaves"), [(1, 2, True), (5, 2, True), (4, 2, False), (1, 1, False)])
def test_last_gans_leave_room(tiny_job: Job, gans: int, slots: int, leaves: bool) -> None:
    """Where GANs do not fill all slots every time, there is room beside the last of them."""
    assert gan_launch.leave_room(tiny_job.gan, gans, Hardware.of_one_machine(slots)) == leaves
