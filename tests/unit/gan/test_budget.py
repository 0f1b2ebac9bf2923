"""The warning before a training that is too short."""

from __future__ import annotations

from ganaug_ray.config import GanConfig
from ganaug_ray.gan import training_budget

NEEDED = training_budget.NEEDED_IMAGES["scarce", 32]


def test_short_training_warns_with_sufficient_epochs() -> None:
    """A training that is too short is warned of, and as many epochs as the warning advises are enough."""
    found = training_budget.compute_budget(GanConfig(epochs=40, batch_size=64), 32, 1000)
    assert found.summary == "625 generator steps, 40,000 images seen (40 epochs)"
    assert found.warning is not None
    assert found.warning.startswith(
        f"too short for good samples: the data sets that we measured needed {NEEDED:,} images seen, or more"
    )
    enough = -(-NEEDED // 1000)
    assert f"gan.epochs={enough} or more" in found.warning
    assert training_budget.compute_budget(GanConfig(epochs=enough, batch_size=64), 32, 1000).warning is None
    assert training_budget.compute_budget(GanConfig(epochs=enough - 1, batch_size=64), 32, 1000).warning is not None


def test_budget_advice_uses_steps() -> None:
    """A job that counts its training in steps is advised in steps."""
    found = training_budget.compute_budget(GanConfig(steps=100, batch_size=64), 32, 1000)
    assert found.warning is not None
    assert f"gan.steps={-(-NEEDED // 64)} or more" in found.warning
    assert training_budget.compute_budget(GanConfig(steps=-(-NEEDED // 64), batch_size=64), 32, 1000).warning is None


def test_larger_images_need_larger_budget() -> None:
    """Larger images need at least the same budget."""
    found = training_budget.compute_budget(GanConfig(steps=100, batch_size=64), 128, 1000)
    assert found.needed_images is not None
    assert found.needed_images >= NEEDED
    assert found.warning is not None
    assert "gan.image_size" not in found.warning, "the least that was measured holds for the next smaller size too"
