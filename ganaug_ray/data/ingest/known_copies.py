"""Finds images of one store that are copies or near-duplicates of images in another, from the stores alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images
from ganaug_ray.data.ingest import near_duplicates
from ganaug_ray.data.loading import image_store
from ganaug_ray.runtime.executors import Executor, map_serially

SEVERITY = ("train", "val", "test")  # of splits that an image may be a copy of, the worst last
_LIKENESSES = {"in": "the same as", "near": "nearly the same as"}
_SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}


def describe_reason(reason: str) -> str:
    """Say in words what an image is a copy of.

    >>> describe_reason("in test"), describe_reason("near train")
    ('the same as a test image', 'nearly the same as a training image')
    """
    likeness, split = reason.split()
    return f"{_LIKENESSES[likeness]} a {_SPLIT_NAMES[split]} image"


@dataclass(frozen=True)
class Fingerprints:
    """What copies of N images are found by.

    Attributes:
        ids: hashes of their pixels.
        hashes: perceptual, uint64 [N].
        thumbnails: uint8 [N, near_duplicates.THUMB_BYTES].
    """

    ids: list[str]
    hashes: np.ndarray
    thumbnails: np.ndarray

    @classmethod
    def from_images(cls, rows: image_store.LabelledImages) -> Fingerprints:
        """Compute those of images in memory, as they are computed of images that are read from a source."""
        small = [_shrink(image) for image in rows.images]
        thumbnails = near_duplicates.make_thumbnails(small).reshape(len(small), near_duplicates.THUMB_BYTES)
        return cls(rows.ids, near_duplicates.hash_images(small), thumbnails)

    @classmethod
    def from_store(cls, folder: Folder) -> Fingerprints:
        """Compute those of all images of a store, in its order; a shard is in memory at a time."""
        return cls.concatenate([cls.from_images(rows) for rows in image_store.iterate_shards(folder)])

    @classmethod
    def concatenate(cls, parts: list[Fingerprints]) -> Fingerprints:
        """Put one after another what are one at least."""
        return cls(
            [id_ for part in parts for id_ in part.ids],
            np.concatenate([part.hashes for part in parts]),
            np.concatenate([part.thumbnails for part in parts]),
        )


def _shrink(image_HWC: np.ndarray) -> Image.Image:
    side = near_duplicates.HASH_SIDE_PX
    return images.from_array(image_HWC).resize((side, side), Image.Resampling.BOX)


def find_copies(
    candidates: Fingerprints, known: Mapping[str, Fingerprints], executor: Executor = map_serially
) -> list[str | None]:
    """Find which images are copies or near-duplicates of known ones.

    Args:
        candidates: N images.
        known: train, val and test, or some of these -> their images.
        executor: who looks for them.

    Returns:
        For each of the N images "in test" where it has the same pixels as a known one, "near test" where it resembles
        one, and so on for other splits; of several the worst (SEVERITY); None for others.
    """
    splits = sorted(known, key=SEVERITY.index)
    split_by_id = {id_: split for split in splits for id_ in known[split].ids}
    reasons: list[str | None] = [f"in {split_by_id[id_]}" if id_ in split_by_id else None for id_ in candidates.ids]
    both = Fingerprints.concatenate([*(known[split] for split in splits), candidates])
    split_of_row = [split for split in splits for _ in known[split].ids]
    first = len(split_of_row)
    for group in near_duplicates.find_groups(both.hashes, lambda rows: both.thumbnails[rows], executor):
        near_splits = [split_of_row[row] for row in group if row < first]
        for row in group:
            if near_splits and row >= first and reasons[row - first] is None:
                reasons[row - first] = f"near {max(near_splits, key=SEVERITY.index)}"
    return reasons
