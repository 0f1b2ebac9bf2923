"""Finds masks that lie in the folder of their images, under the image's name and a word more (1.png, 1_mask.png)."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.paths import drop_suffix
from ganaug_ray.data.sources.raw import SIDECAR, Label

MASK_ENDING = re.compile(  # of a stem
    r"[ ._-](masks?|seg|segmentations?|gt|ground[ _-]?truth|labels?|annotations?)([ _-]?\d+)?$", re.IGNORECASE
)


def find_masks(paths: Collection[str]) -> dict[str, str]:
    """Find the files that are called as another image of their folder, and a word for a mask -> that image.

    >>> find_masks(["cat/1.jpg", "cat/1_mask.png", "cat/2_mask.png"])
    {'cat/1_mask.png': 'cat/1.jpg'}
    """
    candidates: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        stem = drop_suffix(path)
        if ending := MASK_ENDING.search(stem):
            candidates[stem[: ending.start()]].append(path)
    masks: dict[str, str] = {}
    for path in paths if candidates else ():
        masks |= dict.fromkeys(candidates.get(drop_suffix(path), ()), path)
    return masks


def set_aside(masks: Mapping[str, str], find_label: Callable[[str], Label]) -> Callable[[str], Label]:
    """Return what finds the label of an image as ``find_label`` does, and that a mask has none."""

    def find(path: str) -> Label:
        if path in masks:
            image = drop_suffix(masks[path])
            detail = f"is called as a mask or an annotation of {image}, which lies beside it"
            return Label(None, (SIDECAR, detail))
        return find_label(path)

    return find


def describe_masks(masks: Mapping[str, str]) -> list[str]:
    """Say how many files have names that make them masks or annotations of images beside them."""
    if not masks:
        return []
    files = format_count(len(masks), "file is", "files are")
    return [
        f"{files} called as masks or annotations of images beside them, such as {min(masks)}, and passed "
        "over; to use them as images, give them names that are not those of other images with a word more"
    ]
