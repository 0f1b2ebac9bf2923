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


TWO_MODELS = "models={a: {steps: 5, patience: 2}, b: {steps: 5}}"
REGEX = "data.label_from={regex: cat}"


@pytest.mark.parametrize(
    ("settings", "advice", "followed"),
    [
        (["gan.workers=0"], "a whole number of at least 1, or auto", ["gan.workers=1"]),
        (["gan.workers=many"], "a whole number of at least 1, or auto", ["gan.workers=auto"]),
        (["gan.gpu_share=2"], "a number above 0 and up to 1, or auto", ["gan.gpu_share=1"]),
        (["gan.gpu_share=0"], "a number above 0 and up to 1, or auto", ["gan.gpu_share=auto"]),
        (["gan.workers=2", "gan.min_workers=4"], "expected as many or more", ["gan.workers=4"]),
        (["gan={steps: 5, epochs: 2}"], "give exactly one of steps and epochs", ["gan={steps: 5}"]),
        (["gan={steps: 5, epochs: 2}"], "give exactly one of steps and epochs", ["gan={epochs: 2}"]),
        (
            ["gan.steps=9", "gan.then=[{after: 5, lr: 1e-4}, {after: 3, lr: 1e-5}]"],
            "expected rising numbers",
            ["gan.then=[{after: 3, lr: 1e-4}, {after: 5, lr: 1e-5}]"],
        ),
        (["gan.frozen_layers=2"], "give init_from too", ["gan.init_from=pack"]),
        (
            ["classifier.weights=a", "classifier.init_from=b"],
            "give one of weights and init_from",
            ["classifier.weights=null"],
        ),
        (["data.split=taken"], "expected given, or a section with val and test", ["data.split=given"]),
        (["data.split=taken"], "or a section with val and test", ["data.split={val: 0.2, test: 0.2}"]),
        (["data.split={val: 0.5, test: 0.6}"], "leave nothing to train on", ["data.split={val: 0.2, test: 0.6}"]),
        (["data.label_from=child"], "expected parent", ["data.label_from=parent"]),
        (["data.label_from=child"], "or {csv: ...}", ["data.label_from={csv: labels.csv}"]),
        (["data.label_from={regex: a, csv: b}"], "give one of regex and csv", ["data.label_from={csv: b}"]),
        ([REGEX], "such as '^(?P<label>cat|dog)'", ["data.label_from={regex: '^(?P<label>cat|dog)'}"]),
        (
            ["data.imbalance={factor: 10}", "data.extends=old"],
            "give one of imbalance and extends",
            ["data.extends=null"],
        ),
        (["search.trials=3", "search.hours=1"], "give one budget: trials or hours", ["search.hours=null"]),
        (["models={a: {steps: 5}}"], "expected two models or more", ["models={a: {steps: 5}, b: {steps: 6}}"]),
        ([TWO_MODELS], "models that are compared run all steps", [TWO_MODELS.replace(", patience: 2", "")]),
        (["arms.t.kind=transfer"], "needs augment.generator, a pack", ["augment.generator=pack"]),
        (
            ["arms.l.kind=live", "arms.l.source=mine", "augment.images.mine={source: x}"],
            "augment.images has finished images; take kind synthetic",
            ["arms.l.kind=synthetic"],
        ),
        (["augment.images={gan: made}"], "gan: is the name of another source; give", ["augment.images={mine: made}"]),
        (
            ["data.extends=old", "compare.splits=2"],
            "data.extends keeps images where they were, so there is one split; leave one of the two out",
            ["data.extends=null"],
        ),
        (["arms.s.kind=synthetic", "arms.s.source=gen"], "expected one of gan", ["arms.s.source=gan"]),
        (
            ["data.source=s3://key:word@bucket/x"],
            "give them in the environment, such as AWS_SECRET_ACCESS_KEY",
            ["data.source=s3://bucket/x"],
        ),
    ],
)
def test_section_is_taken_once_advice_is(settings: list[str], advice: str, followed: list[str]) -> None:
    """A section that was refused is accepted with the value that the message advises in the place of the first."""
    with pytest.raises(UserError) as caught:
        load_job(DIGITS, settings)
    assert advice in str(caught.value)
    keys = {setting.partition("=")[0] for setting in followed}
    load_job(DIGITS, [*(setting for setting in settings if setting.partition("=")[0] not in keys), *followed])


def test_override_is_written_as_exemplified() -> None:
    """An override without a value is refused, and the example is taken."""
    with pytest.raises(UserError, match="expected key=value, such as ") as caught:
        load_job(DIGITS, ["gan.lr"])
    assert load_job(DIGITS, [str(caught.value).partition("such as ")[2]]).gan.lr == 1e-4


def test_named_variable_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that names an environment variable is taken once this is set."""
    monkeypatch.delenv("MY_IMAGES", raising=False)
    with pytest.raises(UserError, match="needs the environment variable MY_IMAGES, which is not set"):
        load_job(DIGITS, ["data.source=${MY_IMAGES}/pets"])
    monkeypatch.setenv("MY_IMAGES", "/images")
    assert load_job(DIGITS, ["data.source=${MY_IMAGES}/pets"]).data.source == ["/images/pets"]


def test_folder_is_told_who_takes_it(tmp_path: Path) -> None:
    """A folder of images in the place of a job file is told which command makes a job of it."""
    with pytest.raises(UserError, match=r"is a folder, expected a job file; `ganaug run .*` takes a folder of images"):
        load_job(tmp_path)
