"""Notes what may be a mistake in a source, and may be meant."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.label_text import is_number
from ganaug_ray.data.sources.part_folders import describe_parts
from ganaug_ray.data.sources.raw import ARCHIVE, HIDDEN, LINK_BACK, RAW_BESIDE, UNLABELLED, UNREAD_BESIDE
from ganaug_ray.data.sources.remedies import find_archive_remedy

MAX_PAIRS = 3  # named in a sentence, or in sentences of a kind


def describe_passed_over(passed_over: Mapping[str, int]) -> list[str]:
    """Say how many links were not followed, and how many hidden files, copies and images without labels were not used.

    >>> describe_passed_over({"hidden file or folder": 3, "sidecar file": 2})
    ['3 hidden files or folders whose names begin with a dot were skipped; rename those that are images to be used']
    """
    sentences = []
    if n := passed_over.get(LINK_BACK):
        links = format_count(n, "link leads", "links lead")
        sentences.append(f"{links} to folders that are read anyway, and not followed")
    if n := passed_over.get(RAW_BESIDE):
        sentences.append(_describe_copies(n, "camera raw", "camera raws"))
    if n := passed_over.get(UNREAD_BESIDE):
        sentences.append(_describe_copies(n, "file in a format that is not read", "files in formats that are not read"))
    if n := passed_over.get(HIDDEN):
        names = "whose name begins with a dot was" if n == 1 else "whose names begin with a dot were"
        remedy = "rename it if it is to be used" if n == 1 else "rename those that are images to be used"
        hidden = format_count(n, HIDDEN, "hidden files or folders")
        sentences.append(f"{hidden} {names} skipped; {remedy}")
    if n := passed_over.get(UNLABELLED):
        images = format_count(n, "image lies", "images lie")
        was = "was" if n == 1 else "were"
        sentences.append(
            f"{images} in a folder for images without labels, such as unlabeled or seg_pred, beside or in splits, "
            f"and {was} skipped; name that folder in data.unlabelled to use them"
        )
    return sentences


def _describe_copies(n: int, noun: str, nouns: str) -> str:
    verb = "lies beside an image of the same name and was" if n == 1 else "lie beside images of the same name and were"
    return f"{format_count(n, noun, nouns)} {verb} skipped, since the images are used"


def describe_archives(rejected: pa.Table) -> list[str]:
    """Say which archives lie among the images, where they are not read.

    Args:
        rejected: the fields of audit.ImageRecord.
    """
    paths_by_remedy: dict[str, list[str]] = defaultdict(list)
    for path in rejected.filter(pc.equal(rejected["reason"], ARCHIVE))["path"].to_pylist():
        paths_by_remedy[find_archive_remedy(path) or ARCHIVE].append(path)
    sentences = []
    for remedy, paths in paths_by_remedy.items():
        more = f" (and {format_count(len(paths) - 1, 'other file')})" if len(paths) > 1 else ""
        sentences.append(f"{paths[0]}{more} was not read: it {remedy}")
    return sentences


def describe_classes(classes: Sequence[str], rejected: pa.Table) -> list[str]:
    """Say what may be wrong with the classes: names that are alike, numbers, parts of a set, and such without images.

    Args:
        classes: those that are left.
        rejected: the fields of audit.ImageRecord.
    """
    return [
        *describe_similar_names(classes),
        *describe_numbered_classes(classes),
        *describe_parts(classes),
        *describe_lost_classes(classes, rejected),
    ]


def describe_lost_classes(classes: Sequence[str], rejected: pa.Table) -> list[str]:
    """Say of which labels every image was rejected, so that they are no classes.

    Args:
        classes: those that are left.
        rejected: the fields of audit.ImageRecord.
    """
    reasons_by_label: dict[str, Counter[str]] = defaultdict(Counter)
    is_left = pc.is_in(rejected["label"], pa.array([*classes, None], pa.string()))
    for row in rejected.filter(pc.invert(is_left)).select(["label", "reason"]).to_pylist():
        reasons_by_label[row["label"]][row["reason"]] += 1
    sentences = []
    for label, reasons in sorted(reasons_by_label.items())[:MAX_PAIRS]:
        summary = ", ".join(f"{n} × {reason}" for reason, n in reasons.most_common())
        sentences.append(f"no image of {label} can be used ({summary}), so it is not a class")
    return sentences


def describe_similar_names(classes: Sequence[str], among: Collection[str] | None = None) -> list[str]:
    """Say which classes have almost the same name; of ``among``, only where one of these is such a class.

    >>> describe_similar_names(["Cat", "cat", "dog"])
    ['Cat and cat are two classes whose names are almost the same; give both one name if they are one']
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        key = unicodedata.normalize("NFKC", name).casefold()
        alike["".join(letter for letter in key if letter not in " _-.")].append(name)
    groups = [names for names in alike.values() if len(names) > 1]
    pairs = [" and ".join(names) for names in groups if among is None or not set(names).isdisjoint(among)]
    if not pairs:
        return []
    more = f" (and {len(pairs) - MAX_PAIRS} more)" if len(pairs) > MAX_PAIRS else ""
    return [
        f"{'; '.join(pairs[:MAX_PAIRS])}{more} are two classes whose names are almost the same; "
        "give both one name if they are one"
    ]


def describe_numbered_classes(classes: Sequence[str]) -> list[str]:
    """Say which classes are called by a number beside others that have names.

    Classes of digits and letters are none of these.

    >>> describe_numbered_classes(["0", "1", "a", "b"])
    []
    """
    numbers = [name for name in classes if is_number(name)]
    words = [name for name in classes if len(name) > 1 and not is_number(name)]
    if not numbers or not words:
        return []
    verb = f", {numbers[0]}, is called by a number"
    if len(numbers) > 1:
        verb = f", such as {numbers[0]}, are called by numbers"
    return [
        f"{format_count(len(numbers), 'class', 'classes')}{verb} and others, such as {words[0]}, by names; "
        "if a number stands for one of the names, write the name in its place"
    ]
