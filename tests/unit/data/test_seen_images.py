"""Recognising images that a shared generator has seen, by salted hashes alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest.known_copies import Fingerprints, find_copies
from ganaug_ray.data.ingest.seen_images import SeenImages
from ganaug_ray.data.loading import image_store

SALT = bytes(range(16))


def fingerprint(images: list[np.ndarray]) -> Fingerprints:
    ids = [image_store.hash_pixels(image) for image in images]
    blank = [""] * len(images)
    return Fingerprints.from_images(
        image_store.LabelledImages(np.stack(images), np.zeros(len(images), np.int64), ids, blank, blank)
    )


@pytest.fixture(scope="module")
def real(digits: Folder) -> list[np.ndarray]:
    return list(image_store.read_images(digits / "test", 200).images)


def save_again(image: np.ndarray) -> np.ndarray:
    """Save an image as a JPEG that loses little."""
    sink = io.BytesIO()
    Image.fromarray(image[:, :, 0]).save(sink, "JPEG", quality=90)
    return np.asarray(Image.open(sink))[:, :, None]


def test_seen_images_are_recognised(real: list[np.ndarray]) -> None:
    """The same pixels and images saved again are recognised, and other digits are not."""
    seen = SeenImages.from_fingerprints(fingerprint(real[:100]), SALT)
    assert seen.match(fingerprint(real[:50])) == ["same"] * 50
    near = seen.match(fingerprint([save_again(image) for image in real[:50]]))
    assert near.count(None) <= 2
    assert "same" not in near
    assert seen.match(fingerprint(real[100:])) == [None] * 100


def test_packs_have_nothing_in_common(real: list[np.ndarray]) -> None:
    """With another salt no id and no code is the same, and the order tells nothing of that of the images."""
    fingerprints = fingerprint(real[:30])
    first, other = (SeenImages.from_fingerprints(fingerprints, salt) for salt in (SALT, SALT[::-1]))
    assert not {row.tobytes() for row in first.ids} & {row.tobytes() for row in other.ids}
    assert not np.isin(first.codes, other.codes).any()
    assert first.ids.tolist() == sorted(first.ids.tolist())


def test_worst_split_of_a_copy_is_told(real: list[np.ndarray]) -> None:
    """A copy of a test image is one of test, also where training has the same image."""
    known = {"train": fingerprint(real[:5]), "test": fingerprint(real[3:8])}
    candidates = fingerprint([real[0], save_again(real[1]), real[4], save_again(real[7]), real[50]])
    assert find_copies(candidates, known) == ["in train", "near train", "in test", "near test", None]
