"""Screening: what is rejected, why, and which classes get no synthetic images."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from pydantic import ValidationError

from ganaug_ray.augment.screening_rules import (
    REASONS,
    Evidence,
    ScreeningLimits,
    build_rejects_table,
    count_reasons,
    screen_images,
)
from ganaug_ray.config import AugmentConfig, ScreenConfig

CLASSES = ["cat", "dog"]
CONFIG = ScreenConfig(confidence=0.6, realism=0.0, copy_distance=0.5, class_agreement=0.5)


def evidence(*rows: tuple[int, float, float, float]) -> Evidence:
    """Rows of (asked class, the teacher's probability of class 1, distance, discriminator score)."""
    y, p, near, score = (torch.tensor(column) for column in zip(*rows, strict=True))
    return Evidence(y, torch.stack([1 - p, p], 1), near.float(), score.float())


def set_limits(pool: Evidence, config: ScreenConfig, *recall: float) -> ScreeningLimits:
    """Limits by a teacher that recognises so much of the held-out real images of each class; default: all."""
    return ScreeningLimits.from_evidence(pool, config, recall or (1.0, 1.0))


GOOD = evidence((0, 0.1, 1.0, 0.0), (0, 0.2, 1.0, 1.0), (1, 0.9, 1.0, 0.0), (1, 0.7, 1.0, 1.0))


def reasons(found: Evidence, limits: ScreeningLimits) -> list[str]:
    return [REASONS[code] for code in screen_images(found, limits).tolist()]


def test_good_images_are_kept() -> None:
    """Images that fail no rule are kept."""
    assert reasons(GOOD, set_limits(GOOD, CONFIG)) == [""] * 4


def test_unsure_images_are_off_class() -> None:
    """Images of another class, or with too little confidence, are rejected as off class."""
    limits = set_limits(GOOD, CONFIG)
    found = evidence((0, 0.9, 1.0, 0.0), (0, 0.45, 1.0, 0.0), (0, 0.4, 1.0, 0.0), (1, 0.1, 1.0, 0.0))
    assert reasons(found, limits) == ["off class", "off class", "", "off class"]
    assert reasons(found, replace(limits, confidence=0.0)) == ["off class", "", "", "off class"]


def test_near_training_images_are_copies() -> None:
    """Images that are too near to a training image are rejected as copies."""
    found = evidence((0, 0.1, 0.0, 0.0), (0, 0.1, 0.49, 0.0), (1, 0.9, 0.5, 0.0))
    assert reasons(found, set_limits(GOOD, CONFIG)) == ["near copy", "near copy", ""]
    assert reasons(found, replace(set_limits(GOOD, CONFIG), copy_distance=0.0)) == [""] * 3


def test_realism_is_judged_per_class() -> None:
    """The least real share of each class is rejected, whatever the scores of the other classes."""
    rows = [(label, float(label), 1.0, float(i + 1000 * label)) for label in (0, 1) for i in range(100)]
    pool = evidence(*rows)
    limits = set_limits(pool, CONFIG.model_copy(update={"realism": 0.1}))
    found = reasons(pool, limits)
    for label in (0, 1):
        own = found[label * 100 : label * 100 + 100]
        assert own == ["low realism"] * 10 + [""] * 90


def test_missing_scores_disable_realism() -> None:
    """Without discriminator scores realism is not judged, and limits that need scores refuse such images."""
    pool = replace(GOOD, score_N=None)
    limits = set_limits(pool, ScreenConfig(realism=0.5))
    assert limits.realism is None
    assert reasons(pool, limits) == [""] * 4
    with pytest.raises(AssertionError, match="discriminator scores"):
        screen_images(pool, set_limits(GOOD, ScreenConfig(realism=0.5)))


def test_unrecognised_class_gets_no_images() -> None:
    """A class that the teacher does not recognise gets no synthetic images."""
    pool = evidence(*[(0, 0.9, 1.0, 0.0)] * 6, *[(0, 0.1, 1.0, 0.0)] * 4, *[(1, 0.9, 1.0, 0.0)] * 5)
    limits = set_limits(pool, CONFIG)
    assert limits.agreement == pytest.approx((0.4, 1.0))
    assert limits.drawn == (False, True)
    found = reasons(pool, limits)
    assert found == ["off class"] * 6 + ["class cannot be drawn"] * 4 + [""] * 5
    assert set_limits(pool, CONFIG.model_copy(update={"class_agreement": 0.4})).drawn == (True, True)


def test_teacher_does_not_judge_a_class_that_it_does_not_know() -> None:
    """Where the teacher fails on real images of a class too, its images are taken, unless they are copies."""
    pool = evidence((0, 0.9, 1.0, 0.0), (0, 0.9, 0.1, 0.0), (1, 0.9, 1.0, 0.0), (1, 0.1, 1.0, 0.0))
    limits = set_limits(pool, CONFIG, 0.4, 0.9)
    assert reasons(pool, limits) == ["", "near copy", "", "off class"]
    assert limits.list_unjudged(CLASSES) == ["cat"]
    for recall in (0.5, float("nan")):  # as often as is asked of synthetic images; no held-out real ones
        assert reasons(pool, set_limits(pool, CONFIG, recall, 0.9))[0] == "off class"


def test_class_without_images_is_skipped() -> None:
    """A class without any images is not drawn and causes no error."""
    pool = evidence((1, 0.9, 1.0, 0.0), (1, 0.8, 1.0, 0.5))
    limits = set_limits(pool, CONFIG.model_copy(update={"realism": 0.1}))
    assert limits.drawn == (False, True)
    assert count_reasons(screen_images(pool, limits), pool.y_N, CLASSES) == {
        "cat": {},
        "dog": {"kept": 1, "low realism": 1},
    }


def test_first_reject_reason_counts() -> None:
    """An image that fails several rules is rejected for the first of them."""
    limits = ScreeningLimits(0.6, 0.5, (0.0, 0.0), (1.0, 0.0), (True, False), (True, True))
    worst = evidence((1, 0.1, 0.1, -1.0), (1, 0.9, 0.1, -1.0), (1, 0.9, 1.0, -1.0), (1, 0.9, 1.0, 1.0))
    assert reasons(worst, limits) == ["off class", "near copy", "low realism", "class cannot be drawn"]


def test_limits_survive_json_storage() -> None:
    """Screening limits read back from JSON judge images singly as the original ones judge the whole pool."""
    pool = evidence(*[(i % 2, i % 2 * 0.8 + 0.1, 0.3 + i / 50, float(i)) for i in range(50)])
    limits = set_limits(pool, CONFIG.model_copy(update={"realism": 0.2}))
    stored = json.loads(json.dumps(asdict(limits)))
    again = ScreeningLimits.from_record(stored)
    assert again == limits
    whole = screen_images(pool, limits)
    for row in range(50):
        alone = Evidence(*(field[row : row + 1] for field in vars(pool).values()))
        assert screen_images(alone, again) == whole[row]


def test_joined_limits_equal_pool_limits() -> None:
    """Limits that are set class by class and joined equal those set on the whole pool."""
    pool = evidence(*[(i % 2, i % 3 * 0.4 + 0.1, 1.0, float(i)) for i in range(50)])
    for realism in (0.2, 0.0):
        config = CONFIG.model_copy(update={"realism": realism})
        own = []
        for label in (0, 1):
            rows = pool.y_N == label
            own.append(set_limits(Evidence(*(field[rows] for field in vars(pool).values())), config))
        assert ScreeningLimits.join_classes(own) == set_limits(pool, config)


def test_counts_are_by_class_and_reason() -> None:
    """Kept and rejected images are counted by class and by reason."""
    verdict_N, y_N = torch.tensor([0, 1, 2, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 1, 1])
    assert count_reasons(verdict_N, y_N, CLASSES) == {
        "cat": {"kept": 1, "off class": 1, "near copy": 1},
        "dog": {"kept": 1, "off class": 2},
    }


def test_rejects_table_lists_deciding_values() -> None:
    """Rejected images are listed in a table with their class, their reason and the values that decided."""
    found = evidence((0, 0.1, 1.0, 0.5), (0, 0.9, 1.0, 0.5), (1, 0.9, 0.25, -2.0))
    verdict_N = screen_images(found, set_limits(GOOD, CONFIG))
    table = build_rejects_table(found, verdict_N, ["index:0", "index:1", "index:2"], CLASSES)
    assert table.column_names == ["class", "provenance", "reason", "predicted", "confidence", "near", "score"]
    first, second = table.to_pylist()
    assert first == pytest.approx(
        {"class": "cat", "provenance": "index:1", "reason": "off class", "predicted": "dog"}
        | {"confidence": 0.1, "near": 1.0, "score": 0.5}
    )
    assert (second["class"], second["reason"], second["near"], second["score"]) == ("dog", "near copy", 0.25, -2.0)
    assert build_rejects_table(replace(found, score_N=None), verdict_N, [""] * 3, CLASSES)["score"].null_count == 2
    none = build_rejects_table(GOOD, screen_images(GOOD, set_limits(GOOD, CONFIG)), [""] * 4, CLASSES)
    assert len(none) == 0
    assert none.schema == table.schema


def test_screening_settings_are_validated() -> None:
    """Unknown screening settings and values out of range are refused."""
    assert AugmentConfig().screen.enabled
    for wrong in ({"confidence": 1.0}, {"realism": -0.1}, {"copy_distance": 2.0}, {"class_agreement": 1.5}, {"x": 1}):
        with pytest.raises(ValidationError):
            ScreenConfig(**wrong)
