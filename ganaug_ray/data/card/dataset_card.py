"""The dataset card: card.html, a page about a prepared data set that needs no other file, and figures/*.png."""

import base64
import functools
import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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

MAX_SAMPLED_CLASSES = 12
SAMPLES_PER_CLASS = 8
MAX_AVERAGED_CLASSES = 48
MAX_LISTED_CLASSES = 200  # classes in a table
TILE_SIDE_PX = 64  # pixels
MAX_PNG_BYTES = 6_000  # bytes; a picture above that is sent as JPEG


LabelledPixels = tuple[np.ndarray, np.ndarray]  # images uint8 [N, H, W, C], labels int64 [N]


@dataclass
class ImageSamples:
    """Training images for the card: how many were read, and of each class some tiles and the sum of its pixels."""

    images: int = 0
    samples: dict[str, list[Image.Image]] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)

    def means(self) -> dict[str, Image.Image]:
        """Return the mean image of each class that was sampled."""
        tiles = {}
        for name, total in self.sums.items():
            mean = total / self.counts[name]
            tiles[name] = make_tile((mean + 0.5).astype(np.uint8))
        return tiles


def write_card(
    dataset: Folder,
    record: Mapping[str, Any],
    metadata: str | None,
    sample: LabelledPixels,
    issue_examples: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write card.html and figures/*.png from the tables of a dataset folder.

    Args:
        dataset: the folder.
        record: what its marker will hold, but for mean and std.
        metadata: path of a CSV file of facts on the classes, or None.
        sample: of the training images.
        issue_examples: visual issues that images have: ``issue``, the ``measure`` that tells, its ``limit``, the
            number of ``images``, and ``rows`` of the most extreme, each with ``path``, ``class``, ``value`` of the
            measure and ``thumbnail``, a PNG picture.

    Raises:
        UserError: the metadata cannot be read, or not be joined to the classes.
    """
    counts = {split: record["counts"][split] for split in (*SPLITS, UNUSED)}
    totals = dict.fromkeys(record["classes"], 0)
    for split_counts in counts.values():
        for name in totals:
            totals[name] += split_counts[name]
    duplicates = tables.summarize_near_duplicates(dataset)
    facts = {
        **record,
        "remarks": record.get("remarks", []),
        "passed_over": record.get("passed_over", {}),
        "counts": counts,
        "totals": totals,
        "headline": tables.compose_headline(record, totals, duplicates),
        "bars": tables.build_bars(counts, totals),
        "files": tables.summarize_files(dataset, record["image_size"]),
        "rejects": tables.list_rejects(dataset),
        "twins": duplicates,
        "visual_issues": record.get("visual_issues"),
        "issue_examples": issue_examples,
        "about": tables.describe_classes(record["classes"], metadata),
    }
    samples = collect_samples(sample, record["classes"], counts["train"])
    pictures = write_figures(dataset / "figures", facts, samples)
    dataset.write_bytes("card.html", render_card(facts, samples, pictures).encode())


def collect_samples(sample: LabelledPixels, classes: list[str], counts: tables.Counts) -> ImageSamples:
    """Collect tiles and sums of pixels from some training images, for the largest and the smallest classes."""
    sampled, averaged = (_choose_classes(counts, limit) for limit in (MAX_SAMPLED_CLASSES, MAX_AVERAGED_CLASSES))
    pixels, labels = sample
    samples = ImageSamples(images=len(labels))
    for label, name in enumerate(classes):
        class_rows = np.flatnonzero(labels == label)
        if name in sampled:
            samples.samples[name] = [make_tile(pixels[row]) for row in class_rows[:SAMPLES_PER_CLASS]]
        if name in averaged and len(class_rows):
            samples.sums[name] = pixels[class_rows].sum(0, dtype=np.float64)
            samples.counts[name] = len(class_rows)
    return samples


def _choose_classes(counts: tables.Counts, max_classes: int) -> list[str]:
    """All classes by name, or from the largest to the smallest where they are too many."""
    top, bottom = tables.select_extremes(counts, max_classes)
    return [*top, *bottom] if bottom else sorted(top)


def make_tile(pixels: np.ndarray) -> Image.Image:
    """Shrink an image, uint8 [H, W, 1 or 3], to at most 64 pixels a side."""
    image = images.from_array(pixels)
    image.thumbnail((TILE_SIDE_PX, TILE_SIDE_PX), Image.Resampling.HAMMING)
    return image


def write_figures(folder: Folder, facts: Mapping[str, Any], samples: ImageSamples) -> dict[str, tuple[str, str]]:
    """Write all figures as PNG, and return those that the page shows: name -> (for light pages, for dark ones)."""
    file_facts = facts["files"]
    figure_makers: dict[str, Callable] = {
        "classes": functools.partial(figures.draw_class_bars, facts["bars"]),
        "samples": functools.partial(figures.draw_samples, list(samples.samples.items())),
        "means": functools.partial(figures.draw_class_means, sorted(samples.means().items())),
    }
    if not file_facts["one_size"]:
        figure_makers["sizes"] = functools.partial(
            figures.draw_sizes, file_facts["width"], file_facts["height"], facts["image_size"]
        )
        figure_makers["aspects"] = functools.partial(
            figures.draw_aspect_ratios, file_facts["width"], file_facts["height"]
        )
    page_figures = {}
    for name, figure in figure_makers.items():
        light = figures.encode_figure(figure)
        folder.write_bytes(f"{name}.png", light)
        if name in ("sizes", "aspects"):
            page_figures[name] = (
                encode_data_uri(light, "png"),
                encode_data_uri(figures.encode_figure(figure, figures.DARK_THEME), "png"),
            )
    return page_figures


def encode_data_uri(content: bytes, kind: str) -> str:
    """Encode the content of an image file as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def encode_picture(image: Image.Image | bytes | None) -> str | None:
    """Encode an image or PNG bytes as a data URI, as JPEG if the PNG is large; None stays None."""
    if image is None:
        return None
    if isinstance(image, bytes):
        image = Image.open(io.BytesIO(image), formats=["PNG"])
    for kind, options in (("png", {"optimize": True}), ("jpeg", {"quality": 88})):
        sink = io.BytesIO()
        image.save(sink, kind, **options)
        if sink.tell() <= MAX_PNG_BYTES:
            break
    return encode_data_uri(sink.getvalue(), kind)


def render_card(facts: Mapping[str, Any], samples: ImageSamples, pictures: Mapping[str, tuple[str, str]]) -> str:
    """Return the HTML of the card."""
    template = _build_environment().get_template("card.html")
    return template.render(
        **facts,
        seen=samples,
        pictures=pictures,
        colours=figures.SPLIT_COLOURS,
        listed=MAX_LISTED_CLASSES,
        per_class=SAMPLES_PER_CLASS,
        tile=TILE_SIDE_PX,
    )


@functools.cache  # it keeps the templates that it has compiled
def _build_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ganaug_ray", "data/card/page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str | None]] = {
        "thousands": lambda n: f"{n:,}",
        "number": tables.format_count,
        "percent": lambda share: f"{100 * share:.3g}\N{NO-BREAK SPACE}%",
        "picture": encode_picture,
        "breakable": lambda name: Markup(re.sub("([_/-])", r"\1<wbr>", str(escape(name)))),
    }
    environment.filters.update(filters)
    return environment
