"""Finds test images without labels where a job names its splits as sources: [train, test] with test/unknown inside.

What lies in one source by itself is seen to in folder_labels.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ganaug_ray.data.sources.folder_labels import describe_bare_test
from ganaug_ray.data.sources.raw import NO_CLASS, PartReader, RawImage, SourcePart, make_remarks

MIN_TRAIN_CLASSES = 2  # fewer tell nothing of what a class is called


@dataclass(frozen=True)
class ListedSource:
    """A source, the split that its name says, and its parts."""

    source: str
    split: str | None
    parts: Iterable[SourcePart]


def set_aside_bare_tests(listed: Sequence[ListedSource]) -> list[ListedSource]:
    """Return sources whose images have their classes from folders, and take none from the one folder of a test source.

    So it is if no other source has a class of that name, and train has several.
    """
    if not {"train", "test"} <= {source.split for source in listed}:
        return list(listed)
    listed = [replace(source, parts=list(source.parts)) for source in listed]
    classes = [_collect_classes(source) for source in listed]
    tests = [number for number, source in enumerate(listed) if source.split == "test"]
    test_classes = set().union(*(classes[number] for number in tests))
    train_classes = set().union(*(classes[number] for number, source in enumerate(listed) if source.split == "train"))
    other_classes = set().union(*(names for number, names in enumerate(classes) if number not in tests))
    if len(test_classes) != 1 or len(train_classes) < MIN_TRAIN_CLASSES or test_classes & other_classes:
        return listed
    for number in tests:
        listed[number] = replace(listed[number], parts=_drop_labels(listed[number]))
    return listed


def _collect_classes(source: ListedSource) -> frozenset[str]:
    return frozenset().union(*(part.classes for part in source.parts))


def _drop_labels(source: ListedSource) -> Iterator[SourcePart]:
    name, *_ = _collect_classes(source)
    folder = f"{source.source.rstrip('/')}/{name}"
    yield SourcePart(functools.partial(make_remarks, source.source, [describe_bare_test(folder)]), frozenset(), 0)
    for part in source.parts:
        read = functools.partial(_read_without_labels, folder, part.read)
        yield replace(part, read=read, labelled_splits=frozenset())


def _read_without_labels(folder: str, read: PartReader) -> Iterator[RawImage]:
    words = f"lies in {folder}: this source has no other folder, and no other source has one of that name"
    for raw in read():
        yield raw if raw.label is None else replace(raw, label=None, objection=(NO_CLASS, words))
