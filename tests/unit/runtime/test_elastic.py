"""Workers that come and go: asked of Ray Train for GANs and classifiers; that they do, tests/soak shows."""

from __future__ import annotations

from typing import Any

import pytest

from ganaug_ray.augment import arm_batches, arms
from ganaug_ray.classify.launch import train_classifiers
from ganaug_ray.config import Job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import UserError
from ganaug_ray.gan.launch import train_gans
from ganaug_ray.gan.training_spec import GanTraining
from ganaug_ray.runtime import worker_group
from ganaug_ray.runtime.hardware import Hardware

ELASTIC = {"workers": 4, "min_workers": 2}
FOUR_CPUS = Hardware.of_one_machine(4)


def gan(job: Job, run: Run, gb: float) -> None:
    config = job.gan.model_copy(update=ELASTIC)
    train_gans([GanTraining(config, 32, 0, str(run.dataset), "teacher", str(run.gan), gb, {})], FOUR_CPUS)


def classifier(job: Job, run: Run, gb: float) -> None:
    own = job.model_copy(update={"classifier": job.classifier.model_copy(update=ELASTIC)})
    train_classifiers(
        [arm_batches.build_training(own, run, name, 0) for name in (arms.REAL, "real+classic+synthetic")], gb, FOUR_CPUS
    )


@pytest.mark.parametrize("section", [gan, classifier])
def test_ray_train_receives_worker_range(
    section: Any, tiny_job: Job, experiment: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Train is given the minimum and the maximum number of workers."""
    asked: list[Any] = []
    monkeypatch.setattr(worker_group, "run_on_ranks", lambda work, task, workers, *more, **named: asked.append(workers))
    section(tiny_job, experiment, 1.0)
    assert set(asked) == {(2, 4)}


@pytest.mark.parametrize("section", [gan, classifier])
def test_streamed_images_need_fixed_workers(
    section: Any, tiny_job: Job, experiment: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that are streamed need a fixed number of workers, and a range is refused."""
    monkeypatch.setattr(worker_group, "run_on_ranks", lambda *given, **named: pytest.fail("workers were started"))
    with pytest.raises(
        UserError, match=rf"{section.__name__}\.min_workers 2: images that are streamed .* leave it out"
    ):
        section(tiny_job, experiment, 1e-9)


def test_streamed_pool_needs_fixed_workers(tiny_job: Job, experiment: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A synthetic pool that is streamed needs a fixed number of workers, too."""
    pool = str(experiment.synthetic)
    survey = image_store.list_shards

    def large(folder: Any) -> Any:
        found = survey(folder)
        return found if str(folder) != pool else type("Large", (), {"pixel_bytes": 2e9})()

    monkeypatch.setattr(image_store, "list_shards", large)
    monkeypatch.setattr(worker_group, "run_on_ranks", lambda *given, **named: pytest.fail("workers were started"))
    with pytest.raises(UserError, match=r"classifier\.min_workers 2.*resident_limit to 2 \(GB\)"):
        classifier(tiny_job, experiment, 1.0)
