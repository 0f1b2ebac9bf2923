"""The advice in a message on a job file, followed in the job file."""

from __future__ import annotations

import pytest

from ganaug_ray.config.loader import load_job
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS


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
        (["gan.conditional=false"], "give augment.ratio 0", ["augment.ratio=0"]),
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
    ],
)
def test_job_is_taken_once_advice_is(settings: list[str], advice: str, followed: list[str]) -> None:
    """A job that was refused is accepted with the setting that the message advises."""
    with pytest.raises(UserError) as caught:
        load_job(DIGITS, settings)
    assert advice in str(caught.value)
    load_job(DIGITS, [*settings, *followed])
