"""The plain names of arms, which sentences and charts have in place of the names in the job."""

from __future__ import annotations

from typing import Any

from ganaug_ray.augment.arm_kinds import KINDS
from ganaug_ray.augment.arm_titles import REAL_TITLE, name_arms
from ganaug_ray.config import Job


def name(arms: dict[str, Any], **augment: Any) -> list[str]:
    content = {"data": {"source": "pets", "unlabelled": "more"}, "arms": arms, "augment": augment}
    return list(name_arms(Job.model_validate(content)).values())


def test_every_kind_has_a_plain_name() -> None:
    """Each kind of arm has words of its own, without the signs of a code."""
    titles = name({kind: {"kind": kind} for kind in KINDS}, generator={"source": "shared/pack"})
    assert titles[0] == REAL_TITLE
    assert len(set(titles)) == len(titles) >= len(KINDS) + 1
    assert not any(set("+_") & set(title) for title in titles)
    assert "real images, from the weights of pack" in titles


def test_alike_arms_are_told_apart() -> None:
    """Arms of one kind are named by what differs; where their words are the same, they are numbered."""
    few, many = {"kind": "synthetic", "ratio": 0.5}, {"kind": "synthetic", "ratio": 2.0, "strategy": "anneal"}
    assert name({"a": few, "b": many})[1:] == [
        "real and synthetic images, mix, ratio 0.5",
        "real and synthetic images, anneal, ratio 2",
    ]
    limited = few | {"per_class": 50}
    assert name({"a": few, "b": limited})[1:] == ["real and synthetic images (1)", "real and synthetic images (2)"]


def test_source_is_named() -> None:
    """Images from elsewhere have the name of their source, also one of several words."""
    assert name({}, images="made/with diffusion.zip")[1:] == ["real and synthetic images of with diffusion.zip"]
