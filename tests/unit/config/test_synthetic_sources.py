"""Sources of synthetic images that a job does not make itself: their forms, and the arms that they get."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganaug_ray.config.loader import dump_job, load_job
from ganaug_ray.errors import UserError
from tests.conftest import DIGITS


def test_source_gets_arm_and_no_gan() -> None:
    """A source is an arm of its own, its path is relative to the job file, and nothing asks for a GAN."""
    job = load_job(DIGITS, ["arms={}", "augment.images=made", "augment.ratio=2.0"])
    (arm,) = job.compared_arms.values()
    assert list(job.compared_arms) == ["real+classic+images"]
    assert (arm.kind, arm.source, arm.ratio) == ("synthetic", "images", 2.0)
    assert job.augment.images["images"].source == [str(DIGITS.parent / "made")]
    assert not job.needs_gan
    assert job.needs_synthetic_sources


def test_several_sources_are_several_arms() -> None:
    """Each named source gets an arm, unless an arm names it; an arm may be named after a source."""
    settings = [
        "augment.images={sd: made.zip, cg: {source: [a, b], classes: {kitty: cat}}}",
        "augment.generator=pack",
        "arms={sd: {ratio: 0.25}, now: {kind: live, source: generator}, mine: {kind: synthetic}}",
    ]
    job = load_job(DIGITS, settings)
    arms = {name: (arm.kind, arm.source) for name, arm in job.compared_arms.items()}
    assert arms == {
        "real+classic+cg": ("synthetic", "cg"),
        "sd": ("synthetic", "sd"),
        "now": ("live", "generator"),
        "mine": ("synthetic", "gan"),
    }
    assert job.needs_gan
    assert job.describe_addition("sd") == "images from made.zip"
    assert job.describe_addition("now") == "images from pack"
    assert job.describe_addition("mine") == "the synthetic images"
    assert job.describe_addition("real+classic+cg") == "images from elsewhere", "one word, since an answer is short"


def test_resolved_job_loads_again(tmp_path: Path) -> None:
    """The job that an experiment keeps means the same when it is read again."""
    job = load_job(DIGITS, ["augment.images=made", "augment.generator={source: pack, classes: {a: b}}"])
    (tmp_path / "job.yaml").write_text(dump_job(job))
    assert load_job(tmp_path / "job.yaml").compared_arms == job.compared_arms


def test_gan_section_may_be_absent(tmp_path: Path) -> None:
    """A GAN is trained by default, and none where images are there."""
    text = "data: {source: sklearn:digits}\nclassifier: {steps: 3}\n"
    (tmp_path / "job.yaml").write_text(text + "augment: {images: made}\n")
    assert not load_job(tmp_path / "job.yaml").needs_gan
    (tmp_path / "job.yaml").write_text(text)
    assert load_job(tmp_path / "job.yaml").needs_gan


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["augment.images=made", "arms={images: {source: gan}}"],
            "arms.images: has the name of the source images, and images from gan; rename one",
        ),
        (
            ["augment.images={synthetic: made}", "arms={synthetic: {}}"],
            "arms.synthetic: has the name of the source synthetic, and images from gan; rename one",
        ),
        (["augment.images={gan: made}"], "augment.images: gan: is the name of another source"),
        (["augment.images={sd: {sorce: made}}"], "did you mean source"),
        (["arms={live: {source: sd}}"], "found 'sd', expected one of gan"),
        (["augment.images=made", "arms={live: {source: images}}"], "kind live needs a generator"),
        (["augment.images=made", "arms={oversample: {source: images}}"], "has no synthetic images"),
        (["arms={transfer: {}}"], "kind transfer needs augment.generator"),
        (["gan.frozen_layers=2"], "give init_from too"),
    ],
)
def test_wrong_source_is_refused(settings: list[str], words: str) -> None:
    """A source that is not there, or that its arm cannot use, is refused in words."""
    with pytest.raises(UserError) as caught:
        load_job(DIGITS, settings)
    assert words in str(caught.value)
