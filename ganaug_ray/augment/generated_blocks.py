"""Images of one class, block after block, until enough have passed the screening."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ganaug_ray.augment import screening_rules
from ganaug_ray.augment.screening import Examiner
from ganaug_ray.data.loading import image_store
from ganaug_ray.gan.sampler import BLOCK_SIZE, Generator

MAX_TRIES_PER_IMAGE = 4  # images made for each that is wanted, at most


@dataclass(frozen=True)
class GeneratedBlock:
    """The images of a block that passed the screening, and what became of the others.

    Attributes:
        number: of the block; its images have the indices ``number * BLOCK_SIZE`` and on.
        rows: those that are kept.
        rejects: as ``build_rejects_table`` gives them; None where nothing is screened.
        tally: reason, or "kept" -> number of images.
        limits: by which it was screened, those of its own class; None where nothing is screened.
    """

    number: int
    rows: image_store.LabelledImages
    rejects: pa.Table | None
    tally: dict[str, int]
    limits: screening_rules.ScreeningLimits | None


def generate_blocks(
    generator: Generator, name: str, missing: int, seed: int, examiner: Examiner | None
) -> Iterator[GeneratedBlock]:
    """Generate images of a class, block by block, until enough have passed the screening or too many were made.

    At most MAX_TRIES_PER_IMAGE images are made for each that is missing, but at least one block. The first block sets
    the limits of the screening; a class that the teacher does not recognise in it gets none.

    Raises:
        AssertionError: the generator has no such class.
    """
    assert name in generator.classes, f"no such class: {name}"
    label = generator.classes.index(name)
    if examiner is None:
        for number in range(-(-missing // BLOCK_SIZE)):
            rows = generate_block(generator, label, number, min(BLOCK_SIZE, missing - number * BLOCK_SIZE), seed)
            yield GeneratedBlock(number, rows, None, {"kept": len(rows)}, None)
        return
    limits = None
    max_blocks = -(-max(BLOCK_SIZE, MAX_TRIES_PER_IMAGE * missing) // BLOCK_SIZE)
    for number in range(max_blocks):
        if missing <= 0:
            return
        rows = generate_block(generator, label, number, BLOCK_SIZE, seed)
        evidence = examiner(rows.images, rows.labels)
        limits = limits or screening_rules.ScreeningLimits.from_evidence(evidence, examiner.config)
        verdict_N = screening_rules.screen_images(evidence, limits)
        rejects = screening_rules.build_rejects_table(evidence, verdict_N, rows.provenance, generator.classes)
        passed = (verdict_N == screening_rules.KEPT).nonzero().flatten().tolist()
        rows = rows.take(np.array(passed[:missing], np.int64))
        tally = {**Counter(rejects["reason"].to_pylist()), "kept": len(rows)}
        yield GeneratedBlock(number, rows, rejects, tally, limits)
        if not limits.drawn[label]:
            return
        missing -= len(rows)


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
