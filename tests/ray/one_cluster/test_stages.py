"""The stages that run on a cluster give what they give without one."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from PIL import Image
from ray.train import UserCallback
from ray.util import placement_group_table

from ganaug_ray.augment import strategies
from ganaug_ray.augment.arms import locate_teacher
from ganaug_ray.augment.generate import generate_pool
from ganaug_ray.augment.generated_blocks import generate_blocks
from ganaug_ray.augment.imported_pool import ShardRows, gather_evidence
from ganaug_ray.augment.live_generation import LiveSpec, open_live_feed
from ganaug_ray.augment.mixed_batches import open_mixed_feed
from ganaug_ray.augment.pseudo_labels import PSEUDO_ONLY_FOLDER, write_pseudo_labels
from ganaug_ray.augment.screening import Examiner, Screening
from ganaug_ray.augment.screening_rules import Evidence, ScreeningLimits
from ganaug_ray.classify import launch
from ganaug_ray.classify.launch import train_classifiers
from ganaug_ray.classify.train_worker import ClassifierTraining
from ganaug_ray.config import DataConfig, Job, ScreenConfig
from ganaug_ray.core import experiment_dir, metrics_log
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.finite_guard import DivergenceError
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store, object_store, shared_memory
from ganaug_ray.data.loading.resident_loader import open_real_feed
from ganaug_ray.data.prepare import prepare_dataset
from ganaug_ray.errors import StageFailed, UserError
from ganaug_ray.gan.sampler import Generator
from ganaug_ray.runtime import ray_data, worker_group
from ganaug_ray.runtime.executors import map_on_cpu
from ganaug_ray.runtime.hardware import Hardware
from ganaug_ray.runtime.ray_data import RayDataDeviceExecutor, RayDataExecutor
from ganaug_ray.runtime.resources import StageResources

pytestmark = pytest.mark.usefixtures("cluster")

ONE_CPU = Hardware.of_one_machine(1)
THREE_CPUS = Hardware.of_one_machine(3)
TWO_ACTORS, THREE_ACTORS = (StageResources(1, 1, 0, at_once=n) for n in (2, 3))


def test_pool_is_independent_of_actor_count(experiment: Run, tmp_path: Path) -> None:
    """A pool is the same for any number of actors and needs nothing but the generator."""
    gan = Folder.from_uri(tmp_path / "gan")
    for name in ("gan.json", "gan.safetensors"):
        gan.write_bytes(name, experiment.gan.read_bytes(name))
    counts = {"0": 300, "7": 20, "9": 256}
    one, three = Folder.from_uri(tmp_path / "one"), Folder.from_uri(tmp_path / "three")
    made: list[int] = []
    record = generate_pool(counts, 5, gan, one, ONE_CPU, progress=made.append)
    assert record["images"] == 576
    generate_pool(counts, 5, gan, three, THREE_CPUS, progress=made.append)
    assert made[-1] == 576
    assert (
        one.list_files(".parquet")
        == three.list_files(".parquet")
        == [f"part-{label:04d}-{block:05d}.parquet" for label, block in ((0, 0), (0, 1), (7, 0), (9, 0))]
    )
    assert all(one.read_bytes(name) == three.read_bytes(name) for name in one.list_files(".parquet"))

    unstored = Folder.from_uri(tmp_path / "unstored")
    assert generate_pool(counts, 5, gan, unstored, ONE_CPU, stored=False)["hash"] == record["hash"], (
        "what is made is the same"
    )
    assert unstored.list_files() == ["synthetic.json"]

    rows = image_store.read_images(one)
    assert [rows.labels.tolist().count(label) for label in (0, 7, 9)] == [300, 20, 256]
    spec = Generator.load(gan)
    assert rows.provenance[300] == f"gan:{spec.spec.hash}/class:7/seed:5/index:0"
    again = spec.generate("0", 300, seed=5)
    assert (rows.images[:300] == again).all(), "a row can be made again from what it names"
    assert set(one.read_table("part-0000-00000.parquet").column("source").to_pylist()) == {"synthetic"}


def test_live_screening_uses_pool_limits(experiment: Run, tmp_path: Path) -> None:
    """Live images are screened by the limits that a pool would have, and no image is stored."""
    mild = ScreenConfig(confidence=0.0, copy_distance=0.0, class_agreement=0.05)
    folders = (
        str(folder) for folder in (experiment.locate_model("real+classic", 0), experiment.dataset, experiment.gan)
    )
    screening = Screening(mild, *folders)
    generator = Generator.load(experiment.gan)
    examiner, out = Examiner(screening, "cpu"), Folder.from_uri(tmp_path / "live")
    record = generate_pool(
        dict.fromkeys(generator.classes, 30), 5, experiment.gan, out, ONE_CPU, screening, stored=False
    )
    pool = [next(generate_blocks(generator, name, 30, 5, examiner)).limits for name in generator.classes]
    limits = ScreeningLimits.from_record(json.loads(json.dumps(record["limits"])))
    assert limits == ScreeningLimits.join_classes([own for own in pool if own])
    assert record["not_drawn"] == [name for name, one in zip(generator.classes, limits.drawn, strict=True) if not one]
    assert 0 < len(record["not_drawn"]) < 10
    assert limits.realism is not None
    assert record["images"] == 0
    assert out.list_files(".parquet") == ["screened.parquet"]


def test_ray_data_prepares_identical_dataset(tmp_path: Path) -> None:
    """Ray Data's actors prepare the same dataset, byte for byte, as a single process; errors pass as they are."""
    write_pictures(tmp_path / "source", 600)
    (tmp_path / "source" / "class0" / "bad.png").write_bytes(b"<html>")
    config = DataConfig(source=[str(tmp_path / "source")], train_per_class=100, unlabelled=["unused"])
    here, there = Folder.from_uri(tmp_path / "here"), Folder.from_uri(tmp_path / "there")
    prepare_dataset(config, here)
    prepare_dataset(config, there, RayDataExecutor(THREE_ACTORS))
    assert hash_tables(there) == hash_tables(here)
    assert {"rejected.parquet", "unlabelled/part-00000.parquet", "train/part-00000.parquet"} < hash_tables(here).keys()
    (tmp_path / "broken.tar").write_bytes(b"no tar")
    broken = config.model_copy(update={"source": [str(tmp_path / "broken.tar")], "unlabelled": None})
    with pytest.raises(UserError, match=r"broken\.tar"):
        prepare_dataset(broken, Folder.from_uri(tmp_path / "none"), RayDataExecutor(THREE_ACTORS))


def test_deadly_item_is_given_up(tmp_path: Path) -> None:
    """An item that kills each process that it comes to ends in a sentence, after a few restarts."""

    def call(item: int) -> int:
        with (tmp_path / str(item)).open("a") as stream:
            stream.write("called\n")
        if item == 1:
            os._exit(1)
        return item

    with pytest.raises(StageFailed, match="a worker failed"):
        list(RayDataExecutor(StageResources(1, 1, 0))(call, range(2)))
    assert len((tmp_path / "1").read_text().split()) == 1 + ray_data.MAX_RESTARTS


def test_actors_label_and_screen_as_one_process(experiment: Run, tmp_path: Path) -> None:
    """Pseudo-labels, and the evidence by which images are screened, are the same from two actors and this process."""
    executors = {"here": map_on_cpu, "there": RayDataDeviceExecutor(TWO_ACTORS)}
    teacher = locate_teacher(experiment)
    dataset = Folder.from_uri(tmp_path / "dataset")
    shutil.copytree(experiment.dataset.path, dataset.path)
    rows = image_store.read_images(experiment.dataset / "test", 90)
    for number in range(3):
        part = rows.take(np.arange(30 * number, 30 * number + 30))
        image_store.write_shard((dataset / "unlabelled").create(), number, part, "real")
    for name, executor in executors.items():
        write_pseudo_labels(dataset, teacher, Folder.from_uri(tmp_path / name), 0.15, executor)
    assert hash_tables(Folder.from_uri(tmp_path / "there")) == hash_tables(Folder.from_uri(tmp_path / "here"))
    assert image_store.read_images(Folder.from_uri(tmp_path / "here") / PSEUDO_ONLY_FOLDER).ids

    screening = Screening(ScreenConfig(), str(teacher), str(dataset), None)
    shards = [ShardRows(f"part-{number:05d}.parquet", np.arange(0, 30, 2)) for number in range(3)]
    here, there = (
        Evidence.concatenate(gather_evidence(screening, dataset / "unlabelled", shards, executor, lambda images: None))
        for executor in executors.values()
    )
    assert torch.equal(here.probabilities_NK, there.probabilities_NK)
    assert torch.equal(here.near_N, there.near_N)
    assert here.y_N.tolist() == rows.labels[::2].tolist()


def write_pictures(folder: Path, n: int) -> None:
    """Pictures of noise in three classes."""
    for index in range(n):
        (folder / f"class{index % 3}").mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (16, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"class{index % 3}" / f"{index}.png")


def hash_tables(folder: Folder) -> dict[str, str]:
    """The path of each table in a folder and below it -> a hash of its bytes."""
    tables = Path(folder.path).rglob("*.parquet")
    return {
        str(path.relative_to(folder.path)): hashlib.blake2b(path.read_bytes()).hexdigest() for path in sorted(tables)
    }


def fit(job: Job, dataset: Folder, out: Path, batches: Any = None, **changes: Any) -> ClassifierTraining:
    config = job.classifier.model_copy(update=changes)
    batches = batches or functools.partial(open_real_feed, str(dataset), config.batch_size, 1.0, 0)
    return ClassifierTraining("real+classic", 0, config, str(dataset), str(out), batches, {})


def test_classifiers_train_in_parallel(tiny_job: Job, digits: Folder, experiment: Run, tmp_path: Path) -> None:
    """Classifiers with one worker and with two are trained side by side."""
    real = functools.partial(open_real_feed, str(digits), 16, 1.0, 0)
    upto = functools.partial(strategies.count_synthetic_rows, batch_size=16, ratio=0.3)
    live = functools.partial(open_live_feed, LiveSpec(str(experiment.gan), {"3": 5, "7": 5}, None, None), upto, 0)
    mixed = functools.partial(open_mixed_feed, real, live)
    train_classifiers(
        [fit(tiny_job, digits, tmp_path / "one", mixed), fit(tiny_job, digits, tmp_path / "two", mixed, workers=2)],
        1.0,
        THREE_CPUS,
    )
    for name in ("one", "two"):
        folder = Folder.from_uri(tmp_path / name)
        assert folder.list_files() == ["metrics.jsonl", "model.json", "model.safetensors", "predictions.parquet"]
        assert [row["step"] for row in metrics_log.read_metrics(folder)] == [4, 8]
        assert not [path for path in (tmp_path / name).iterdir() if path.name.startswith(".ray-train")]
        assert folder.read_json("model.json")["tally"] == {"generated": 38, "rejected": 0, "let_through": 0}


def test_shared_store_is_read_once(digits: Folder, tmp_path: Path) -> None:
    """Images that several trainings need are read once and shared in memory."""
    shutil.copytree((digits / "train").path, tmp_path / "train")
    folder = Folder.from_uri(tmp_path / "train")
    name = str(folder)
    assert not object_store.lend_stores([name], 1.0), "whoever is alone reads it himself"
    assert not object_store.lend_stores([name, name], 1e-9), "what is too large for memory is streamed"
    loans = object_store.lend_stores([name, name], 1.0)
    ray.wait(list(loans.values()))
    shutil.rmtree(tmp_path / "train")

    @ray.remote
    def look() -> tuple[int, bool, int]:
        with object_store.borrow_stores(loans):
            rows = shared_memory.read_images(folder)
            return len(rows), rows.images.flags.writeable, int(rows.images.sum())

    seen = ray.get([look.remote(), look.remote()])
    rows = image_store.read_images(digits / "train")
    assert seen == [(len(rows), False, int(rows.images.sum()))] * 2


def test_no_training_begins_before_its_images_are_read(
    tiny_job: Job, digits: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that began and waited would give its CPU to the next, and in the end all would compute at once."""
    gate = tmp_path / "gate"

    @ray.remote
    def read_at_last() -> image_store.LabelledImages:
        while not gate.exists():
            time.sleep(0.02)
        return image_store.read_images(digits / "train")

    @ray.remote
    def take_a_turn() -> None:
        pass

    def note_begin(training: ClassifierTraining, *stores: Any) -> bool:
        return gate.exists()

    monkeypatch.setattr(object_store, "lend_stores", lambda *given: {str(digits / "train"): read_at_last.remote()})
    monkeypatch.setattr(launch, "_train_task", note_begin)
    trainings = [fit(tiny_job, digits, tmp_path / str(seed)) for seed in range(3)]
    assert all(str(digits / "train") in training.stores for training in trainings)
    try:
        begun = [task.start() for task in launch.plan_tasks(trainings, 1.0, THREE_CPUS)]
        ray.get(take_a_turn.remote())  # which a training would have had before
    finally:
        gate.touch()
    assert ray.get(begun) == [True] * 3


def test_diverged_training_leaves_others_finished(tiny_job: Job, digits: Folder, tmp_path: Path) -> None:
    """A training that diverges is named with advice, and the other trainings finish."""
    fits = [fit(tiny_job, digits, tmp_path / "bad", lr=1e30), fit(tiny_job, digits, tmp_path / "good")]
    with pytest.raises(StageFailed, match=r"real\+classic, seed 0.*not finite.*lower classifier.lr"):
        train_classifiers(fits, 1.0, THREE_CPUS)
    assert experiment_dir.read_marker(Folder.from_uri(tmp_path / "good"), "model.json")
    assert not experiment_dir.read_marker(Folder.from_uri(tmp_path / "bad"), "model.json")


def test_killed_ranks_are_restarted_and_diverged_are_not(tmp_path: Path) -> None:
    """When a rank is killed all are started again; when they diverge that is raised once and not tried again."""

    def die_then_diverge(task: str, place: Place) -> None:
        began = Path(f"{task}-{place.rank}")
        if not began.exists():
            began.touch()
            while not (place.rank == 1 and Path(f"{task}-0").exists()):
                time.sleep(0.02)  # rank 0, as in an exchange with one that is gone, until it is ended
            os.kill(os.getpid(), signal.SIGKILL)
        with Path(task).open("a") as stream:
            stream.write(f"{place.rank}/{place.world_size}\n")
        raise DivergenceError(7)

    with pytest.raises(DivergenceError) as caught:
        worker_group.run_on_ranks(die_then_diverge, str(tmp_path / "calls"), 2, Folder.from_uri(tmp_path / "out"))
    assert caught.value.step == 7
    assert sorted((tmp_path / "calls").read_text().split()) == ["0/2", "1/2"]


class Failing(UserCallback):
    """Its error is one of Ray Train's controller, which then leaves what it has reserved."""

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        raise RuntimeError("no room for a report")


def test_failed_controller_frees_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next attempt would wait for ever, where the ranks take more than half of the CPUs."""
    monkeypatch.setattr(worker_group, "MAX_RESTARTS", 0)

    def report(task: None, place: Place) -> None:
        ray.train.report({"step": 1})

    with pytest.raises(StageFailed, match="no room for a report"):
        worker_group.run_on_ranks(report, None, 1, Folder.from_uri(tmp_path), callbacks=[Failing()])
    assert {facts["state"] for facts in placement_group_table().values()} == {"REMOVED"}
