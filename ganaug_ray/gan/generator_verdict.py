"""The verdict on a generator: red, amber or green, by what held-out real images reach on the same figures.

Red is for images that no classifier should be trained on, so it takes figures that no usable generator was seen to
have: the limits lie far below those of the weakest that was. Of too few held-out images there is no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ganaug_ray.core.records import GanRecord
from ganaug_ray.core.records.gan import ClassRecognition, HeldOutComparison, HeldOutFigure

Colour = Literal["red", "amber", "green", "unknown"]
COLOURS: tuple[Colour, ...] = ("red", "amber", "green", "unknown")  # from the worst on
LIMITED_COLOURS: tuple[Colour, ...] = ("red", "amber")

# Set by generators of digits (20 a class, scarce, 16 filters, batches of 64) after so many steps, beside 100 held-out
# images, which reach coverage 98 % and recall 93 %:
#
#     steps                             100   200   300   400   600   800  1,000  1,200
#     coverage, %                         4     4     8    18    47    72     88     98
#     recall, %                           0     0     0    15    63    82     79     75
#     KID beyond, as a share of a class  1.7   1.2  0.38  0.21  0.12  0.07   0.04   0.02
#     classes not drawn, of 10            9     9     9     9     4     0      0      0
#
# and by others: Fashion-MNIST, 100 a class, 5,000 steps: coverage 86 % of 97 %, recall 59 % of 90 %, with preset dcgan
# 72 % and 45 % (README); 240 photographs at 32 pixels, 600 and 1,000 steps, beside 24 held-out images: coverage 88 to
# 100 % of 96 to 100 %, recall 78 to 93 % of 86 to 93 %; the same at 64 pixels after 150 steps of 16: 18 % of 95 %.
MIN_HELD_OUT = 20  # images, as of all figures in kid_fid_prdc
MIN_SURE = 50  # images; of fewer, smears had the figures of good images: 91 % of 98 % with 24
MIN_COVERAGE: dict[Colour, float] = {"red": 0.3, "amber": 0.75}  # as a share of what held-out images reach
MIN_RECALL: dict[Colour, float] = {"red": 0.1, "amber": 0.5}  # likewise
MAX_KID: dict[Colour, float] = {"red": 0.5, "amber": 0.15}  # beyond held-out images', as a share of the KID of a class
MIN_RECOGNITION = 0.5  # of a class; as augment.screen.class_agreement, by which the class gets no synthetic images
MIN_RECOGNITION_SHARE = 0.75  # of what the teacher surely recognises of the class's held-out images
MAX_UNDRAWN = 0.5  # share of the classes from which on it is red
Z_95 = 1.645  # one-sided
MAX_NAMED_CLASSES = 2
MAX_REASONS = 2  # in the sentence


@dataclass(frozen=True)
class GeneratorVerdict:
    """What a generator is worth.

    Attributes:
        colour: ``red``: not usable; ``amber``: usable with care; ``green``: usable; ``unknown``: there are too few
            held-out images to tell.
        sentence: the same in words, with the figures that it rests on.
        undrawn: classes that it did not draw.
        copies: whether it was found to copy training images.
    """

    colour: Colour
    sentence: str
    undrawn: list[str]
    copies: bool


def judge_generator(
    record: GanRecord, allow_copies: bool = False, needed_steps: int | None = None
) -> GeneratorVerdict | None:
    """Judge a trained generator by what it was measured to draw.

    Args:
        record: its gan.json.
        allow_copies: whether one that copies training images may be used.
        needed_steps: the fewest steps after which samples were measured to be good; a shorter training is named.

    Returns:
        The verdict; None for a generator that was trained before its images were compared with held-out ones.
    """
    compared = record.beside_held_out
    copies = record.memorization.verdict == "copies"
    if compared is None and not copies:
        return None
    reasons = _list_reasons(compared, copies, allow_copies)
    if not reasons:
        assert compared is not None, "it does not copy"
        return _acquit(compared)
    colour = min((colour for colour, _ in reasons), key=COLOURS.index)
    reasons.sort(key=lambda reason: COLOURS.index(reason[0]))
    start = "is not usable yet" if colour == "red" else "is usable with care"
    sentence = f"The generator {start}: {', and '.join(words for _, words in reasons[:MAX_REASONS])}."
    if needed_steps is not None and record.steps < needed_steps:
        sentence += f" It had {record.steps:,} steps; the data sets that we measured needed {needed_steps:,} or more."
    undrawn = _find_undrawn(compared.classes) if compared and compared.images >= MIN_HELD_OUT else []
    return GeneratorVerdict(colour, sentence, undrawn, copies)


def _list_reasons(compared: HeldOutComparison | None, copies: bool, allow_copies: bool) -> list[tuple[Colour, str]]:
    """List what is wrong with a generator, and how bad each is."""
    reasons: list[tuple[Colour, str]] = []
    if copies:
        reasons.append(("amber" if allow_copies else "red", "it copies training images"))
    if compared is None or compared.images < MIN_HELD_OUT:
        return reasons
    classes = len(compared.classes)
    if undrawn := _find_undrawn(compared.classes):
        reasons.append(
            ("red" if len(undrawn) >= MAX_UNDRAWN * classes else "amber", _describe_undrawn(undrawn, classes))
        )
    elif unknown := _find_unrecognised(compared.classes):
        reasons.append(("amber", _describe_unknown(unknown, classes)))
    if worst := _find_worst_figure(compared):
        reasons.append(worst)
    return reasons


def _acquit(compared: HeldOutComparison) -> GeneratorVerdict:
    """Return the verdict on a generator with which nothing was found to be wrong, as far as the images can tell."""
    if compared.images < MIN_HELD_OUT:
        few = f"{compared.images} held-out real images are too few; at least {MIN_HELD_OUT} are needed"
        return GeneratorVerdict("unknown", f"It is unknown whether the generator is usable: {few}.", [], False)
    assert compared.coverage is not None
    words = _describe_coverage(compared.coverage)
    recognised = _average_recognition(compared.classes)
    if recognised is not None and recognised < _compute_least_skill(len(compared.classes)):
        words += f", but the teacher recognises only {_format_share(recognised)} of real ones"
        return GeneratorVerdict("amber", f"The generator is usable with care: {words}.", [], False)
    if compared.images < MIN_SURE:
        words += f", but {compared.images} held-out images are too few to be sure"
        return GeneratorVerdict("amber", f"The generator is usable with care: {words}.", [], False)
    return GeneratorVerdict("green", f"The generator is usable: {words}.", [], False)


def _average_recognition(classes: dict[str, ClassRecognition]) -> float | None:
    """Return the share of held-out real images whose class the teacher recognises; None: none has a class."""
    images = sum(recognition.images for recognition in classes.values())
    if not images:
        return None
    return sum(recognition.held_out * recognition.images for recognition in classes.values()) / images


def _compute_least_skill(classes: int) -> float:
    """Return the share of right answers of a teacher whose features say something: half way from chance to 1.

    With a teacher at 62 % of two classes, pictures without a cat or a dog in them had the figures of good ones.

    >>> _compute_least_skill(2), round(_compute_least_skill(10), 2)
    (0.75, 0.55)
    """
    return (1 / classes + 1) / 2


def _find_worst_figure(compared: HeldOutComparison) -> tuple[Colour, str] | None:
    """Find what is wrong with coverage, recall or KID, and how bad it is; one of them alone, as they go together."""
    assert compared.coverage is not None
    assert compared.recall is not None
    for colour in LIMITED_COLOURS:
        if _divide(compared.coverage) < MIN_COVERAGE[colour]:
            return colour, _describe_coverage(compared.coverage)
        if _divide(compared.recall) < MIN_RECALL[colour]:
            return colour, _describe_recall(compared.recall)
        distance = _compare_kid(compared)
        if distance is not None and distance > MAX_KID[colour]:
            return colour, _describe_distance(distance)
    return None


def find_kid_limit(compared: HeldOutComparison) -> float | None:
    """Find the KID up to which nothing is wrong with it; None: it is not known."""
    if compared.kid is None or not compared.kid_of_a_class or compared.kid_of_a_class < 0:
        return None
    return compared.kid.held_out + MAX_KID["amber"] * compared.kid_of_a_class


def _compare_kid(compared: HeldOutComparison) -> float | None:
    """Return the KID beyond that of held-out images, as a share of the KID of a class; None: it is not known."""
    if compared.kid is None or not compared.kid_of_a_class or compared.kid_of_a_class < 0:
        return None
    return (compared.kid.generated - compared.kid.held_out) / compared.kid_of_a_class


def _divide(figure: HeldOutFigure) -> float:
    """Return a figure as a share of what held-out images reach; 1 where these reach nothing."""
    return figure.generated / figure.held_out if figure.held_out else 1.0


def _find_unrecognised(classes: dict[str, ClassRecognition]) -> list[str]:
    """Find the classes whose generated images the teacher mostly takes for others: they get no synthetic images."""
    return [name for name, recognition in classes.items() if recognition.generated < MIN_RECOGNITION]


def _find_undrawn(classes: dict[str, ClassRecognition]) -> list[str]:
    """Find those of them that the teacher does recognise where they are real."""
    undrawn = []
    for name in _find_unrecognised(classes):
        surely = _bound_below(classes[name].held_out, classes[name].images)
        if classes[name].generated < MIN_RECOGNITION_SHARE * surely:
            undrawn.append(name)
    return undrawn


def _bound_below(share: float, n: int) -> float:
    """Return the lower end of a share's one-sided 95 % interval (Wilson 1927); 0 of no images.

    >>> round(_bound_below(0.9, 10), 2), _bound_below(0.0, 0)
    (0.65, 0.0)
    """
    if not n:
        return 0.0
    squared = Z_95**2 / n
    spread = (share * (1 - share) * squared + squared**2 / 4) ** 0.5
    return (share + squared / 2 - spread) / (1 + squared)


def _describe_undrawn(undrawn: Sequence[str], classes: int) -> str:
    if len(undrawn) > MAX_NAMED_CLASSES:
        return f"it drew {classes - len(undrawn)} of {classes} classes"
    return f"it drew no {' and no '.join(undrawn)}"


def _describe_unknown(unknown: Sequence[str], classes: int) -> str:
    names = " and ".join(unknown)
    if len(unknown) > MAX_NAMED_CLASSES:
        names = f"{len(unknown)} of {classes} classes"
    return f"the teacher recognises few generated images of {names}, and hardly more real ones"


def _describe_coverage(coverage: HeldOutFigure) -> str:
    return f"its images cover {_format_share(coverage.generated)} of the real ones ({_add_held_out(coverage)})"


def _describe_recall(recall: HeldOutFigure) -> str:
    return f"its images show {_format_share(recall.generated)} of the variety of real ones ({_add_held_out(recall)})"


def _describe_distance(distance: float) -> str:
    return f"its images lie far from real ones ({_format_share(distance)} of the way to another class)"


def _add_held_out(figure: HeldOutFigure) -> str:
    return f"held-out real images: {_format_share(figure.held_out)}"


def _format_share(share: float) -> str:
    """Return a share in percent.

    >>> _format_share(0.049), _format_share(0.004)
    ('5 %', '0 %')
    """
    return f"{100 * share:.0f} %"
