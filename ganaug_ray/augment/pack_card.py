"""The card of a shared generator, for people: what it draws, how good it was, and what the pack reveals."""

from ganaug_ray.core.records.pack import PackRecord


def describe_pack(record: PackRecord) -> str:
    """Return the card of a pack, in Markdown: what it is, how good it was, and what it reveals."""
    quality = [f"| {name} | {value:.4g} |" for name, value in record.quality.items() if not name.endswith("_std")]
    counts = [f"| {name} | {n} |" for name, n in record.counts.items()]
    colour = "grey" if record.channels == 1 else "colour"
    lines = [
        "# A shared generator",
        "",
        record.about or "Its experiment does not say what it was about.",
        "",
        f"It draws {colour} images of {record.size} × {record.size} pixels, of {len(record.classes)} classes, and was "
        f"trained for {record.steps} steps. Generator {record.hash}.",
        "",
        "| class | training images |",
        "|---|---|",
        *counts,
        "",
        f"Copying test: **{record.memorization.verdict}**: {record.memorization.reason}.",
        "",
        *([f"At its own site: {record.generator}", ""] if record.generator else []),
        f"Effect of its images on a classifier at its own site: {record.verdict or 'not tried.'}",
        "",
        "| figure, against the images of its own site | |",
        "|---|---|",
        *quality,
        "",
        "## What this pack reveals",
        "",
        "- The generator: what it draws resembles its training images. The copying test looks at a thousand of its "
        "images at most, and does not prove that there are no copies.",
        "- The names of the classes, the number of images of each, and the figures above.",
        "- Anyone who has an image, or nearly the same one, can tell whether it is among the "
        f"{record.seen.images} that the generator was trained on or chosen by. The pack holds salted hashes of them, "
        "but not their pixels, their names or where they came from.",
        "- The discriminator is not in the pack.",
    ]
    if record.classifier:
        lines.append(
            "- The classifier. It is surer of its training images than of others, so its answers may tell which those "
            "are."
        )
    return "\n".join(lines) + "\n"
