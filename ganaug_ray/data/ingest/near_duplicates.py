"""Finds near-duplicates: candidates by perceptual hash, confirmed on pixels, joined into groups.

A hash alone decides nothing: among small simple images, unrelated ones share theirs. So every candidate pair is
confirmed on thumbnails of both. What is found is an image saved again: rescaled, in another format or quality. Not
found is one that was cropped, mirrored, or made lighter by a tenth.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image

from ganaug_ray.data import images
from ganaug_ray.runtime.executors import Executor, map_serially

HASH_SIDE_PX = 32  # pixels that the hash looks at
THUMB_SIDE_PX = 16
STACKED_IMAGES = 256  # that are worked on at a time
MAX_HASH_BITS = 6  # by which the hashes of candidates differ
# Root mean square of the difference, in grey levels of 255. Measured on 16 × 16 thumbnails: photographs saved again at
# quality 30, at half their size or as GIF are 3.8 from the original at most; of 1,797 digits the closest two are 12.8
# apart; in Fashion-MNIST 27 of 60,000 images have a twin within 4, all of the same class.
MAX_GREY_DIFFERENCE = 4.0
CHUNK_ROWS = 1024  # rows compared at a time
MAX_CHANCE_MATCHES = 8  # hashes that agree in the bands of a choice by chance, at most
MIN_PARALLEL_HASHES = 100_000  # hashes above which the search is shared out
ROW_BITS = np.uint64(36)  # of a number that sorts rows by up to 28 bits of their hashes


def build_dct(n: int, frequencies: int) -> np.ndarray:
    """Build the lowest rows of the orthonormal DCT-II matrix, float32 [frequencies, n]."""
    k = np.arange(frequencies)[:, None]
    x = np.arange(n)[None]
    rows = np.cos(np.pi * (2 * x + 1) * k / (2 * n)) * np.sqrt(2 / n)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


_DCT = build_dct(HASH_SIDE_PX, 8)


def hash_images(small: Sequence[Image.Image]) -> np.ndarray:
    """Compute the perceptual hash (pHash) of 32 × 32 images, uint64 [N].

    Each bit says whether one of the 8 × 8 lowest frequencies of the grey image is above their median.
    """
    pixels = [images.to_pixels(stack, 1) for stack in _stack_images(small)]
    grey = np.concatenate([np.zeros((0, HASH_SIDE_PX, 1), np.uint8), *pixels]).reshape(-1, HASH_SIDE_PX, HASH_SIDE_PX)
    low = (_DCT @ grey.astype(np.float32) @ _DCT.T).reshape(len(small), 64)
    median = np.partition(low, 31, axis=1)[:, 31:32]
    return np.packbits(low > median, axis=1).view(np.uint64)[:, 0]


def make_thumbnails(small: Sequence[Image.Image]) -> np.ndarray:
    """Shrink 32 × 32 images to the thumbnails on which candidates are confirmed, uint8 [N, 16, 16, 3]."""
    pixels = [images.to_pixels(stack.reduce(HASH_SIDE_PX // THUMB_SIDE_PX), 3) for stack in _stack_images(small)]
    empty = np.zeros((0, THUMB_SIDE_PX, 3), np.uint8)
    return np.concatenate([empty, *pixels]).reshape(-1, THUMB_SIDE_PX, THUMB_SIDE_PX, 3)


def _stack_images(small: Sequence[Image.Image]) -> Iterator[Image.Image]:
    """Yield 32 × 32 images on top of each other: Pillow works on one tall image in a third of the time."""
    for start in range(0, len(small), STACKED_IMAGES):
        chosen = small[start : start + STACKED_IMAGES]
        stack = Image.new("RGB", (HASH_SIDE_PX, HASH_SIDE_PX * len(chosen)))
        for number, image in enumerate(chosen):
            stack.paste(image, (0, number * HASH_SIDE_PX))
        yield stack


THUMB_BYTES = THUMB_SIDE_PX * THUMB_SIDE_PX * 3


def find_candidates(hashes: np.ndarray, executor: Executor = map_serially) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs i < j of hashes, uint64 [N], that differ in at most MAX_HASH_BITS bits; both int64 [M].

    If the bits are cut into more bands than may differ, two such hashes agree in all but at most MAX_HASH_BITS bands.
    For each choice of the other bands, the hashes are sorted by these alone, and those that agree in them are
    compared. The more hashes there are, the more bits a choice has and the more choices there are, so that few agree
    by chance.
    """
    bands = _choose_band_count(len(hashes))
    choices = list(itertools.combinations(range(bands), bands - MAX_HASH_BITS))
    if len(hashes) <= MIN_PARALLEL_HASHES:
        executor = map_serially
    pairs = list(executor(functools.partial(_find_pairs_in_bands, hashes, bands), choices))
    i, j = np.concatenate(pairs, axis=1)
    order = np.lexsort((j, i))
    return i[order], j[order]


def _choose_band_count(hash_count: int) -> int:
    """Choose how many bands a hash is cut into: the fewest that leave few matches by chance."""
    bands = MAX_HASH_BITS + 1
    while hash_count > MAX_CHANCE_MATCHES << 64 * (bands - MAX_HASH_BITS) // bands:
        bands += 1
    return bands


def _find_pairs_in_bands(hashes: np.ndarray, bands: int, chosen: tuple[int, ...]) -> np.ndarray:
    """Return the candidates that agree in all chosen bands, and in no earlier choice of as many bands.

    Args:
        hashes: uint64 [N].
        bands: number of bands that the 64 bits are cut into.
        chosen: numbers of the chosen ones, rising.

    Returns:
        Pairs of rows i < j whose hashes differ in at most MAX_HASH_BITS bits, int64 [2, M].
    """
    edges = [64 * band // bands for band in range(bands + 1)]
    masks = [np.uint64((1 << high) - (1 << low)) for low, high in itertools.pairwise(edges)]
    key = np.zeros(len(hashes), np.uint64)
    for band in chosen:
        width = np.uint64(edges[band + 1] - edges[band])
        band_bits = (hashes & masks[band]) >> np.uint64(edges[band])
        key = key << width | band_bits
    key = key << ROW_BITS | np.arange(len(hashes), dtype=np.uint64)  # numpy sorts numbers far sooner than it argsorts
    key.sort()
    rows = (key & np.uint64((1 << int(ROW_BITS)) - 1)).astype(np.int64)
    key >>= ROW_BITS
    ordered = hashes[rows]
    pairs = [np.zeros((2, 0), np.int64)]
    skipped_bands = set(range(chosen[-1])) - {*chosen}
    first = np.arange(len(rows))
    offset = 0
    while len(first):  # those that agree with the one so many places further on, and so with all between
        offset += 1
        first = first[first + offset < len(rows)]
        first = first[key[first] == key[first + offset]]
        differ = ordered[first] ^ ordered[first + offset]
        close = np.bitwise_count(differ) <= MAX_HASH_BITS
        for band in skipped_bands:
            close &= differ & masks[band] != 0
        pairs.append(np.stack([rows[first[close]], rows[first[close] + offset]]))
    return np.concatenate(pairs, axis=1)


def find_groups(
    hashes: np.ndarray, read_thumbnails: Callable[[np.ndarray], np.ndarray], executor: Executor = map_serially
) -> list[list[int]]:
    """Return groups of near-duplicate rows; each has at least two, in ascending order.

    Args:
        hashes: uint64 [N].
        read_thumbnails: rows, int64 [M] -> their thumbnails, uint8 [M, ...]. Asked for candidates alone.
        executor: who looks for candidates, where the rows are many.
    """
    i, j = find_candidates(hashes, executor)
    if not len(i):
        return []
    rows = np.unique(np.concatenate([i, j]))
    pixels = read_thumbnails(rows).reshape(len(rows), -1)
    a, b = _confirm_pairs(pixels, np.searchsorted(rows, i), np.searchsorted(rows, j))
    return [rows[members].tolist() for members in _join_pairs(len(rows), a, b)]


def _confirm_pairs(pixels: np.ndarray, i: np.ndarray, j: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the pairs of rows of pixels that differ little, both int64 [M]."""
    differences = [measure_difference(pixels[i[chunk]], pixels[j[chunk]]) for chunk in _iterate_chunks(len(i))]
    close = np.concatenate(differences) <= MAX_GREY_DIFFERENCE
    return i[close], j[close]


def _join_pairs(n: int, a: np.ndarray, b: np.ndarray) -> list[list[int]]:
    """Join n rows that pairs connect; return the groups of two and more, each ascending, in order of their first."""
    leader = np.arange(n)

    def find_leader(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    for first, second in zip(a, b, strict=True):
        lower_leader, upper_leader = sorted((find_leader(first), find_leader(second)))
        leader[upper_leader] = lower_leader
    members: dict[int, list[int]] = {}
    for row in range(n):
        members.setdefault(int(find_leader(row)), []).append(row)
    return [group for group in members.values() if len(group) > 1]


def measure_difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the root mean square of the differences between uint8 rows [M, D], in grey levels: float32 [M]."""
    squares = [np.zeros(0, np.float32)]
    for chunk in _iterate_chunks(len(a)):
        squares.append(np.square(a[chunk].astype(np.float32) - b[chunk]).mean(1))
    return np.sqrt(np.concatenate(squares))


def _iterate_chunks(n: int) -> Iterator[slice]:
    """Yield slices of n rows, CHUNK_ROWS at a time."""
    for start in range(0, n, CHUNK_ROWS):
        yield slice(start, start + CHUNK_ROWS)
