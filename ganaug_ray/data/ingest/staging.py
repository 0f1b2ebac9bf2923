"""Stages pixels between sources and store: written when an image is read, gathered when all are assigned to splits.

A staged file holds the images of one batch, sorted by id and otherwise bare. A shard of the store is a range of ids,
so that it takes one stretch, or a few, from each staged file: no image ever passes through the driver, and nobody
holds more than a shard.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ganaug_ray.core.full_disk import explain_full_disk
from ganaug_ray.core.storage import Folder

MAX_GAP_BYTES = 128 * 1024  # bytes that are sooner read than skipped
BATCH_BYTES = 32 * 1024**2  # of a staged file, about


def write_staged(folder: Folder, name: str, images: Sequence[np.ndarray]) -> np.ndarray:
    """Write images, uint8, one after another into a file; return the offset of each, int64."""
    sizes = [image.nbytes for image in images]
    with (
        explain_full_disk(folder / name, sum(sizes)),
        folder.fs.open_output_stream(f"{folder.path}/{name}", compression=None) as stream,
    ):
        for image in images:
            stream.write(np.ascontiguousarray(image).data)
    return np.cumsum([0, *sizes[:-1]], dtype=np.int64)


def read_spans(folder: Folder, name: str, spans: Iterable[tuple[int, int]]) -> list[bytes]:
    """Return the bytes of each (start, length) of a staged file; the starts must ascend."""
    span_list = list(spans)
    contents: list[bytes] = []
    with folder.fs.open_input_file(f"{folder.path}/{name}") as stream:
        for first, last in _merge_spans(span_list):
            base = span_list[first][0]
            end = span_list[last][0] + span_list[last][1]
            piece = memoryview(stream.read_at(end - base, base))
            contents += [bytes(piece[start - base : start - base + n]) for start, n in span_list[first : last + 1]]
    return contents


def _merge_spans(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Group spans that lie close together: (first, last) of each group."""
    groups: list[tuple[int, int]] = []
    for number, (start, _) in enumerate(spans):
        if groups and start - sum(spans[number - 1]) <= MAX_GAP_BYTES:
            groups[-1] = (groups[-1][0], number)
        else:
            groups.append((number, number))
    return groups
