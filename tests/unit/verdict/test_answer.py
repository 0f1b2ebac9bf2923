"""The answer in words: short enough to be read aloud, whatever the verdict, the metric and the images are."""

from dataclasses import replace
from typing import get_args

import pytest

from ganaug_ray.config import Job
from ganaug_ray.config.augment import KIND_TRAITS, ArmConfig
from ganaug_ray.evaluate.metric_register import COMPARED, Metric
from ganaug_ray.verdict.answer import NOTHING_COMPARED, Answer, describe_answer, describe_untried
from ganaug_ray.verdict.comparison import Comparison
from ganaug_ray.verdict.paired_statistics import Verdict

MAX_WORDS = 25
IMAGES = {ArmConfig(kind=kind).added_images for kind, traits in KIND_TRAITS.items() if not traits.control}
IMAGES |= {"images from made.zip", "weights from pack"}


def comparison(metric: str, verdict: Verdict, mean: float, visible: float = 0.02) -> Comparison:
    ci95 = None if verdict == "not enough repeats" else (mean - 0.125, mean + 0.125)
    return Comparison(
        "real+classic+synthetic", "real+classic", metric, [mean] * 10, [mean] * 5, mean, ci95, 0.5, 0.5, mean + 0.1,
        0.01, 4, 0.1, visible, 0.01, 0.5, 0.5, verdict,
    )  # fmt: skip


def check_words(answer: Answer) -> None:
    """Check that the sentence and what to do have at most 25 words each, end, and name no arm."""
    for sentence in (answer.sentence, answer.action):
        assert len(sentence.split()) <= MAX_WORDS, sentence
        assert sentence.endswith(".")
        assert "real+classic" not in sentence


@pytest.mark.parametrize("verdict", get_args(Verdict))
@pytest.mark.parametrize("metric", COMPARED, ids=lambda metric: metric.key)
@pytest.mark.parametrize("images", sorted(IMAGES))
@pytest.mark.parametrize("change", [-0.0125, 0.0, 0.0125])
def test_sentence_has_at_most_25_words(verdict: Verdict, metric: Metric, images: str, change: float) -> None:
    """A sentence of at most 25 words with one change, without the name of an arm; so is what to do."""
    answer = describe_answer(comparison(metric.key, verdict, change), 0.9375, 0.9375 + change, images)
    check_words(answer)
    assert images in answer.sentence
    assert metric.name in answer.sentence


@pytest.mark.parametrize("answer", [NOTHING_COMPARED, *map(describe_untried, sorted(IMAGES))])
def test_answer_without_figures_has_at_most_25_words(answer: Answer) -> None:
    """So has what is said where nothing was compared, or not tried."""
    check_words(answer)


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\u00a0", "\u2009", "\u3000"], ids=ascii)
def test_name_with_white_space_counts_as_one_word(space: str) -> None:
    """A source whose name is several words, however they are parted, does not make an answer longer."""
    name = space.join(["made", "by", "my", "colleague", "last", "week.zip"])
    job = Job.model_validate({"data": {"source": "pets"}, "augment": {"images": [name]}})
    addition = job.describe_addition("real+classic+images")
    assert addition == "images from elsewhere"
    check_words(describe_answer(comparison("calibrated_brier", "unclear", 0.0125), 0.9375, 0.95, addition))


def test_answer_of_firm_no() -> None:
    """The golden text of a firm no."""
    answer = describe_answer(comparison("accuracy", "no worthwhile gain", -0.003), 0.988, 0.985)
    assert answer.sentence == (
        "Do not use the synthetic images: they changed accuracy from 98.8 % to 98.5 % "
        "(-0.3, 95 % interval -12.8 to +12.2)."
    )
    assert answer.action == "Ship the classifier trained on real images."
    assert answer.details == (
        "Measured over 5 splits with 2 seeds each. "
        "A gain of 1.0 points is ruled out: with 95 % confidence, the gain is +9.7 at most."
    )


@pytest.mark.parametrize("verdict", ["helped", "no worthwhile gain", "unclear", "hurt"])
def test_answer_of_one_gan_says_so(verdict: Verdict) -> None:
    """Over one split the answer holds for the GAN that was trained; over several it does not depend on one."""
    several = comparison("accuracy", verdict, 0.01)
    one = replace(several, by_split=several.by_split[:1])
    words = "The answer is about this GAN: another one may do better or worse."
    assert describe_answer(one, 0.9, 0.91, has_own_gan=True).action.endswith(f". {words}")
    assert words not in describe_answer(one, 0.9, 0.91).action
    assert words not in describe_answer(several, 0.9, 0.91, has_own_gan=True).action


@pytest.mark.parametrize(
    ("verdict", "mean", "after", "words"),
    [
        ("no worthwhile gain", 0.003, 0.941, "accuracy rose only from 93.8 % to 94.1 % (+0.3,"),
        ("no worthwhile gain", 0.0, 0.938, "accuracy stayed at about 93.8 % (+0.0,"),
        ("unclear", 0.0004, 0.938, "accuracy stayed at about 93.8 % (+0.0,"),
        ("helped", 0.0004, 0.938, "they raised accuracy a little, to about 93.8 % (+0.0,"),
        ("hurt", -0.0004, 0.938, "they lowered accuracy a little, to about 93.8 % (+0.0,"),
        ("unclear", 0.012, 0.95, "accuracy went from 93.8 % to 95.0 % (+1.2,"),
    ],
)
def test_small_changes_are_called_small(verdict: Verdict, mean: float, after: float, words: str) -> None:
    """A gain that is not worth it is not told like one that is, and nothing goes from a figure to the same figure."""
    assert words in describe_answer(comparison("accuracy", verdict, mean), 0.938, after).sentence


def test_direction_of_a_falling_metric_is_told() -> None:
    """Of a metric that falls where models get better, the details say so, and its gains are above zero."""
    answer = describe_answer(comparison("calibrated_brier", "no worthwhile gain", -0.103), 0.3, 0.197)
    assert "Brier score after calibration fell only from 0.300 to 0.197" in answer.sentence
    assert "Lower is better." in answer.details
    assert "the gain is +0.003 at most" in answer.details


def test_plan_that_shows_nothing_says_so() -> None:
    """Where no gain at all could be seen, no impossible gain is named."""
    answer = describe_answer(comparison("accuracy", "unclear", 0.01, visible=1.4), 0.5, 0.51)
    assert "no gain could be shown" in answer.details
    assert "140" not in answer.details


def test_job_without_candidate_ships_real() -> None:
    """Where nothing is compared there is an answer all the same."""
    assert NOTHING_COMPARED.action == "Ship the classifier trained on real images."
