"""Near-duplicates: candidates by perceptual hash, confirmed on pixels, joined into groups.

A hash alone decides nothing: among small simple images, unrelated ones share theirs. So every candidate pair is
confirmed on thumbnails of both. What is found is an image saved again: rescaled, in another format or quality. Not
found is one that was cropped, mirrored, or made lighter by a tenth.
"""

import functools
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from ganaug_ray.runtime.executors import Each, one_by_one

HASH_SIDE = 32  # pixels that the hash looks at
THUMB_SIDE = 16
MOST_BITS = 6  # by which the hashes of candidates differ
# Root mean square of the difference, in grey levels of 255. Measured on 16 × 16 thumbnails: photographs saved again at
# quality 30, at half their size or as GIF are 3.8 from the original at most; of 1,797 digits the closest two are 12.8
# apart; in Fashion-MNIST 27 of 60,000 images have a twin within 4, all of the same class.
MOST_DIFFERENCE = 4.0
CHUNK = 1024  # rows compared at a time
CROWD = 8  # hashes that agree in the bands of a choice by chance, at most
MANY = 100_000  # hashes above which the search is shared out
ROW_BITS = np.uint64(36)  # of a number that sorts rows by up to 28 bits of their hashes


def _cosines(n: int, frequencies: int) -> np.ndarray:
    """The lowest rows of the orthonormal DCT-II matrix, float32 [frequencies, n]."""
    k, x = np.arange(frequencies)[:, None], np.arange(n)[None]
    rows = np.cos(np.pi * (2 * x + 1) * k / (2 * n)) * np.sqrt(2 / n)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


_DCT = _cosines(HASH_SIDE, 8)


def perceptual_hashes(small: Sequence[Image.Image]) -> np.ndarray:
    """pHash of 32 × 32 images, uint64 [N]: which of the 8 × 8 lowest frequencies of the grey are above their median."""
    grey = np.stack([np.asarray(image.convert("L")) for image in small]).astype(np.float32)
    low = (_DCT @ grey @ _DCT.T).reshape(len(small), 64)
    median = np.partition(low, 31, axis=1)[:, 31:32]
    return np.packbits(low > median, axis=1).view(np.uint64)[:, 0]


def thumb(small: Image.Image) -> np.ndarray:
    """What candidates are confirmed on: a 32 × 32 image at half its size, uint8 [16, 16, 3]."""
    return np.asarray(small.convert("RGB").reduce(HASH_SIDE // THUMB_SIDE))


THUMB_BYTES = THUMB_SIDE * THUMB_SIDE * 3


def candidates(hashes: np.ndarray, each: Each = one_by_one) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs i < j of hashes, uint64 [N], that differ in at most MOST_BITS bits; both int64 [M].

    Cut into more bands than bits may differ, two such hashes agree in all bands but MOST_BITS. For each choice of the
    others the hashes are sorted by these bands alone, and those that agree in them are compared. The more hashes, the
    more and smaller choices of more bits, so that few agree by chance: all pairs would be too many.
    """
    n = len(hashes)
    bands = next(bands for bands in itertools.count(MOST_BITS + 1) if n <= CROWD << 64 * (bands - MOST_BITS) // bands)
    choices = list(itertools.combinations(range(bands), bands - MOST_BITS))
    whoever = each if n > MANY else one_by_one
    found = list(whoever(functools.partial(_alike, hashes, bands), choices))
    i, j = np.concatenate(found, axis=1)
    order = np.lexsort((j, i))
    return i[order], j[order]


def _alike(hashes: np.ndarray, bands: int, chosen: tuple[int, ...]) -> np.ndarray:
    """Return the pairs of ``candidates`` that agree in the chosen bands, and in no earlier choice: int64 [2, M]."""
    edges = [64 * band // bands for band in range(bands + 1)]
    masks = [np.uint64((1 << high) - (1 << low)) for low, high in itertools.pairwise(edges)]
    key = np.zeros(len(hashes), np.uint64)
    for band in chosen:
        key = key << np.uint64(edges[band + 1] - edges[band]) | (hashes & masks[band]) >> np.uint64(edges[band])
    key = key << ROW_BITS | np.arange(len(hashes), dtype=np.uint64)  # numpy sorts numbers far sooner than it argsorts
    key.sort()
    rows = (key & np.uint64((1 << int(ROW_BITS)) - 1)).astype(np.int64)
    key >>= ROW_BITS
    ordered = hashes[rows]
    found = [np.zeros((2, 0), np.int64)]
    first, apart = np.arange(len(rows)), 0
    while len(first):  # those that agree with the one so many places further on, and so with all between
        apart += 1
        first = first[first + apart < len(rows)]
        first = first[key[first] == key[first + apart]]
        differ = ordered[first] ^ ordered[first + apart]
        close = np.bitwise_count(differ) <= MOST_BITS
        for band in set(range(chosen[-1])) - {*chosen}:
            close &= differ & masks[band] != 0
        found.append(np.stack([rows[first[close]], rows[first[close] + apart]]))
    return np.concatenate(found, axis=1)


def groups(hashes: np.ndarray, thumbs: Callable[[np.ndarray], np.ndarray], each: Each = one_by_one) -> list[list[int]]:
    """Return groups of near-duplicates, each two rows or more, ascending.

    Args:
        hashes: uint64 [N].
        thumbs: rows, int64 [M] -> their thumbnails, uint8 [M, ...]. Asked for candidates alone.
        each: who looks for candidates, where the rows are many.
    """
    i, j = candidates(hashes, each)
    if not len(i):
        return []
    rows = np.unique(np.concatenate([i, j]))
    pixels = thumbs(rows).reshape(len(rows), -1)
    at_i, at_j = np.searchsorted(rows, i), np.searchsorted(rows, j)
    leader = np.arange(len(rows))

    def find(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    for start in range(0, len(i), CHUNK):
        a, b = at_i[start : start + CHUNK], at_j[start : start + CHUNK]
        close = difference(pixels[a], pixels[b]) <= MOST_DIFFERENCE
        for first, second in zip(a[close], b[close], strict=True):
            one, other = sorted((find(first), find(second)))
            leader[other] = one
    members: dict[int, list[int]] = {}
    for position, row in enumerate(rows):
        members.setdefault(int(find(position)), []).append(int(row))
    return [group for group in members.values() if len(group) > 1]


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Root mean square of the difference of uint8 rows [M, D], in grey levels: float32 [M]."""
    chunks = (slice(start, start + CHUNK) for start in range(0, len(a), CHUNK))
    squares = [np.square(a[chunk].astype(np.float32) - b[chunk]).mean(1) for chunk in chunks]
    return np.sqrt(np.concatenate([np.zeros(0, np.float32), *squares]))
