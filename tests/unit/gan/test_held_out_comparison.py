"""Generated images beside held-out real ones, in features that a test makes up."""

from __future__ import annotations

import pytest
import torch

from ganaug_ray.gan.metrics.held_out_comparison import ComparedImages, compare_with_held_out

CLASSES = ["cat", "dog", "owl"]


def draw_real(n: int, seed: int) -> ComparedImages:
    """Features of n real images of two classes that lie apart, all recognised."""
    generator = torch.Generator().manual_seed(seed)
    y_N = torch.arange(n) % 2
    return ComparedImages(torch.randn(n, 8, generator=generator) + 4.0 * y_N[:, None], y_N, y_N)


def draw_like_real(y_N: torch.Tensor) -> ComparedImages:
    """Images like real ones, other ones at each call."""
    noise_NF = torch.randn(len(y_N), 8)
    return ComparedImages(noise_NF + 4.0 * y_N[:, None], y_N, y_N)


def draw_collapsed(y_N: torch.Tensor) -> ComparedImages:
    """The same image whatever is asked for, which the teacher takes for a dog."""
    return ComparedImages(torch.full((len(y_N), 8), 12.0), y_N, torch.ones_like(y_N))


@pytest.mark.parametrize("held_out", [24, 100])
def test_perfect_generator_is_like_held_out(held_out: int) -> None:
    """Of as many images a perfect generator reaches what held-out ones do, however few these are."""
    torch.manual_seed(0)
    train = draw_real(200, 1)
    figures = compare_with_held_out(
        train.features_NF, train.y_N, draw_real(held_out, 2), draw_like_real, CLASSES, 0, [0, 1]
    )
    assert figures["images"] == held_out
    for name in ("coverage", "recall"):
        assert figures[name]["held_out"] > 0.7
        assert figures[name]["generated"] == pytest.approx(figures[name]["held_out"], abs=0.15)
    assert abs(figures["kid"]["generated"]) < 0.1 * figures["kid_of_a_class"]
    assert figures["classes"] == {
        name: {"generated": 1.0, "held_out": 1.0, "images": held_out // 2} for name in ("cat", "dog")
    }


def test_collapsed_generator_is_told() -> None:
    """One image for all covers nothing, lies far off, and is of one class."""
    train = draw_real(200, 1)
    figures = compare_with_held_out(train.features_NF, train.y_N, draw_real(100, 2), draw_collapsed, CLASSES, 0, [0, 1])
    assert figures["coverage"]["generated"] < 0.1
    assert figures["recall"]["generated"] == 0.0
    assert figures["kid"]["generated"] > figures["kid_of_a_class"]
    assert [figures["classes"][name]["generated"] for name in ("cat", "dog")] == [0.0, 1.0]


def test_unknown_classes_are_left_out() -> None:
    """A generator that knows some of the classes is held against images of these alone."""
    train, held_out = draw_real(200, 1), draw_real(100, 2)
    asked: list[int] = []

    def draw(y_N: torch.Tensor) -> ComparedImages:
        asked.extend(y_N.tolist())
        return draw_like_real(y_N)

    figures = compare_with_held_out(train.features_NF, train.y_N, held_out, draw, CLASSES, 0, [1])
    assert figures["images"] == 50
    assert set(asked) == {1}
    assert list(figures["classes"]) == ["dog"]


def test_too_few_images_have_no_figures() -> None:
    """Of fewer images than a figure needs there is none; a class is looked at all the same."""
    train = draw_real(200, 1)
    figures = compare_with_held_out(train.features_NF, train.y_N, draw_real(12, 2), draw_like_real, CLASSES, 0, [0, 1])
    assert figures["images"] == 12
    assert "coverage" not in figures
    assert figures["classes"]["cat"]["images"] == 6
