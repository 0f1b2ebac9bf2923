"""A GAN that starts from another: weights that fit are taken, classes are matched by name, layers may stay frozen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ganaug_ray.augment import generator_pack, synthetic_pools, warm_start
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.errors import UserError
from ganaug_ray.gan.train_worker import train_and_finish
from tests.conftest import DIGITS, TINY
from tests.helpers.elsewhere import write_unseen_digits
from tests.helpers.refusals import refuse

NAMES = ["0", "1", "two", "3", "4", "5", "6", "7", "8", "9"]  # one of them under another name


@pytest.fixture(scope="module")
def team(experiment: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Run]:
    """The settings and the data of a site whose digits the other GAN has not seen."""
    root = tmp_path_factory.mktemp("team")
    source = write_unseen_digits(root / "images", experiment, NAMES)
    settings = [*TINY, "gan.early_end=false", f"data.source={source}"]
    run = Run(Folder.from_uri(root / "run"))
    prepare_dataset(load_job(DIGITS, settings).data, run.dataset)
    (root / "run" / "models").mkdir()
    (root / "run" / "models" / "teacher").symlink_to(f"{experiment.models}/teacher")
    return settings, run


def start(team: tuple[list[str], Run], out: Path, *settings: str) -> tuple[Job, dict[str, torch.Tensor]]:
    job = load_job(DIGITS, [*team[0], *settings])
    warm_start.prepare_start(job, team[1].dataset, Folder.from_uri(out))
    return job, load_file(out / "start.safetensors")


def test_classes_meet_by_name(team: tuple[list[str], Run], experiment: Run, tmp_path: Path) -> None:
    """Layers are taken as they are, a class's scales go where the class is, and a class that is new starts fresh."""
    _, tensors = start(team, tmp_path, f"gan.init_from={experiment.root}")
    theirs = load_file(f"{experiment.gan}/gan.safetensors") | load_file(f"{experiment.gan}/discriminator.safetensors")
    for name in ("generator.first.weight", "generator.last.bias", "discriminator.score.bias"):
        assert torch.equal(tensors[name], theirs[name])
    ours = sorted(NAMES)
    for name in ("generator.norms.0.scale.weight", "discriminator.embed.parametrizations.weight.original"):
        for label, digit in enumerate(ours):
            is_taken = digit.isdigit() and torch.equal(tensors[name][label], theirs[name][int(digit)])
            assert is_taken == digit.isdigit(), (name, digit)
    record = Folder.from_uri(tmp_path).read_json("start.json")
    assert record["classes"] == [name for name in ours if name != "two"]
    assert "9 classes of the same name" in warm_start.describe_start(record)


def test_what_does_not_fit_is_fresh(team: tuple[list[str], Run], experiment: Run, tmp_path: Path) -> None:
    """A layer of another shape starts fresh, and the others are taken all the same."""
    _, tensors = start(team, tmp_path, f"gan.init_from={experiment.gan}", "gan.latent=32")
    record = Folder.from_uri(tmp_path).read_json("start.json")
    assert "generator.first.weight" in record["fresh"]
    assert "generator.last.weight" in record["taken"]
    assert torch.isfinite(tensors["generator.first.weight"]).all()


def test_gan_that_does_not_fit_names_its_settings(team: tuple[list[str], Run], experiment: Run, tmp_path: Path) -> None:
    """A GAN of which nothing fits is refused with its settings, with which it is taken."""
    found = refuse(
        r"nothing of that GAN fits; take its (\S+), (\S+) and (\S+)$",
        start, team, tmp_path / "other", f"gan.init_from={experiment.gan}", "gan.filters=16", "gan.latent=32",
    )  # fmt: skip
    start(team, tmp_path / "same", f"gan.init_from={experiment.gan}", *found.groups())
    assert "generator.first.weight" in Folder.from_uri(tmp_path / "same").read_json("start.json")["taken"]


def test_gan_without_its_images_is_refused(team: tuple[list[str], Run], experiment: Run, tmp_path: Path) -> None:
    """Of a GAN whose data set is not beside it, or that was started from another, nobody knows what it has seen."""
    alone = tmp_path / "alone" / "gan"
    shutil.copytree(str(experiment.gan), alone)
    with pytest.raises(UserError, match="is not beside it, so it is unknown"):
        start(team, tmp_path / "a", f"gan.init_from={alone}")
    (tmp_path / "alone" / "dataset").symlink_to(str(experiment.dataset))
    start(team, tmp_path / "b", f"gan.init_from={alone}")
    record = json.loads((alone / "gan.json").read_text())
    record["config"]["init_from"] = "runs/first"
    (alone / "gan.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="started from runs/first itself"):
        start(team, tmp_path / "c", f"gan.init_from={alone}")


def test_frozen_layers_stay(team: tuple[list[str], Run], experiment: Run) -> None:
    """Trained on, the frozen layer is what it was, the next one is not, and gan.json has the lineage."""
    settings, run = team
    job = load_job(DIGITS, [*settings, f"gan.init_from={experiment.root}", "gan.frozen_layers=1"])
    training = synthetic_pools.build_training(job, run, synthetic_pools.locate_gan(run))
    train_and_finish(training, Place())
    before = load_file(f"{run.gan}/start.safetensors")
    after = load_file(f"{run.gan}/discriminator.safetensors")
    frozen, learning = (f"discriminator.layers.{number}.parametrizations.weight.original" for number in (0, 2))
    assert torch.equal(before[frozen], after[frozen])
    assert not torch.equal(before[learning], after[learning])
    start_hash = run.gan.read_json("start.json")["hash"]
    assert GanRecord.read(run.gan).inputs["init_from"] == start_hash


def test_gan_that_saw_test_images_is_refused(experiment: Run, team: tuple[list[str], Run], tmp_path: Path) -> None:
    """An experiment or a pack whose GAN has seen what models are judged by here is no start."""
    pack = tmp_path / "pack"
    generator_pack.write_pack(experiment, Folder.from_uri(pack))
    for address in (experiment.root, pack):
        job = load_job(DIGITS, [*TINY, f"gan.init_from={address}"])
        with pytest.raises(
            UserError, match=r"gan\.init_from .*: this generator has seen 50 of the validation and test images"
        ):
            warm_start.prepare_start(job, experiment.dataset, Folder.from_uri(tmp_path / "out"))
    _, tensors = start(team, tmp_path / "fine", f"gan.init_from={pack}")
    theirs = load_file(f"{experiment.gan}/gan.safetensors")
    assert torch.equal(tensors["generator.first.weight"], theirs["generator.first.weight"])
