"""Near-duplicates: candidates by perceptual hash, confirmed on pixels, joined into groups.

A hash alone decides nothing: among small simple images, unrelated ones share theirs. So every candidate pair is
confirmed on thumbnails of both. What is found is an image saved again: rescaled, in another format or quality. Not
found is one that was cropped, mirrored, or made lighter by a tenth.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

HASH_SIDE = 32  # pixels that the hash looks at
THUMB_SIDE = 16
MOST_BITS = 6  # by which the hashes of candidates differ
# Root mean square of the difference, in grey levels of 255. Measured on 16 × 16 thumbnails: photographs saved again at
# quality 30, at half their size or as GIF are 3.8 from the original at most; of 1,797 digits the closest two are 12.8
# apart; in Fashion-MNIST 27 of 60,000 images have a twin within 4, all of the same class.
MOST_DIFFERENCE = 4.0
CHUNK = 1024  # rows compared at a time


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


def candidates(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs i < j of hashes, uint64 [N], that differ in at most MOST_BITS bits; both int64 [M].

    Cut into one more band than bits may differ, two such hashes agree in at least one band whole.
    """
    n, bands = len(hashes), MOST_BITS + 1
    edges = [64 * band // bands for band in range(bands + 1)]
    found = [np.zeros(0, np.int64)]
    for low, high in itertools.pairwise(edges):
        key = (hashes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
        order = np.argsort(key, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            for start in range(0, len(rows) if len(rows) > 1 else 0, CHUNK):
                some = rows[start : start + CHUNK]
                i, j = np.nonzero(np.bitwise_count(hashes[some, None] ^ hashes[rows[None]]) <= MOST_BITS)
                pairs = some[i] * n + rows[j]
                found.append(pairs[some[i] < rows[j]])
    both = np.unique(np.concatenate(found))
    return both // max(n, 1), both % max(n, 1)


def groups(hashes: np.ndarray, thumbs: Callable[[np.ndarray], np.ndarray]) -> list[list[int]]:
    """Return groups of near-duplicates, each two rows or more, ascending.

    Args:
        hashes: uint64 [N].
        thumbs: rows, int64 [M] -> their thumbnails, uint8 [M, ...]. Asked for candidates alone.
    """
    i, j = candidates(hashes)
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
