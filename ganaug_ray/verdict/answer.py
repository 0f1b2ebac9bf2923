"""The answer of an experiment: a sentence for whoever has to decide, what to do, and what the figures rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ganaug_ray.evaluate.metric_register import get_metric
from ganaug_ray.verdict.paired_statistics import MIN_REPEATS
from ganaug_ray.verdict.wording import describe_repeats, format_change

if TYPE_CHECKING:
    from ganaug_ray.verdict.comparison import Comparison

SYNTHETIC_IMAGES = "the synthetic images"
SHIP_REAL = "Ship the classifier trained on real images"
SHIP_REAL_FOR_NOW = "For now, ship the classifier trained on real images"


class Answer(NamedTuple):
    """An answer in words.

    Attributes:
        sentence: the verdict with its figures, in at most 25 words and without the name of an arm.
        action: what to do now, in a sentence.
        details: how often it was measured, and what that can show.
    """

    sentence: str
    action: str
    details: str


def describe_untried(addition: str) -> Answer:
    """Say that what an arm would add was not tried, because the generator that it comes from is not usable.

    >>> describe_untried("the synthetic images").sentence
    'The synthetic images were not tried: the generator is not usable yet.'
    """
    subject = addition[:1].upper() + addition[1:]
    return Answer(f"{subject} were not tried: the generator is not usable yet.", f"{SHIP_REAL}.", "")


NOTHING_COMPARED = Answer("Nothing was compared: no arm of this job adds images to the real ones.", f"{SHIP_REAL}.", "")


def describe_answer(
    comparison: Comparison,
    before: float,
    after: float,
    addition: str = SYNTHETIC_IMAGES,
    rivals: int = 1,
    has_own_gan: bool = False,
) -> Answer:
    """Say the verdict in words that need no statistics.

    Args:
        comparison: of the chosen arm with the baseline.
        before: the baseline's mean of the metric on test images, as a share where it is shown times 100.
        after: the arm's.
        addition: what the arm adds to the baseline, in words.
        rivals: number of arms that this one was chosen from.
        has_own_gan: whether what the arm adds comes from a GAN that each split trains.
    """
    sentence = _describe_result(comparison, before, after, addition)
    action = _describe_action(comparison)
    if has_own_gan and comparison.splits == 1 and comparison.ci95 is not None:
        action += " The answer is about this GAN: another one may do better or worse."
    return Answer(sentence, action, _describe_details(comparison, rivals))


def _describe_result(comparison: Comparison, before: float, after: float, addition: str) -> str:
    metric = get_metric(comparison.metric)
    first, last = metric.format_with_unit(before), metric.format_with_unit(after)
    levels = f"a little, to about {last}" if first == last else f"from {first} to {last}"
    went = f"stayed at about {last}" if first == last else f"went {levels}"
    change = metric.format_change(comparison.mean)
    if comparison.ci95 is None:
        few = "splits" if comparison.splits == 2 else "trainings"
        return f"Too few {few} for an answer: with {addition}, {metric.name} {went} ({change})."
    low, high = (metric.format_change(end) for end in comparison.ci95)
    figures = f"({change}, 95 % interval {low} to {high})"
    is_rise = comparison.mean > 0
    raised = "raised" if is_rise else "lowered"
    if comparison.verdict == "helped":
        return f"Use {addition}: they {raised} {metric.name} {levels} {figures}."
    if comparison.verdict == "hurt":
        return f"Do not use {addition}: they {raised} {metric.name} {levels} {figures}."
    if comparison.verdict == "unclear":
        return f"Unclear whether {addition} help: {metric.name} {went} {figures}."
    if first == last:
        return f"Do not use {addition}: {metric.name} {went} {figures}."
    if is_rise == metric.higher_is_better:  # a gain, but a small one: "changed" would leave the reader to wonder
        return f"Do not use {addition}: {metric.name} {'rose' if is_rise else 'fell'} only {levels} {figures}."
    return f"Do not use {addition}: they changed {metric.name} {levels} {figures}."


def _describe_action(comparison: Comparison) -> str:
    if comparison.verdict == "helped":
        return "Ship the classifier trained with them."
    if comparison.verdict == "not enough repeats":
        return (
            f"{SHIP_REAL_FOR_NOW}. An answer needs {MIN_REPEATS} seeds of one split, or {MIN_REPEATS} splits "
            "(compare.seeds, compare.splits)."
        )
    return f"{SHIP_REAL_FOR_NOW}." if comparison.verdict == "unclear" else f"{SHIP_REAL}."


def _describe_details(comparison: Comparison, rivals: int) -> str:
    metric = get_metric(comparison.metric)
    sentences = [f"Measured over {describe_repeats(comparison)}."]
    if not metric.higher_is_better:
        sentences.append("Lower is better.")
    if rivals > 1:
        sentences.append(f"Of {rivals} candidates, the one that did best on validation is judged.")
    if comparison.verdict == "no worthwhile gain":
        least = format_change(metric, comparison.worthwhile).removeprefix("+")
        assert comparison.gain_limit is not None
        limit = metric.format_change(comparison.gain_limit if metric.higher_is_better else -comparison.gain_limit)
        sentences.append(f"A gain of {least} is ruled out: with 95 % confidence, the gain is {limit} at most.")
    elif comparison.verdict == "unclear":
        visible_gain = comparison.smallest_visible_gain
        assert visible_gain is not None
        if metric.is_share and visible_gain >= 1:
            sentences.append("With so few trainings no gain could be shown.")
        else:
            amount = format_change(metric, visible_gain).removeprefix("+")
            sentences.append(f"This many trainings can show a gain of {amount} or more.")
    return " ".join(sentences)
