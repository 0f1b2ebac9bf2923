"""The verdict on a generator: its colour by stated limits, and one plain sentence."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.gan.generator_verdict import GeneratorVerdict, judge_generator
from tests.helpers.records import write_gan

MAX_WORDS = 30


def figure(generated: float, held_out: float) -> dict[str, float]:
    return {"generated": generated, "held_out": held_out}


def recognition(**classes: tuple[float, float]) -> dict[str, Any]:
    """Class -> how often generated and held-out images are recognised, of 12 held-out ones each."""
    return {name: figure(*shares) | {"images": 12} for name, shares in classes.items()}


WELL = recognition(cat=(0.9, 0.92), dog=(0.8, 0.92))
USABLE = {
    "images": 100,
    "coverage": figure(0.92, 0.96),
    "recall": figure(0.7, 0.9),
    "kid": figure(0.06, -0.02),
    "kid_of_a_class": 4.0,
    "classes": WELL,
}


@pytest.fixture
def judge(tmp_path: Any) -> Any:
    def make(beside: dict[str, Any] | None, copies: bool = False, **settings: Any) -> GeneratorVerdict | None:
        memorization = {"verdict": "copies" if copies else "does not copy", "reason": "so it is"}
        record = write_gan(Folder.from_uri(tmp_path), steps=150, beside_held_out=beside, memorization=memorization)
        assert GanRecord.read(Folder.from_uri(tmp_path)) == record
        return judge_generator(record, **settings)

    return make


def test_grey_noise_is_red(judge: Any) -> None:
    """The golden text of noise that the teacher takes for one class."""
    noise = USABLE | {"coverage": figure(0.05, 0.96), "recall": figure(0.0, 0.9), "kid": figure(5.0, 0.0)}
    noise |= {"classes": recognition(cat=(0.0, 0.83), dog=(1.0, 0.83))}
    verdict = judge(noise, needed_steps=4000)
    assert verdict.colour == "red"
    assert verdict.undrawn == ["cat"]
    assert verdict.sentence == (
        "The generator is not usable yet: it drew no cat, and its images cover 5 % of the real ones (held-out real "
        "images: 96 %). It had 150 steps; the data sets that we measured needed 4,000 or more."
    )


def test_usable_generator_is_green(judge: Any) -> None:
    """Figures near those of held-out images; how long it was trained is nobody's concern then."""
    verdict = judge(USABLE, needed_steps=4000)
    assert verdict.colour == "green"
    assert verdict.sentence == (
        "The generator is usable: its images cover 92 % of the real ones (held-out real images: 96 %)."
    )


def test_weak_judge_finds_no_generator_good(judge: Any) -> None:
    """Where the teacher hardly knows real images, its figures say little, and the sentence says so."""
    verdict = judge(USABLE | {"classes": recognition(cat=(0.77, 0.6), dog=(0.8, 0.7))})
    assert verdict.colour == "amber"
    assert verdict.sentence.endswith(", but the teacher recognises only 65 % of real ones.")
    assert len(verdict.sentence.split()) <= MAX_WORDS
    ten = {f"class {number}": (0.7, 0.65) for number in range(10)}
    assert judge(USABLE | {"classes": recognition(**ten)}).colour == "green", "chance is 10 %"


@pytest.mark.parametrize(
    ("figures", "colour", "words"),
    [
        ({"coverage": figure(0.5, 0.96)}, "amber", "cover 50 %"),
        ({"coverage": figure(0.2, 0.96)}, "red", "cover 20 %"),
        ({"coverage": figure(0.5, 0.55)}, "green", "cover 50 %"),
        ({"recall": figure(0.3, 0.9)}, "amber", "show 30 %"),
        ({"recall": figure(0.02, 0.9)}, "red", "show 2 %"),
        (
            {"kid": figure(1.0, 0.0)},
            "amber",
            "lie far from real ones (25 % of the way to another class)",
        ),
        ({"kid": figure(3.0, 0.0)}, "red", "lie far from real ones (75 % of the way"),
        ({"classes": WELL | recognition(owl=(0.2, 0.9))}, "amber", "drew no owl"),
        ({"classes": recognition(cat=(0.2, 0.9), dog=(0.2, 0.9))}, "red", "no cat and no dog"),
        (
            {"classes": recognition(cat=(0.3, 0.35), dog=(0.9, 0.9))},
            "amber",
            "the teacher recognises few generated images of cat, and",
        ),
    ],
)
def test_limits_go_by_held_out_images(judge: Any, figures: dict[str, Any], colour: str, words: str) -> None:
    """Each figure by itself, held against that of held-out images; a class that no teacher knows makes it amber."""
    verdict = judge(USABLE | figures)
    assert verdict.colour == colour
    assert words in verdict.sentence


def test_few_held_out_images_condemn_nobody(judge: Any) -> None:
    """With fewer held-out images than any figure needs there is no verdict; and two images of a class prove nothing."""
    few = {"images": 12, "classes": recognition(cat=(0.0, 1.0), dog=(0.0, 1.0))}
    verdict = judge(few)
    assert verdict.colour == "unknown"
    assert "12 held-out real images are too few" in verdict.sentence
    some = judge(USABLE | {"images": 24})
    assert some.colour == "amber"
    assert some.sentence.endswith("(held-out real images: 96 %), but 24 held-out images are too few to be sure.")
    assert len(some.sentence.split()) <= MAX_WORDS
    rare = {"cat": figure(0.4, 1.0) | {"images": 2}, "dog": figure(0.4, 1.0) | {"images": 12}}
    assert judge(USABLE | {"classes": rare}).undrawn == ["dog"]
    unseen = {"cat": figure(0.0, 0.0) | {"images": 0}}
    verdict = judge(USABLE | {"classes": unseen})
    assert (verdict.colour, verdict.undrawn) == ("amber", [])


def test_old_generators_are_not_judged(judge: Any) -> None:
    """A gan.json from before generators were judged has no verdict; one that copies is red all the same."""
    assert judge(None) is None
    assert judge(None, copies=True).colour == "red"


def test_copies_are_red_unless_allowed(judge: Any) -> None:
    """A generator that copies is not usable, unless the job allows copies."""
    assert judge(USABLE, copies=True).colour == "red"
    allowed = judge(USABLE, copies=True, allow_copies=True)
    assert allowed.colour == "amber"
    assert "it copies training images" in allowed.sentence


def test_sentence_is_short_whatever_is_wrong(judge: Any) -> None:
    """Two short sentences at most, whatever comes together."""
    names = [f"class{number}" for number in range(100)]
    for coverage, recall, kid, undrawn, copies in itertools.product(
        (0.05, 0.5, 0.9), (0.01, 0.3, 0.9), (3.0, 1.0, 0.0), (0, 1, 2, 70), (False, True)
    ):
        classes = recognition(**{name: (0.1 if row < undrawn else 0.9, 0.9) for row, name in enumerate(names)})
        beside = USABLE | {
            "coverage": figure(coverage, 0.96), "recall": figure(recall, 0.9), "kid": figure(kid, 0.0),
            "classes": classes,
        }  # fmt: skip
        first, *more = judge(beside, copies=copies, needed_steps=4000).sentence.removesuffix(".").split(". ")
        assert len(first.split()) <= MAX_WORDS, first
        assert len(more) <= 1
