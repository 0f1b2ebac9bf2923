"""The advice in a failed stage's message, followed in the same folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from ganaug_ray.augment import synthetic_pools
from ganaug_ray.augment.arms import SYNTHETIC
from ganaug_ray.config.loader import load_job
from ganaug_ray.core import checkpoint
from ganaug_ray.core.console import Terminal
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.gan.train_worker import train_and_finish
from ganaug_ray.pipeline.pipeline import Pipeline
from tests.conftest import DIGITS, TINY

STRICT = [*TINY, "augment.screen.enabled=true", "augment.screen.confidence=0.999"]


@pytest.fixture
def failed(experiment: Run, tmp_path: Path) -> tuple[Run, str]:
    """An experiment of which no synthetic image passed the screening, and the message."""
    shutil.copytree(str(experiment.root), tmp_path / "run", symlinks=True)
    run = Run(Folder.from_uri(tmp_path / "run"))
    shutil.rmtree(str(run.synthetic))
    shutil.rmtree(str(run.models / SYNTHETIC))
    job = load_job(DIGITS, STRICT)
    run.claim_folder(job)
    with pytest.raises(StageFailed, match="no generated image passed the screening") as caught:
        Pipeline(job, run, Terminal()).generate_images()
    assert run.synthetic.has_file("screened.parquet")
    return run, str(caught.value)


def find_setting(message: str, key: str) -> str:
    """The setting that a message advises for a key."""
    match = re.search(rf"--set ({re.escape(key)}=\S+)", message)
    assert match, message
    return match[1]


def test_unscreened_images_are_made_in_the_folder(failed: tuple[Run, str]) -> None:
    run, message = failed
    gan = run.gan.read_bytes("gan.json")
    job = load_job(DIGITS, [*STRICT, find_setting(message, "augment.screen.enabled")])
    run.claim_folder(job)
    assert not run.synthetic.list_files()
    Pipeline(job, run, Terminal()).generate_images()
    assert run.synthetic.read_json("synthetic.json")["images"] == 100
    assert run.gan.read_bytes("gan.json") == gan
    assert "enabled: false" in run.root.read_bytes("job.yaml").decode()


def test_lower_limits_are_taken_in_the_folder(failed: tuple[Run, str]) -> None:
    run, message = failed
    assert "lower limits in augment.screen" in message
    lower = [f"augment.screen.{key}=0" for key in ("confidence", "class_agreement", "realism", "copy_distance")]
    job = load_job(DIGITS, [*STRICT, *lower])
    run.claim_folder(job)
    Pipeline(job, run, Terminal()).generate_images()
    assert run.synthetic.read_json("synthetic.json")["images"] > 0


def test_gan_is_trained_on_in_the_folder(failed: tuple[Run, str]) -> None:
    """A finished GAN goes on from its last step, to what a training of that length from the start would have given."""
    run, message = failed
    setting = find_setting(message, "gan.steps")
    assert setting == "gan.steps=12"
    job = load_job(DIGITS, [*STRICT, setting])
    notes: list[str] = []
    run.claim_folder(job, notes.append)
    assert any("gan is trained for longer: gan.steps is 6 there and 12" in note for note in notes)
    train_and_finish(synthetic_pools.build_training(job, run, synthetic_pools.locate_gan(run)), Place())
    assert run.gan.read_json("attempts.json")["from_step"] == [0, 6]
    assert GanRecord.read(run.gan).steps == 12

    fresh = Folder.from_uri(Path(str(run.root)).parent / "fresh")
    source = synthetic_pools.GanSource(fresh, run.dataset)
    training = synthetic_pools.build_training(job, run, source)
    train_and_finish(training, Place())
    newest = [
        checkpoint.load_newest(gan / "checkpoints", training.fingerprint(), pytest.fail) for gan in (run.gan, fresh)
    ]
    assert newest[0] is not None
    assert newest[1] is not None
    assert all(newest[0].tensors[key].equal(value) for key, value in newest[1].tensors.items())


def test_real_arm_is_trained_in_the_folder(failed: tuple[Run, str]) -> None:
    run, message = failed
    job = load_job(DIGITS, [*STRICT, find_setting(message, "augment.ratio")])
    run.claim_folder(job)
    Pipeline(job, run, Terminal()).train_classifiers()
    assert not run.synthetic.list_files()


def test_copying_generator_is_used_if_allowed(failed: tuple[Run, str]) -> None:
    run, _ = failed
    record = run.gan.read_json("gan.json")
    run.gan.write_json("gan.json", {**record, "memorization": {"verdict": "copies", "reason": "it does"}})
    job = load_job(DIGITS, TINY)
    run.claim_folder(job)
    with pytest.raises(StageFailed, match="the generator copies") as caught:
        Pipeline(job, run, Terminal()).generate_images()
    allowed = load_job(DIGITS, [*TINY, find_setting(str(caught.value), "augment.allow_copies")])
    run.claim_folder(allowed)
    Pipeline(allowed, run, Terminal()).generate_images()
    assert run.synthetic.has_file("synthetic.json")


def test_models_of_the_gan_hold_its_length(experiment: Run) -> None:
    """Once a model was trained on a GAN's images, the GAN is not trained for longer beneath it."""
    with pytest.raises(UserError, match=r"gan\.steps is 6 there and 12 in this job \(gan is made\)"):
        experiment.claim_folder(load_job(DIGITS, [*TINY, "gan.steps=12"]))
