"""Images of one class in blocks, until enough have passed the screening: which blocks, and what becomes of each.

A block is a pure function of the generator, its class, its number and the limits, so blocks can be made anywhere, and
those that are certain to be needed at the same time.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from ganaug_ray.augment import screening_rules
from ganaug_ray.augment.screening import Examiner
from ganaug_ray.data.loading import image_store
from ganaug_ray.gan.sampler import BLOCK_SIZE, Generator

MAX_TRIES_PER_IMAGE = 4  # images made for each that is wanted, at most


@dataclass(frozen=True)
class GeneratedBlock:
    """The images of a block that passed the screening, and what became of the others.

    Attributes:
        label: of the class.
        number: of the block; its images have the indices ``number * BLOCK_SIZE`` and on.
        rows: those that are kept.
        rejects: as ``build_rejects_table`` gives them; None where nothing is screened.
        tally: reason, or "kept" -> number of images.
        limits: by which it was screened, those of its own class; None where nothing is screened.
    """

    label: int
    number: int
    rows: image_store.LabelledImages
    rejects: pa.Table | None
    tally: dict[str, int]
    limits: screening_rules.ScreeningLimits | None

    @property
    def is_drawn(self) -> bool:
        """Whether the limits let the class have images at all."""
        return self.limits is None or self.limits.drawn[self.label]


@dataclass(frozen=True)
class BlockRequest:
    """One block of a class that is to be made.

    Attributes:
        name: of the class.
        number: of the block.
        max_images: images that are kept of it, at most.
        limits: by which it is screened; None: it sets them, or nothing is screened.
    """

    name: str
    number: int
    max_images: int
    limits: screening_rules.ScreeningLimits | None = None


class ClassBlocks:
    """The blocks that a class needs, planned from what became of those before.

    Without screening all are known at once. With it the first block sets the limits; then as many are asked for at a
    time as are certain to be needed: of a block at most BLOCK_SIZE images pass. At most MAX_TRIES_PER_IMAGE images are
    made for each that is wanted, but at least one block; and no second one of a class that the teacher does not
    recognise.

    Args:
        name: of the class.
        target: images that are wanted.
        is_screened: whether images may be rejected.
        max_blocks: blocks at most; absent: as above.
    """

    def __init__(self, name: str, target: int, is_screened: bool, max_blocks: int | None = None) -> None:
        self.name = name
        self._missing = target
        self._is_screened = is_screened
        self._next = 0
        self._awaited = 0
        self._limits: screening_rules.ScreeningLimits | None = None
        images = max(BLOCK_SIZE, MAX_TRIES_PER_IMAGE * target) if is_screened else target
        self._max_blocks = -(-images // BLOCK_SIZE) if max_blocks is None else max_blocks

    def take_blocks(self) -> list[BlockRequest]:
        """Return the next blocks to make, in any order; none while others are awaited, and none where it is done."""
        if self._awaited or self._missing <= 0:
            return []
        needed = -(-self._missing // BLOCK_SIZE)
        if self._is_screened:
            needed = max(1, needed - 1) if self._limits else 1  # of all but the last one, no image is too many
        needed = min(needed, self._max_blocks - self._next)
        requests = []
        for offset in range(needed):
            max_images = min(BLOCK_SIZE, self._missing - offset * BLOCK_SIZE)
            requests.append(BlockRequest(self.name, self._next + offset, max_images, self._limits))
        self._next += needed
        self._awaited = needed
        return requests

    def add_block(self, images: int, limits: screening_rules.ScreeningLimits | None, is_drawn: bool) -> None:
        """Take note of a block that was made.

        Args:
            images: number of its images that are kept.
            limits: by which it was screened.
            is_drawn: whether the limits let the class have images at all.
        """
        self._awaited -= 1
        self._limits = limits
        self._missing = self._missing - images if is_drawn else 0


def generate_blocks(
    generator: Generator, name: str, target: int, seed: int, examiner: Examiner | None
) -> Iterator[GeneratedBlock]:
    """Generate images of a class, block by block, until enough have passed the screening or too many were made.

    Raises:
        AssertionError: the generator has no such class.
    """
    plan = ClassBlocks(name, target, examiner is not None)
    while requests := plan.take_blocks():
        for request in requests:
            block = make_block(generator, request, seed, examiner)
            plan.add_block(len(block.rows), block.limits, block.is_drawn)
            yield block


def make_block(generator: Generator, request: BlockRequest, seed: int, examiner: Examiner | None) -> GeneratedBlock:
    """Generate one block and screen it, if there is an examiner.

    Raises:
        AssertionError: the generator has no such class.
    """
    assert request.name in generator.classes, f"no such class: {request.name}"
    label = generator.classes.index(request.name)
    if examiner is None:
        rows = generate_block(generator, label, request.number, request.max_images, seed)
        return GeneratedBlock(label, request.number, rows, None, {"kept": len(rows)}, None)
    rows = generate_block(generator, label, request.number, BLOCK_SIZE, seed)
    evidence = examiner(torch.from_numpy(rows.images), torch.from_numpy(rows.labels))
    limits = request.limits or examiner.set_limits(evidence)
    verdict_N = screening_rules.screen_images(evidence, limits)
    rejects = screening_rules.build_rejects_table(evidence, verdict_N, rows.provenance, generator.classes)
    passed = (verdict_N == screening_rules.KEPT).nonzero().flatten().tolist()
    rows = rows.take(np.array(passed[: request.max_images], np.int64))
    tally = {**Counter(rejects["reason"].to_pylist()), "kept": len(rows)}
    return GeneratedBlock(label, request.number, rows, rejects, tally, limits)


def generate_block(generator: Generator, label: int, number: int, n: int, seed: int) -> image_store.LabelledImages:
    """Generate the first n images of a block of a class, each with generator, class, seed and index as provenance."""
    images = generator.generate_block(label, number, n, seed)
    origin = f"gan:{generator.spec.hash}/class:{generator.classes[label]}/seed:{seed}"
    first = number * BLOCK_SIZE
    return image_store.LabelledImages(
        images=images,
        labels=np.full(n, label, np.int64),
        ids=[image_store.hash_pixels(image) for image in images],
        paths=[""] * n,
        provenance=[f"{origin}/index:{index}" for index in range(first, first + n)],
    )
