"""Says that the names of files seem to begin with their classes, where no folders name these: cat.0.jpg, dog_1.jpg."""

import re
from collections import Counter
from collections.abc import Sequence

from ganaug_ray.data.sources.paths import name_split
from ganaug_ray.data.sources.remedies import write_setting

BEFORE_NUMBER = r"^(?P<label>[^\W\d_]\D*?)[ ._(-]*\d"
MIN_MEAN_IMAGES = 3  # of a class; with fewer, the words are names of the images


def describe_name_classes(images: Sequence[str]) -> list[str]:
    """Say which setting takes the classes from the names of images; empty where these do not seem to have several.

    >>> describe_name_classes(["cat_0.jpg"]), describe_name_classes(["cat_0.jpg", "dog_0.jpg"] * 3)[0][:75]
    ([], 'names of images seem to begin with their classes, such as cat in cat_0.jpg;')
    """
    matches = (re.search(BEFORE_NUMBER, path.rpartition("/")[2]) for path in images)
    counts = Counter(match["label"] for match in matches if match)
    if (
        all(map(name_split, counts))
        or len(counts) < 2
        or counts.total() < max(len(images) / 2, MIN_MEAN_IMAGES * len(counts))
    ):
        return []
    name = min(counts)
    image = min(file for path in images if (file := path.rpartition("/")[2]).startswith(name))
    return [
        f"names of images seem to begin with their classes, such as {name} in {image}; to use these as labels, set "
        f"{write_setting('data.label_from', regex=BEFORE_NUMBER)}"
    ]
