"""Compares this experiment's GAN losses and scores with those that a publication reports."""

import math
from collections.abc import Sequence

from ganaug_ray.config import GanConfig, PublishedConfig
from ganaug_ray.core.experiment_dir import Record


def compare_published(published: PublishedConfig, rows: Sequence[Record], gan: GanConfig, images: int) -> Record:
    """Compare each published figure with the mean of what this experiment logged in its last epoch.

    A single step's losses jump about, so it is the mean; the last step is always logged, so there is one.

    Args:
        published: figures of a publication; those it does not have are left out.
        rows: of a finished GAN's metrics.jsonl, in order.
        gan: what it was trained with.
        images: it was trained on.

    Returns:
        source; ``logged``, the number of logged steps the means are of; figures: of each name, ``run`` and
        ``published``.
    """
    first = gan.count_steps(images) - math.ceil(images / gan.batch_size)
    last = [row for row in rows if "loss_g" in row and row["step"] > first]
    figures = []
    for name, value in published.model_dump(exclude={"source"}, exclude_none=True).items():
        mean = sum(row[name] for row in last) / len(last)
        figures.append({"name": name, "run": mean, "published": value})
    return {
        "source": published.source,
        "logged": len(last),
        "figures": figures,
    }
