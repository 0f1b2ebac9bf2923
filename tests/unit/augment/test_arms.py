"""What the batches of each kind of arm hold, beside the baseline's."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from ganaug_ray.augment import arm_batches, arms, pseudo_labels, synthetic_pools
from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.config import ArmConfig, Job
from ganaug_ray.config.augment import KIND_TRAITS, Kind
from ganaug_ray.core.distributed import Place
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.loading import image_store
from ganaug_ray.errors import UserError

SIZE = 16


def with_arms(job: Job, **own: Any) -> Job:
    return Job.model_validate(job.model_dump() | {"arms": {name.replace("_", "-"): one for name, one in own.items()}})


def feed(job: Job, run: Run, name: str, **more: Any) -> Any:
    fit = pickle.loads(pickle.dumps(arm_batches.build_training(job, run, name, 0, **more)))  # noqa: S301  # it travels to other processes
    return fit.batches(Place())


def test_arm_rows_follow_baseline_rows(experiment: Run, tiny_job: Job) -> None:
    """The extra rows of an arm follow the baseline's rows, which stay the same in every batch."""
    job = with_arms(tiny_job, oversample={}, noise={"ratio": 1.0}, few={"kind": "synthetic", "ratio": 0.25})
    real = feed(job, experiment, arms.REAL)(1)
    for name, more in (("oversample", 8), ("noise", 16), ("few", 4)):
        batch = feed(job, experiment, name)(1)
        assert torch.equal(batch.x_BCHW[:SIZE], real.x_BCHW)
        assert torch.equal(batch.y_B[:SIZE], real.y_B)
        assert len(batch.y_B) == batch.total == SIZE + more


def test_oversampling_adds_real_images_only(experiment: Run, tiny_job: Job) -> None:
    """Oversampling adds only real training images, and noise adds none of them."""
    job = with_arms(tiny_job, oversample={}, noise={})
    train = image_store.read_images(experiment.dataset / "train")
    known = {image.tobytes() for image in train.images}
    for name, real in (("oversample", True), ("noise", False)):
        x_BCHW = feed(job, experiment, name)(0).x_BCHW[SIZE:]
        rows = ((x_BCHW + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        assert all((row.tobytes() in known) is real for row in rows)


def test_synthetic_only_and_unaugmented_arms(experiment: Run, tiny_job: Job) -> None:
    """Arm synthetic-only trains on synthetic rows alone, and arm real trains without classic augmentation."""
    job = with_arms(tiny_job, synthetic_only={}, real={})
    alone = feed(job, experiment, "synthetic-only")
    synthetic = {image.tobytes() for image in image_store.read_images(experiment.synthetic).images}
    for step in range(3):
        batch = alone(step)
        assert batch.total == len(batch.y_B) == SIZE
        rows = ((batch.x_BCHW + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        assert {row.tobytes() for row in rows} <= synthetic
    plain = arm_batches.build_training(job, experiment, "real", 0)
    assert (plain.config.flip, plain.config.rotate, plain.config.zoom, plain.config.shift) == (False, 0, 0, 0)
    assert plain.config.steps == tiny_job.classifier.steps
    assert torch.equal(plain.batches(Place())(2).x_BCHW, feed(job, experiment, arms.REAL)(2).x_BCHW)


def test_shuffled_arm_keeps_synthetic_images(experiment: Run, tiny_job: Job) -> None:
    """Arm shuffled-labels shows the same synthetic images with labels that are not theirs."""
    job = with_arms(tiny_job, shuffled_labels={"ratio": 2.0}, same={"kind": "synthetic", "ratio": 2.0})
    shuffled, true = (feed(job, experiment, name) for name in ("shuffled-labels", "same"))
    assert torch.equal(shuffled(0).x_BCHW, true(0).x_BCHW)
    agree = torch.cat([shuffled(step).y_B[SIZE:] == true(step).y_B[SIZE:] for step in range(8)])
    assert agree.float().mean() < 0.3


def test_arm_is_limited_to_its_classes(experiment: Run, tiny_job: Job) -> None:
    """An arm adds synthetic images of the classes that its settings name, and of no others."""
    job = with_arms(
        tiny_job,
        some={"kind": "synthetic", "classes": ["3", "7"], "ratio": 0.5},
        best={"kind": "synthetic", "classes": "gaining", "ratio": 0.5},
        all={"kind": "synthetic"},
    )
    some = feed(job, experiment, "some")
    assert {y for step in range(6) for y in some(step).y_B[SIZE:].tolist()} == {3, 7}
    best = feed(job, experiment, "best", gaining=["1"])
    assert set(best(0).y_B[SIZE:].tolist()) == {1}
    none = feed(job, experiment, "best", gaining=[])
    assert none(0).total == SIZE
    assert [name for name, _ in arms.list_pairs(job)][-2:] == ["best", "best"], "it waits for the others"
    counts = {"cat": 20, "dog": 3}
    with pytest.raises(UserError, match=r"classes of arm few: no class is rare, .* such as \[dog\]"):
        arms.check_classes("few", ArmConfig(kind="synthetic", classes="rare"), counts, rare=[])
    arms.check_classes("few", ArmConfig(kind="synthetic", classes="rare"), counts, rare=["dog"])
    with pytest.raises(UserError, match="'owl'"):
        arms.check_classes("few", ArmConfig(kind="live", classes=["owl"]), counts, rare=[])


@pytest.mark.parametrize("strategy", ["mix", "anneal"])
@pytest.mark.parametrize("kind", ["synthetic", "live"])
def test_missing_class_is_not_made_up_for(
    experiment: Run, tiny_job: Job, tmp_path: Path, kind: str, strategy: str
) -> None:
    """A class that was not drawn has no synthetic rows, and the other classes get no more than with it."""
    run = Run(Folder.from_uri(tmp_path))
    for name in ("dataset", "gan"):
        (tmp_path / name).symlink_to(f"{experiment.root}/{name}")
    job = with_arms(tiny_job, few={"kind": kind, "ratio": 1.0, "strategy": strategy, "classes": ["1", "3", "7"]})

    def count_rows(drawn: list[int]) -> np.ndarray:
        shutil.rmtree(tmp_path / "synthetic", ignore_errors=True)
        pool = image_store.read_images(experiment.synthetic)
        image_store.write_shard(
            run.synthetic.create(), 0, pool.take(np.flatnonzero(np.isin(pool.labels, drawn))), "synthetic"
        )
        marker = experiment.synthetic.read_json("synthetic.json") | {
            "asked": {str(label): 10 for label in range(10)},
            "not_drawn": [str(label) for label in range(10) if label not in drawn],
            "limits": None,
        }
        run.synthetic.write_json("synthetic.json", marker)
        batches = feed(job, run, "few")
        rows = torch.cat([batches(step).y_B[SIZE:] for step in range(tiny_job.classifier.steps)])
        return rows.bincount(minlength=10).numpy()

    whole = count_rows([1, 3, 7])
    without = count_rows([1, 7])
    assert without[3] == 0
    assert whole[3] > 0
    assert without.sum() == pytest.approx(whole.sum() * 2 / 3, abs=1)
    assert np.abs(without - whole)[[1, 7]].max() <= 3, "each has its share, up to where the passes are cut"


def test_every_schema_kind_is_implemented() -> None:
    """A name that the schema accepts is a kind that a training knows."""
    assert tuple(KINDS) == tuple(KIND_TRAITS) == get_args(Kind)


def test_kinds_describe_their_batches() -> None:
    """The words of the dry run and of the report."""
    counts, steps = {"cat": 20, "dog": 300}, 40

    def describe(**settings: Any) -> str:
        arm = ArmConfig(**settings)
        unused = ["dog"] if arm.classes == "rare" else []
        return KINDS[arm.kind].describe_batches(arm, counts, SIZE, steps, unused)

    stored = "500 images of 2 classes, 200 to 300 each"
    assert describe(kind="real") == "real rows without classic augmentation"
    assert describe(kind="noise", ratio=0.5) == "noise, mix: 8 a batch, 320 in all"
    assert describe(kind="synthetic-only") == f"synthetic-only, {stored}, batches of 16"
    assert describe(kind="synthetic", classes="rare", weight=0.5, soft_labels=True) == (
        "synthetic of rare classes (cat), 200 images of 1 class, 200 each, mix: 16 a batch, 640 in all, "
        "loss weight 0.5, soft labels"
    )
    filled = ArmConfig(kind="oversample", strategy="balance")
    rows = [
        KINDS["oversample"].describe_batches(filled, counts | {"owl": 200}, SIZE, steps, no) for no in ((), ("cat",))
    ]
    assert rows == ["oversample, balance: 11.7 a batch, 467 in all", "oversample, balance: 3.1 a batch, 123 in all"]
    counts = {"cat": 20, "dog": 20}
    assert describe(kind="synthetic-only") == "synthetic-only, 400 images of 2 classes, 200 each, batches of 16"
    assert KINDS["real"].describe_settings(ArmConfig(kind="real")) == ""
    assert KINDS["live"].describe_settings(ArmConfig(kind="live")) == "mix, ratio 1"


def test_arms_share_equal_synthetic_pools(experiment: Run, tiny_job: Job) -> None:
    """Arms that need the same synthetic images share a pool, and an arm with stricter screening gets another."""
    job = with_arms(
        tiny_job,
        **{"real+classic+synthetic": {}},
        few={"kind": "synthetic", "ratio": 0.25, "classes": ["1"]},
        now={"kind": "live"},
        strict={"kind": "synthetic", "screen": {"confidence": 0.9}},
    )
    first, strict = synthetic_pools.list_pools(job, experiment)
    assert (first.folder.name, first.stored) == ("synthetic", True)
    assert strict.folder.name.startswith("synthetic-")
    assert strict.screen.confidence == 0.9
    assert [gan.folder.name for gan in synthetic_pools.list_gans(job, experiment)] == ["gan"]


def test_pseudo_labels_need_confident_teacher(experiment: Run, tiny_job: Job, tmp_path: Any) -> None:
    """Only unlabelled images that the teacher is confident about get a pseudo-label, which is its prediction."""
    (tmp_path / "dataset").mkdir()
    for name in ("train", "val", "test", "dataset.json"):
        (tmp_path / "dataset" / name).symlink_to(f"{experiment.dataset}/{name}")
    (tmp_path / "models").symlink_to(str(experiment.models))
    run = Run(Folder.from_uri(tmp_path))
    hidden = image_store.read_images(experiment.dataset / "test", 200)
    blind = image_store.LabelledImages(
        hidden.images, hidden.labels * 0 - 1, hidden.ids, hidden.paths, hidden.provenance
    )
    image_store.write_images((run.dataset / "unlabelled").create(), blind, "real")
    teacher = arms.locate_teacher(run)
    record = pseudo_labels.write_pseudo_labels(run.dataset, teacher, run.pseudo, 0.15)
    alone, both = (
        image_store.read_images(run.pseudo / pseudo_labels.PSEUDO_ONLY_FOLDER),
        image_store.read_images(run.pseudo / "train"),
    )
    assert 0 < len(alone) < 200
    assert len(both) == len(alone) + 80 == record.count_train_images()
    assert record.stage == "pseudo-label", "its seconds are not those of the original data set once more"
    from ganaug_ray.classify.predict import Classifier

    probabilities = Classifier.load(teacher).predict_probabilities(hidden.images)
    sure = probabilities.max(1) >= 0.15
    assert alone.ids == [id_ for id_, own in zip(hidden.ids, sure, strict=True) if own]
    assert (alone.labels == probabilities[sure].argmax(1)).all()
    data = tiny_job.data.model_copy(update={"unlabelled": ["unused"]})
    unlabelled = tiny_job.model_copy(update={"data": data})
    batch = feed(with_arms(unlabelled, pseudo={}), run, "pseudo")(0)
    assert batch.total == SIZE + 8
    even = unlabelled.model_copy(update={"classifier": tiny_job.classifier.model_copy(update={"sampling": "balanced"})})
    drawn = feed(with_arms(even, pseudo={}), run, "pseudo")
    counts = np.unique(alone.labels, return_counts=True)[1]
    turn = len(counts) * counts.max()
    seen = torch.cat([drawn(step).y_B[SIZE:] for step in range(-(-turn // 8))])[:turn]
    assert set(seen.bincount().tolist()) - {0} == {counts.max()}, "of each class as many, as of real rows"
