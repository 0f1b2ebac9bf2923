"""Puts images on top of each other: Pillow works on one tall image sooner than on many small ones, one by one."""

import itertools
from collections.abc import Iterator, Sequence

from PIL import Image

STACK_BYTES = 1024**2  # of a tall image, about: larger ones are given new memory each, page by page


def stack_images(images: Sequence[Image.Image]) -> Iterator[Image.Image]:
    """Yield images, of mode L or RGB, on top of each other: as many as have the same size and fit, in their order."""
    for (width, height), group in itertools.groupby(images, lambda image: image.size):
        same_size = list(group)
        mode = "L" if all(image.mode == "L" for image in same_size) else "RGB"
        stacked_images = max(1, STACK_BYTES // (4 * width * height))
        for start in range(0, len(same_size), stacked_images):
            chosen = same_size[start : start + stacked_images]
            stack = Image.new(mode, (width, height * len(chosen)))
            for number, image in enumerate(chosen):
                stack.paste(image, (0, number * height))
            yield stack
