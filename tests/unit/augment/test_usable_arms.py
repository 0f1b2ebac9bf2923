"""Which arms are left out, since their generator is not usable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ganaug_ray.augment import arms, usable_arms
from ganaug_ray.config import Job
from ganaug_ray.config.loader import load_job
from ganaug_ray.core.experiment_dir import Run
from ganaug_ray.core.storage import Folder
from tests.conftest import DIGITS
from tests.helpers.records import COLLAPSED, USABLE, write_gan

ARMS = "arms={stored: {kind: synthetic}, now: {kind: live}, alone: {kind: synthetic-only}, oversample: {}}"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Folder.from_uri(tmp_path))


def make_job(*settings: str) -> Job:
    return load_job(DIGITS, [ARMS, *settings])


def write(run: Run, name: str, beside: dict[str, Any] | None, split: int = 0) -> None:
    write_gan((run.locate_split(split).root / name).create(), beside_held_out=beside)


def test_red_generator_leaves_its_arms_out(run: Run) -> None:
    """All arms with its images are left out, controls too, and nothing else; before it is trained, none are."""
    job = make_job()
    assert usable_arms.find_unusable_arms(job, run) == []
    write(run, "gan", COLLAPSED)
    assert usable_arms.find_unusable_arms(job, run) == ["stored", "now", "alone"]
    left = usable_arms.leave_out_unusable(job, run)
    assert arms.list_names(left) == [arms.REAL, "oversample"]
    assert list(left.all_arms) == list(job.compared_arms)
    assert list(left.derive_split(0).compared_arms) == ["oversample"]
    assert left.model_dump() == job.model_dump(), "job.yaml has them all the same"


def test_setting_uses_it_anyway(run: Run) -> None:
    """With augment.use_anyway no arm is left out; the verdict stays what it is."""
    write(run, "gan", COLLAPSED)
    job = make_job("augment.use_anyway=true")
    assert usable_arms.find_unusable_arms(job, run) == []
    assert [judged.colour for judged in usable_arms.judge_generators(job, run)] == ["red"]


def test_usable_and_old_generators_leave_none_out(run: Run) -> None:
    """Nobody is left out for a usable generator, nor for one that was never judged."""
    for beside in (USABLE, None):
        write(run, "gan", beside)
        assert usable_arms.find_unusable_arms(make_job(), run) == []


def test_one_red_split_is_enough(run: Run) -> None:
    """An arm is left out in all splits where its generator is red in any: without these alone it would be flattered."""
    job = make_job("compare.splits=3", "data.split.test=0.2")
    write(run, "gan", USABLE)
    write(run, "gan", COLLAPSED, split=1)
    assert usable_arms.find_unusable_arms(job, run) == ["stored", "now", "alone"]
    (judged,) = usable_arms.judge_generators(job, run)
    assert judged.worst_split == 1
    assert judged.sentence.startswith("In 1 of 2 splits: The generator is not usable yet: it drew no a and no b")


def test_each_generator_is_judged_by_itself(run: Run) -> None:
    """The GAN, the one with pseudo-labelled images and a shared generator each stand for their own arms."""
    job = load_job(
        DIGITS,
        [
            "arms={ours: {kind: synthetic}, both: {kind: pseudo+synthetic}}",
            "arms.theirs={kind: synthetic, source: generator}",
            "arms.files={kind: synthetic, source: images}",
            "data.unlabelled=unused",
            "augment.generator=pack",
            "augment.images=made",
        ],
    )
    for name, beside in (("gan", USABLE), ("gan-pseudo", COLLAPSED), ("generator", COLLAPSED)):
        write(run, name, beside)
    judged = {one.name: (one.colour, one.arms) for one in usable_arms.judge_generators(job, run)}
    assert judged == {
        "gan": ("green", ["ours"]),
        "gan-pseudo": ("red", ["both"]),
        "generator": ("red", ["theirs"]),
    }
    assert list(usable_arms.leave_out_unusable(job, run).compared_arms) == ["ours", "files"]
