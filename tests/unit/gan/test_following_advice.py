"""The advice in a message on a GAN, followed in the same experiment."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.models import inception

from ganaug_ray.config.loader import load_job
from ganaug_ray.core import checkpoint
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.finite_guard import DivergenceError, FiniteGuard
from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.gan import png_export
from ganaug_ray.gan.metrics import features
from ganaug_ray.gan.sampler import Generator
from ganaug_ray.gan.training_spec import GanTraining
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.runtime import cluster, worker_group
from ganaug_ray.runtime.hardware import Hardware
from tests.conftest import DIGITS, TINY
from tests.helpers import sites


def train_here(
    function: Callable[[GanTraining, Place], None], training: GanTraining, *rest: object, **_: object
) -> None:
    """Train in this process, as one rank of a cluster does."""
    function(training, Place())


def test_lower_rate_is_trained_in_the_folder(experiment: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a GAN has diverged, the same folder takes a lower gan.lr than the message names, from step 0 as it says."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    job = load_job(DIGITS, [*TINY, "gan.workers=2", "gan.lr=0.5"])
    run.claim_folder(job)
    for name in ("dataset", "models/teacher"):
        shutil.copytree(f"{experiment.root}/{name}", tmp_path / "run" / name)
    # Two CPUs for two ranks, so no process measures beside the training: there is no Ray here.
    monkeypatch.setattr(cluster, "connect", lambda *arguments, **options: Hardware.of_one_machine(2))
    monkeypatch.setattr(worker_group, "run_on_ranks", train_here)

    def diverge(guard: FiniteGuard, step: int) -> None:
        if step >= 4:
            raise DivergenceError(step)

    with monkeypatch.context() as patch:
        patch.setattr(FiniteGuard, "raise_if_tripped", diverge)
        with pytest.raises(
            StageFailed, match=r"Set gan\.lr below .* from step 0, and deletes its checkpoints$"
        ) as caught:
            Pipeline(job, run, Terminal()).train_gan()
    assert checkpoint.read_newest_step(run.gan / "checkpoints") == 4
    match = re.search(r"gan\.lr below ([\d.e-]+):", str(caught.value))
    assert match, caught.value
    lower = load_job(DIGITS, [*TINY, "gan.workers=2", f"gan.lr={float(match[1]) / 1000}"])
    run.claim_folder(lower)
    assert checkpoint.read_newest_step(run.gan / "checkpoints") == 0
    Pipeline(lower, run, Terminal()).train_gan()
    assert GanRecord.read(run.gan).steps == 6


@pytest.mark.parametrize(("seed", "folder"), [(1, "out"), (0, "another")])
def test_export_goes_on_as_advised(experiment: Run, tmp_path: Path, seed: int, folder: str) -> None:
    """Images that are there stay, and others are written under another seed or in another folder."""
    generator = Generator.load(experiment.gan)

    def export(seed: int, folder: str) -> None:
        png_export.export_images(generator, {"3": 1}, seed, Folder.from_uri(tmp_path / folder), lambda written: None)

    export(0, "out")
    with pytest.raises(UserError, match="give another --seed or another folder"):
        export(0, "out")
    export(seed, folder)
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_examples_of_counts_are_taken(experiment: Run) -> None:
    """The example of --count, without one and in place of a malformed one, is a number of images of a class."""
    classes = Generator.load(experiment.gan).classes
    for counts in ([], ["3"], ["3=0"]):
        with pytest.raises(UserError, match="such as") as caught:
            png_export.parse_counts(counts, classes)
        match = re.search(r"such as (?:--count )?([^\s;]+)", str(caught.value))
        assert match
        assert png_export.parse_counts([match[1]], classes) == {classes[0]: 100}


@pytest.mark.parametrize("wrong", ["nothing", "a folder", "another network"])
def test_inception_is_read_from_its_file(wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the file of InceptionV3, or with another one, the message says which is meant; here a small stand-in."""

    class Network(torch.nn.Module):
        def __init__(self, outputs: int, **_: object) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(4, outputs)

    monkeypatch.setattr(inception, "Inception3", Network)
    path = tmp_path / "weights.pth"
    if wrong == "a folder":
        path.mkdir()
    elif wrong == "another network":
        torch.save({"fc.bias": torch.zeros(1000), "conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="the weights of InceptionV3"):
        features.load_inception_v3(path)
    if wrong == "a folder":
        path.rmdir()
    torch.save(Network(1000).state_dict(), path)
    assert features.load_inception_v3(path).name == "inceptiontv"


def test_images_are_drawn_once_gan_is_trained(tmp_path: Path) -> None:
    """An experiment without a finished GAN draws nothing, and draws images once it is trained, as the message says."""
    run = Run(Folder.from_uri(tmp_path / "run"))
    run.claim_folder(load_job(DIGITS, TINY))
    with pytest.raises(UserError, match=r"no finished generator .*; train one first$"):
        png_export.find_gan_folder(str(run.root))
    sites.write_gan(run.gan)
    generator = Generator.load(png_export.find_gan_folder(str(run.root)))
    assert len(generator.generate("a", 2, 0)) == 2
