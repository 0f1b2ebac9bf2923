"""The warning before a training that is too short."""

from __future__ import annotations

from ganaug_ray.config import GanConfig
from ganaug_ray.gan import training_budget

NEEDED = training_budget.NEEDED_IMAGES["scarce", 32]


def test_few_epochs_of_few_images_are_too_little_and_the_advice_suffices() -> None:
    found = training_budget.compute_budget(GanConfig(epochs=40, batch_size=64), 32, 1000)
    assert found.summary == "625 generator steps, 40000 images seen (40 epochs)"
    assert found.warning is not None
    assert found.warning.startswith(f"too few for good samples: {NEEDED} images seen were measured")
    enough = -(-NEEDED // 1000)
    assert f"gan.epochs={enough} or more" in found.warning
    assert training_budget.compute_budget(GanConfig(epochs=enough, batch_size=64), 32, 1000).warning is None
    assert training_budget.compute_budget(GanConfig(epochs=enough - 1, batch_size=64), 32, 1000).warning is not None


def test_with_steps_the_advice_is_in_steps() -> None:
    found = training_budget.compute_budget(GanConfig(steps=100, batch_size=64), 32, 1000)
    assert found.warning is not None
    assert f"gan.steps={-(-NEEDED // 64)} or more" in found.warning
    assert training_budget.compute_budget(GanConfig(steps=-(-NEEDED // 64), batch_size=64), 32, 1000).warning is None


def test_larger_images_need_no_less_and_may_be_drawn_smaller() -> None:
    found = training_budget.compute_budget(GanConfig(steps=100, batch_size=64), 128, 1000)
    assert found.needed_images is not None
    assert found.needed_images >= NEEDED
    assert found.warning is not None
    assert found.warning.endswith("or a smaller gan.image_size")
