"""Tells folders that only divide a set, such as part_1 and batch2, or a/b for ab1.jpg, from those of classes."""

import re
from collections.abc import Collection

PART = re.compile(
    r"(?P<word>(.*[\s_.-])?(parts?|batch|chunk|shard|piece|portion|fold|folder|dir|directory|set|subset|data|dataset|images?|imgs?"
    r"|pics?|pictures?|photos?|files?|upload|download|archive|zip))"
    r"([\s_.(-]*\d+\)?([\s_-]*of[\s_-]*\d+)?|[\s_.-]+[a-z])",
    re.IGNORECASE,
)
BEGINNING = re.compile(r"(?:^|/)([^/]{1,3})/([^/]{1,3})/(?:\1\2[^/]*|([^/]{1,3})/\1\2\3[^/]*)$", re.IGNORECASE)
MAX_NAMED = 3  # folders, in a sentence


def find_part_word(name: str) -> str | None:
    """Return what stands before the number in a name that is called as a part of a set; None of any other.

    >>> [find_part_word(name) for name in ("part_1", "Batch2", "shard-00-of-04", "images (3)", "set_b", "cat_1", "7")]
    ['part', 'batch', 'shard', 'images', 'set', None, None]
    >>> find_part_word("HAM10000_images_part_1")
    'ham10000_images_part'
    """
    match = PART.fullmatch(name.strip())
    return match["word"].lower() if match else None


def are_parts(classes: Collection[str]) -> bool:
    """Whether all classes are named like numbered parts of one set.

    >>> are_parts(["part_1", "part_2"]), are_parts(["part_1", "cat"]), are_parts(["set1", "batch1"]), are_parts([])
    (True, False, False, False)
    """
    words = {find_part_word(name) for name in classes}
    return len(words) == 1 and None not in words


def are_beginnings(images: Collection[str]) -> bool:
    """Whether each image lies in two folders or more that are called as its name begins, sign by sign.

    So large collections are spread over folders, by numbers or hashes.

    >>> are_beginnings(["train/0/a/0a7.jpg", "train/f/3/f31.jpg"]), are_beginnings(["0/0_1.png"]), are_beginnings([])
    (True, False, False)
    """
    return bool(images) and all(map(BEGINNING.search, images))


def describe_parts(classes: Collection[str]) -> list[str]:
    """Say that classes are named like numbered parts of a set, if all are.

    >>> describe_parts(["cat", "dog"])
    []
    """
    if len(classes) < 2 or not are_parts(classes):
        return []
    named = " and ".join(sorted(classes)[:MAX_NAMED])
    return [
        f"folders such as {named} are taken for classes, though they are named like numbered parts of one set; if they "
        "are such parts, list the labels in a table (data.label_from: {csv: …})"
    ]
