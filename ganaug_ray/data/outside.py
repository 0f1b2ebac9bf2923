"""Images from outside the data set, read and judged as the data set's own were, for a model to be evaluated on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig, SplitConfig
from ganaug_ray.data import gather, prepare, store
from ganaug_ray.errors import UserError
from ganaug_ray.spread import Each
from ganaug_ray.storage import Folder


@dataclass(frozen=True)
class Outside:
    """Images of another data set.

    Attributes:
        rows: by id; labels are indices into ``classes``.
        classes: sorted.
        rejected: reason -> number of images.
    """

    rows: store.Images
    classes: list[str]
    rejected: dict[str, int]


def read(config: DataConfig, source: str, model: dict[str, Any], staged: Folder, each: Each) -> Outside:
    """Read a source as a job reads its own, in the size that a model wants.

    Args:
        config: of the job: how labels are found and images judged.
        source: as in data.source.
        model: its image_size, resize and channels.
        staged: an empty folder that whoever reads can write to.
        each: who reads.

    Raises:
        UserError: no such source, or no usable image in it.
    """
    own = config.model_copy(
        update={
            "source": [source],
            "image_size": model["image_size"],
            "resize": model["resize"],
            "split": SplitConfig(),  # nothing is split, whatever the folders are called
        }
    )
    found = prepare.judged(own, staged, each)
    kept = found.filter(pc.is_null(found["reason"])).sort_by("id").combine_chunks()
    reasons = found.filter(pc.is_valid(found["reason"]))["reason"].value_counts().to_pylist()
    rejected = {one["values"]: one["counts"] for one in sorted(reasons, key=lambda one: one["values"])}
    if not len(kept):
        why = ", ".join(f"{n} × {reason}" for reason, n in rejected.items())
        raise UserError(f"{source}: no usable image (found {why or 'none'})")
    names = kept["label"].to_pylist()
    classes = sorted(set(names))
    rows = store.Images(
        images=gather.read(staged, kept, model["image_size"], model["channels"]),
        labels=np.array([classes.index(name) for name in names], np.int64),
        ids=kept["id"].to_pylist(),
        paths=kept["path"].to_pylist(),
        provenance=kept["provenance"].to_pylist(),
    )
    return Outside(rows, classes, rejected)
