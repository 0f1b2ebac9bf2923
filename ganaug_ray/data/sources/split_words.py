"""Understands splits that stand as a word among others in names: pets_train.csv, test-images, petsVal.

One such name may mean anything. Several together that all have such a word, train among them, mean splits.
"""

import re
from collections.abc import Mapping, Sequence

from ganaug_ray.data.sources.paths import find_split, name_split, strip_query

CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
NO_LETTERS = re.compile(r"[\W\d_]+")


def find_split_word(name: str) -> str | None:
    """Return the split that a word of a name means; None where none does, or several mean different ones.

    >>> [find_split_word(name) for name in ("pets_train.csv", "testLabels", "01-val", "trainer.csv", "train_test.zip")]
    ['train', 'test', 'val', None, None]
    """
    words = NO_LETTERS.split(CAMEL_CASE.sub(" ", name))
    splits = {split for word in words if word and (split := name_split(word))}
    return name_split(name) or (splits.pop() if len(splits) == 1 else None)


def are_splits(splits: Sequence[str | None]) -> bool:
    """Whether names that mean these splits mean splits as a whole: each has one, train and another are among them."""
    return None not in splits and "train" in splits and len({*splits}) > 1


def name_splits_of_files(files: Sequence[str]) -> dict[str, str | None]:
    """Return the split of each file or source by its name, and by a word of it where all of them have such a word.

    >>> name_splits_of_files(["pets_train.csv", "pets_test.csv"]), name_splits_of_files(["pets_train.csv", "test.csv"])
    ({'pets_train.csv': 'train', 'pets_test.csv': 'test'}, {'pets_train.csv': 'train', 'test.csv': 'test'})
    >>> name_splits_of_files(["pets_train.csv", "pets.csv"])
    {'pets_train.csv': None, 'pets.csv': None}
    """
    splits = {file: find_split(file) for file in files}
    words = {file: split or find_split_word(_get_name(file)) for file, split in splits.items()}
    return words if are_splits(list(words.values())) else splits


def describe_unused_words(files: Sequence[str], splits: Mapping[str, str | None]) -> list[str]:
    """Say which files have a split in their names that is not taken for one, since others have none.

    >>> describe_unused_words(["pets_train.csv", "pets_test.csv"], {})
    []
    """
    unused = [name for file in files if find_split_word(name := _get_name(file)) and not splits.get(file)]
    other = next((name for file in files if not find_split_word(name := _get_name(file))), None)
    if not unused or other is None:
        return []
    split = find_split_word(unused[0])
    return [
        f"the name of {unused[0]} has the word {split}, but that of {other} names no split, so the images of both "
        f"are split anew; to keep images in {split}, put train or test into each of the names"
    ]


def _get_name(file: str) -> str:
    return strip_query(file).rstrip("/").rpartition("/")[2]
