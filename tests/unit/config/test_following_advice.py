"""The advice in a message on a job file, followed in the job file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganaug_ray.config.loader import load_job
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS

GIVEN = ["compare.splits=2", "data.split={given: true}"]


@pytest.mark.parametrize(
    ("settings", "advice", "followed"),
    [
        (
            ["classifier.weights=pretrained"],
            "give an arch of torchvision or timm",
            ["classifier.arch=torchvision:resnet18"],
        ),
        (
            ["classifier.keep=last", "classifier.patience=3"],
            "give one of the two",
            ["classifier.patience=null"],
        ),
        (
            ["classifier.sampling=balanced", "classifier.class_weights=balanced"],
            "rare classes would count twice; give one",
            ["classifier.sampling=natural"],
        ),
        (["gan.sampling=balanced", "data.loader=stream"], "take data.loader: resident", ["data.loader=resident"]),
        (["gan.sampling=balanced", "data.loader=stream"], "or auto with a data.resident_limit", ["data.loader=auto"]),
        (["gan.conditional=false"], "give augment.ratio 0", ["augment.ratio=0", "arms={}"]),
        (["arms.p.kind=pseudo"], "give data.unlabelled a source, or unused", ["data.unlabelled=unused"]),
        (
            ["compare.sizes=[2, 4]", "data.train_per_class=null"],
            "give data.train_per_class",
            ["data.train_per_class=8"],
        ),
        (
            ["data.value_range=[9, 0]"],
            "expected the lower one first, such as [0, 4095]",
            ["data.value_range=[0, 4095]"],
        ),
        (["augment.strategy=pretrain", "augment.weight=0.5"], "weight 0.5: strategy pretrain", ["augment.weight=1"]),
        (["augment.strategy=balance", "augment.per_class=9"], "leave it out", ["augment.per_class=null"]),
        (GIVEN, "data.split is given, so there is one split; leave one", ["data.split={test: 0.5}"]),
        (GIVEN, "data.split is given, so there is one split; leave one", ["compare.splits=1"]),
        (["compare.splits=3"], "at most 0.3333 of the images", ["data.split.test=0.3333"]),
        (["arms.real+classic.kind=noise", "arms.n.kind=noise"], "leave it out", ["arms={n: {kind: noise}}"]),
        (["arms.teacher.kind=noise"], "give the arm another name", ["arms={pupil: {kind: noise}}"]),
        (
            ["arms.g.kind=live", "arms.g.classes=gaining"],
            "in an arm of kind live with classes all; add such an arm",
            ["arms.a.kind=live", "arms.a.classes=all"],
        ),
        (["arms.p.kind=pseudo"], "give data.unlabelled a source", ["data.unlabelled=more"]),
        (["classifier.patience=3"], "leave it out", ["classifier.patience=null"]),
        (["classifier.patience=3"], "or give augment.ratio 0 and no arms", ["augment.ratio=0", "arms={}"]),
        (["compare.sizes=[20, 40]"], "other than data.train_per_class 20", ["compare.sizes=[10, 40]"]),
        (["classifier.batch_size=64", "classifier.workers=3"], "take 63", ["classifier.batch_size=63"]),
        (["classifier.batch_size=64", "classifier.workers=3"], "another number of work", ["classifier.workers=2"]),
    ],
)
def test_job_is_taken_once_advice_is(settings: list[str], advice: str, followed: list[str]) -> None:
    """A job that was refused is accepted with the setting that the message advises."""
    with pytest.raises(UserError) as caught:
        load_job(DIGITS, settings)
    assert advice in str(caught.value)
    load_job(DIGITS, [*settings, *followed])


def test_folder_is_told_who_takes_it(tmp_path: Path) -> None:
    """A folder of images in the place of a job file is told which command makes a job of it."""
    with pytest.raises(UserError, match=r"is a folder, expected a job file; `ganaug run .*` takes a folder of images"):
        load_job(tmp_path)
