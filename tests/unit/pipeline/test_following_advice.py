"""The advice in a failed stage's message, followed in the same folder."""

from __future__ import annotations

import errno
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import IO

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
from ganaug_ray.data.loading import image_store
from ganaug_ray.data.loading.resident_loader import refuse_elastic_streaming, refuse_streamed
from ganaug_ray.data.loading.sampler import Sampling
from ganaug_ray.errors import DiskFull, StageFailed, UserError
from ganaug_ray.gan.train_worker import train_and_finish
from ganaug_ray.pipeline import size_experiments
from ganaug_ray.pipeline.pipeline import Pipeline
from ganaug_ray.runtime import preflight
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.serve import launch
from ganaug_ray.serve.serve_config import ListenAddress
from tests.conftest import DIGITS, TINY

# Agreement 0: so short a training knows no class, and would judge none.
STRICT = [
    *TINY, "augment.screen.enabled=true", "augment.screen.confidence=0.999", "augment.screen.class_agreement=0",
]  # fmt: skip


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


def test_unscreened_images_reuse_the_gan(failed: tuple[Run, str]) -> None:
    """With the screening off, as the message advises, the same folder's GAN makes the images."""
    run, message = failed
    gan = run.gan.read_bytes("gan.json")
    job = load_job(DIGITS, [*STRICT, find_setting(message, "augment.screen.enabled")])
    run.claim_folder(job)
    assert not run.synthetic.list_files()
    Pipeline(job, run, Terminal()).generate_images()
    assert run.synthetic.read_json("synthetic.json")["images"] == 100
    assert run.gan.read_bytes("gan.json") == gan
    assert "enabled: false" in run.root.read_bytes("job.yaml").decode()


def test_lower_limits_let_images_pass(failed: tuple[Run, str]) -> None:
    """With lower limits, as the message advises, images are made in the same folder."""
    run, message = failed
    assert "lower limits in augment.screen" in message
    lower = [f"augment.screen.{key}=0" for key in ("confidence", "class_agreement", "realism", "copy_distance")]
    job = load_job(DIGITS, [*STRICT, *lower])
    run.claim_folder(job)
    Pipeline(job, run, Terminal()).generate_images()
    assert run.synthetic.read_json("synthetic.json")["images"] > 0


def test_finished_gan_is_trained_on(failed: tuple[Run, str]) -> None:
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


def test_ratio_zero_trains_real_arm(failed: tuple[Run, str]) -> None:
    """With the ratio that the message advises, classifiers are trained without synthetic images."""
    run, message = failed
    job = load_job(DIGITS, [*STRICT, find_setting(message, "augment.ratio")])
    run.claim_folder(job)
    Pipeline(job, run, Terminal()).train_classifiers()
    assert not run.synthetic.list_files()


def test_copying_generator_is_used_if_allowed(failed: tuple[Run, str]) -> None:
    """A generator that copies is refused, and is used once the setting that the message names is given."""
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


def test_trained_models_fix_gan_length(experiment: Run) -> None:
    """Once a model was trained on a GAN's images, the GAN is not trained for longer beneath it."""
    with pytest.raises(UserError, match=r"gan\.steps is 6 there and 12 in this job \(gan is made\)"):
        experiment.claim_folder(load_job(DIGITS, [*TINY, "gan.steps=12"]))


def test_advice_loosens_arm_screening(failed: tuple[Run, str]) -> None:
    """An arm's own screening is named as the arm's, and is loosened there."""
    run, _ = failed
    arms = ["arms.synthetic.kind=synthetic", "arms.synthetic.screen.enabled=true"]
    strict = [*TINY, *arms, "arms.synthetic.screen.confidence=0.999", "arms.synthetic.screen.class_agreement=0"]
    run.claim_folder(load_job(DIGITS, strict))
    with pytest.raises(StageFailed, match="no generated image passed the screening") as caught:
        Pipeline(load_job(DIGITS, strict), run, Terminal()).generate_images()
    job = load_job(DIGITS, [*strict, find_setting(str(caught.value), "arms.synthetic.screen.enabled")])
    run.claim_folder(job)
    Pipeline(job, run, Terminal()).generate_images()
    (pool,) = [folder for folder in run.root.list_folders() if folder.startswith("synthetic")]
    assert (run.root / pool).read_json("synthetic.json")["images"] == 100


def test_shorter_gan_begins_in_another_folder(experiment: Run, tmp_path: Path) -> None:
    """A finished GAN is not shortened: the advice is another folder."""
    job = load_job(DIGITS, [*TINY, "gan.steps=4"])
    with pytest.raises(UserError, match=r"give another --out\ngan\.steps is 6 there and 4 in this job \(gan is made\)"):
        experiment.claim_folder(job)
    other = Run(Folder.from_uri(tmp_path / "other"))
    other.claim_folder(job)
    assert other.root.has_file("job.yaml")


def test_deleted_gan_is_begun_anew(experiment: Run, tmp_path: Path) -> None:
    """An interrupted GAN that could go on holds its settings until its folder is deleted."""
    shutil.copytree(str(experiment.root), tmp_path / "run", symlinks=True)
    run = Run(Folder.from_uri(tmp_path / "run"))
    run.gan.delete_file("gan.json")
    for folder in (run.models / SYNTHETIC, run.synthetic):
        shutil.rmtree(str(folder))
    job = load_job(DIGITS, [*TINY, "gan.steps=4"])
    with pytest.raises(UserError, match="gan was interrupted after step 6") as caught:
        run.claim_folder(job)
    match = re.search(r"delete (\S+) to begin anew", str(caught.value))
    assert match
    shutil.rmtree(match[1])
    run.claim_folder(job)
    assert "steps: 4" in run.root.read_bytes("job.yaml").decode()


@pytest.mark.parametrize("refusal", ["balanced", "elastic"])
def test_raised_resident_limit_suffices(digits: Folder, refusal: str) -> None:
    """The limit that a message names is one that the job file takes, and that holds the images."""
    shards = image_store.list_shards(digits / "train")

    def check(limit: str) -> None:
        settings = ["gan.workers=2", "gan.min_workers=1", f"data.resident_limit={limit}"]
        job = load_job(DIGITS, [*TINY, *settings])
        if refusal == "balanced":
            refuse_streamed(shards, job.data.resident_gb, Sampling(balanced=True))
        else:
            refuse_elastic_streaming("gan", job.gan, shards, job.data.resident_gb)

    with pytest.raises(UserError, match=r"raise data\.resident_limit") as caught:
        check("1e-9")
    match = re.search(r"raise data\.resident_limit to (\S+) \(GB\)", str(caught.value))
    assert match, caught.value
    check(match[1])


@pytest.mark.parametrize("section", ["gan", "classifier"])
def test_fewer_workers_fit_the_cluster(section: str) -> None:
    """A cluster with too few CPUs for min_workers takes the number that the message names."""

    def find_shortages(least: str) -> list[str]:
        job = load_job(DIGITS, [*TINY, f"{section}.workers=8", f"{section}.min_workers={least}"])
        return preflight.find_shortages(job, Hardware.of_one_machine(4), None)

    (message,) = find_shortages("8")
    match = re.search(rf"give {section}\.min_workers (\d+) or fewer", message)
    assert match, message
    assert find_shortages(match[1]) == []


@pytest.mark.parametrize("per_class", ["20", "1", "null"])
def test_advised_sizes_are_experiments(tmp_path: Path, per_class: str) -> None:
    """A job without sizes takes those of the message, in the same folder."""
    settings = [*TINY, f"data.train_per_class={per_class}"]
    run = Run(Folder.from_uri(tmp_path / "run"))

    def list_sizes() -> list[int | None]:
        job = load_job(DIGITS, settings)
        run.claim_folder(job)
        context = Pipeline(job, run, Terminal()).context
        return [job.data.train_per_class for job, _ in size_experiments.open_experiments(context)]

    with pytest.raises(UserError, match=r"compare\.sizes: the job has none; give ") as caught:
        list_sizes()
    if match := re.search(r"give data\.train_per_class, such as (\d+)", str(caught.value)):
        settings.append(f"data.train_per_class={match[1]}")
    match = re.search(r"\[.*\]", str(caught.value))
    assert match, caught.value
    settings.append(f"compare.sizes={match[0]}")
    assert len(list_sizes()) == 3


def test_another_port_is_free() -> None:
    """Where the port is taken, another one is listened to."""
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as freed:
        free_port = freed.getsockname()[1]
        with pytest.raises(UserError, match="give another --port"):
            launch._refuse_taken_port(ListenAddress("127.0.0.1", taken.getsockname()[1], None, None))
        freed.close()
        launch._refuse_taken_port(ListenAddress("127.0.0.1", free_port, None, None))


@pytest.mark.parametrize("file", ["job.yaml", "dataset.json", "split.parquet", "rejected.parquet", "card.html"])
def test_same_command_goes_on_with_room(tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full while a file is written ends the stage; with room the same command finishes it."""
    job = load_job(DIGITS, TINY)
    run = Run(Folder.from_uri(tmp_path / "run"))
    stage: Callable[[Pipeline], None] = Pipeline.prepare_data

    def work() -> None:
        with run.hold_lock():
            run.claim_folder(job)
            stage(Pipeline(job, run, Terminal()))

    with monkeypatch.context() as patch:
        fill_disk(patch, file)
        with pytest.raises(
            DiskFull, match=f"{file}: the disk is full.* MB could not be written, .*same command continues"
        ):
            work()
    assert not run.dataset.has_file("dataset.json")
    work()
    assert run.dataset.has_file("dataset.json")
    assert not list(tmp_path.rglob(".*.part"))


@pytest.mark.parametrize("file", ["metrics.jsonl", "step-00000004.safetensors"])
def test_gan_goes_on_with_room(experiment: Run, tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full while a GAN trains ends it with the path; with room it goes on from its last checkpoint."""
    job = load_job(DIGITS, TINY)
    gan = Folder.from_uri(tmp_path / "gan")
    training = synthetic_pools.build_training(job, experiment, synthetic_pools.GanSource(gan, experiment.dataset))
    with monkeypatch.context() as patch:
        fill_disk(patch, file)
        with pytest.raises(DiskFull, match=rf"{file}: the disk is full.* MB could not be written"):
            train_and_finish(training, Place())
    assert not gan.has_file("gan.json")
    train_and_finish(training, Place())
    assert gan.read_bytes("gan.safetensors") == experiment.gan.read_bytes("gan.safetensors")


def fill_disk(patch: pytest.MonkeyPatch, file: str) -> None:
    """Have writing a file of that name fail as on a full disk."""
    real_open = Path.open

    def open_unless_full(path: Path, mode: str = "r", *arguments: object, **options: object) -> IO:
        if ("w" in mode and path.name.startswith(f".{file}.")) or (mode == "a" and path.name == file):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real_open(path, mode, *arguments, **options)  # type: ignore[call-overload]  # as it was called

    patch.setattr(Path, "open", open_unless_full)
