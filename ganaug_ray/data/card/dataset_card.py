"""The dataset card: what the prepare stage found -> card.html, one page that needs nothing else, and figures/*.png."""

import base64
import functools
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from ganaug_ray.core.storage import Folder
from ganaug_ray.data import images
from ganaug_ray.data.card import figures, tables
from ganaug_ray.data.ingest.split import SPLITS, UNUSED

SAMPLE_CLASSES, SAMPLES = 12, 8
MEAN_CLASSES = 48
LISTED = 200  # classes in a table
TILE = 64  # pixels
LARGEST_PNG = 6_000  # bytes; a picture above that is sent as JPEG


Sample = tuple[np.ndarray, np.ndarray]  # images uint8 [N, H, W, C], labels int64 [N]


@dataclass
class Seen:
    """What was seen of the training images: how many, and of each class a few tiles and the sum of its pixels."""

    images: int = 0
    samples: dict[str, list[Image.Image]] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)

    def means(self) -> dict[str, Image.Image]:
        """The mean image of each class of which any was seen."""
        return {name: tile((total / self.counts[name] + 0.5).astype(np.uint8)) for name, total in self.sums.items()}


def card(dataset: Folder, record: Mapping[str, Any], metadata: str | None, sample: Sample) -> None:
    """Write card.html and figures/*.png from the tables of a dataset folder.

    Args:
        dataset: the folder.
        record: what its marker will hold, but for mean and std.
        metadata: path of a CSV file of facts on the classes, or None.
        sample: of the training images.

    Raises:
        UserError: the metadata cannot be read, or not be joined to the classes.
    """
    counts = {split: record["counts"][split] for split in (*SPLITS, UNUSED)}
    totals = {name: sum(own[name] for own in counts.values()) for name in record["classes"]}
    twins = tables.near_duplicates(dataset)
    facts = {
        **record,
        "counts": counts,
        "totals": totals,
        "remark": tables.remark(record, totals, twins),
        "bars": tables.bars(counts, totals),
        "files": tables.files(dataset, record["image_size"]),
        "rejects": tables.rejects(dataset),
        "twins": twins,
        "about": tables.about_classes(record["classes"], metadata),
    }
    seen = look(sample, record["classes"], counts["train"])
    pictures = draw(dataset / "figures", facts, seen)
    dataset.write("card.html", render(facts, seen, pictures).encode())


def look(sample: Sample, classes: list[str], counts: tables.Counts) -> Seen:
    """Look at training images."""
    sampled, averaged = (_chosen(counts, most) for most in (SAMPLE_CLASSES, MEAN_CLASSES))
    pixels, labels = sample
    seen = Seen(images=len(labels))
    for label, name in enumerate(classes):
        own = np.flatnonzero(labels == label)
        if name in sampled:
            seen.samples[name] = [tile(pixels[row]) for row in own[:SAMPLES]]
        if name in averaged and len(own):
            seen.sums[name] = pixels[own].sum(0, dtype=np.float64)
            seen.counts[name] = len(own)
    return seen


def _chosen(counts: tables.Counts, most: int) -> list[str]:
    """All classes by name, or from the largest to the smallest where they are too many."""
    top, bottom = tables.extremes(counts, most)
    return [*top, *bottom] if bottom else sorted(top)


def tile(pixels: np.ndarray) -> Image.Image:
    """Return an image, uint8 [H, W, 1 or 3], at the size in which it is shown at most."""
    image = images.from_array(pixels)
    image.thumbnail((TILE, TILE), Image.Resampling.HAMMING)
    return image


def draw(folder: Folder, facts: Mapping[str, Any], seen: Seen) -> dict[str, tuple[str, str]]:
    """Write the figures; return those that the page shows as they are: (for light pages, for dark ones)."""
    kept = facts["files"]
    drawn: dict[str, Callable] = {
        "classes": functools.partial(figures.classes, facts["bars"]),
        "samples": functools.partial(figures.samples, list(seen.samples.items())),
        "means": functools.partial(figures.means, sorted(seen.means().items())),
    }
    if not kept["one_size"]:
        drawn["sizes"] = functools.partial(figures.sizes, kept["width"], kept["height"], facts["image_size"])
        drawn["aspects"] = functools.partial(figures.aspects, kept["width"], kept["height"])
    shown = {}
    for name, figure in drawn.items():
        light = figures.png(figure)
        folder.write(f"{name}.png", light)
        if name in ("sizes", "aspects"):
            shown[name] = uri(light, "png"), uri(figures.png(figure, figures.DARK), "png")
    return shown


def uri(content: bytes, kind: str) -> str:
    """Put an encoded picture into a URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def picture(image: Image.Image | bytes | None) -> str | None:
    """Return the URI of an image or of PNG bytes; as JPEG where that is a lot smaller; None of None."""
    if image is None:
        return None
    if isinstance(image, bytes):
        image = Image.open(io.BytesIO(image), formats=["PNG"])
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 88})):
        sink = io.BytesIO()
        image.save(sink, kind, **options)
        if sink.tell() <= LARGEST_PNG:
            break
    return uri(sink.getvalue(), kind)


def render(facts: Mapping[str, Any], seen: Seen, pictures: Mapping[str, tuple[str, str]]) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("ganaug_ray", "data/card/page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str | None]] = {
        "thousands": lambda n: f"{n:,}",
        "number": tables.number,
        "percent": lambda share: f"{100 * share:.3g}\N{NO-BREAK SPACE}%",
        "picture": picture,
        "breakable": lambda name: Markup(re.sub("([_/-])", r"\1<wbr>", str(escape(name)))),
    }
    environment.filters.update(filters)
    return environment.get_template("card.html").render(
        **facts,
        seen=seen,
        pictures=pictures,
        colours=figures.COLOURS,
        listed=LISTED,
        per_class=SAMPLES,
        tile=TILE,
    )
