"""Finds masks of images: beside them under their name and a word more (1_mask.png), or in a folder of such (masks)."""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping

from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.paths import drop_suffix
from ganaug_ray.data.sources.raw import SIDECAR, Label

MASK_ENDING = re.compile(  # of a stem
    r"[ ._-](masks?|seg|segmentations?|gt|ground[ _-]?truth|labels?|annotations?)([ _-]?\d+)?$", re.IGNORECASE
)
OTHER_ENDING = re.compile(r"[ ._-][^\W\d_]+$")  # of another kind of the same image, such as 1_rgb beside 1_mask
MIN_SET_SHARE = 0.5  # of all images, that lie in sets with a mask

SIDECAR_FOLDERS = frozenset((
    "mask", "masks", "annotation", "annotations", "label", "labels", "segmentation", "segmentations",
    "groundtruth", "ground_truth", "gt",
))  # fmt: skip


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


def find_masks_in_folders(paths: Collection[str], names: Collection[str] = SIDECAR_FOLDERS) -> dict[str, str]:
    """Find the files in folders for masks that are called as an image in a folder beside, or above -> that image.

    ``names`` are those of such folders.

    >>> find_masks_in_folders(["a/pics/1.jpg", "a/masks/1.png", "a/masks/2.png"])
    {'a/masks/1.png': 'a/pics/1.jpg'}
    """
    candidates: dict[tuple[str, str], list[str]] = defaultdict(list)  # by the folder above, and the path from there
    parents = set()
    for path in paths:
        *folders, _ = path.split("/")
        depth = next((depth for depth, folder in enumerate(folders) if folder.lower() in names), None)
        if depth is None:
            continue
        parent = "/".join(folders[:depth])
        below = drop_suffix(path[len("/".join(folders[: depth + 1])) + 1 :])
        ending = MASK_ENDING.search(below)
        parents.add(parent)
        candidates[parent, below[: ending.start()] if ending else below].append(path)
    masks: dict[str, str] = {}
    for path in paths if parents else ():
        folders = path.split("/")[:-1]
        if any(folder.lower() in names for folder in folders):
            continue
        for depth in range(len(folders) + 1):
            parent = "/".join(folders[:depth])
            if parent in parents:
                below = drop_suffix(path[len(parent) :].lstrip("/"))
                for key in (below, below.partition("/")[2]):
                    masks |= dict.fromkeys(candidates.get((parent, key), ()), path)
    return masks


def find_mask_sets(paths: Collection[str]) -> dict[str, str]:
    """Find the masks in sets of files that differ in a last word, where most files lie in such -> a file of the set.

    >>> find_mask_sets(["cat/1_mask.png", "cat/1_rgb.png", "cat/1_depth.png"])
    {'cat/1_mask.png': 'cat/1_depth.png'}
    """
    masks: dict[str, str] = {}  # -> what it has in common with its set
    for path in paths:
        stem = drop_suffix(path)
        if ending := MASK_ENDING.search(stem):
            masks[path] = stem[: ending.start()]
    sets: dict[str, list[str]] = defaultdict(list)
    for path in paths if masks else ():
        stem = drop_suffix(path)
        if path in masks:
            sets[masks[path]].append(path)
        elif ending := OTHER_ENDING.search(stem):
            sets[stem[: ending.start()]].append(path)
    others = {mask: [path for path in sets[common] if path not in masks] for mask, common in masks.items()}
    pairs = {mask: min(siblings) for mask, siblings in others.items() if siblings}
    in_sets = {path for mask in pairs for path in sets[masks[mask]]}
    return pairs if pairs and len(in_sets) >= MIN_SET_SHARE * len(paths) else {}


def find_listed_masks(paths: Collection[str]) -> set[str]:
    """Find the images in a list that are named like masks of others in it."""
    return find_masks(paths).keys() | find_masks_in_folders(paths).keys()


def label_masks(masks: Mapping[str, str]) -> dict[str, Label]:
    """Return the label of each mask, which says that it is none of an image."""
    return {
        mask: Label(
            None, (SIDECAR, f"is named like a mask or an annotation of {drop_suffix(image)}, which lies beside")
        )
        for mask, image in masks.items()
    }


def describe_mask_sets(masks: Mapping[str, str]) -> list[str]:
    """Say how many files are used as images and named like masks; ``masks`` has an image beside each."""
    if not masks:
        return []
    mask = min(masks)
    files = format_count(len(masks), "file is", "files are")
    return [
        f"{files} named like masks of images beside them, such as {mask} beside {masks[mask]}, but used as images; "
        "move masks out of the folder"
    ]


def describe_masks(masks: Collection[str]) -> list[str]:
    """Say how many files have names that make them masks or annotations of images beside them."""
    if not masks:
        return []
    files = format_count(len(masks), "file is", "files are")
    return [
        f"{files} named like masks or annotations of images beside them, such as {min(masks)}, and skipped; to use "
        "them as images, give them names that are not the name of another image with a word added"
    ]
