"""Images from outside the data set, read and judged as the data set's own were, for a model to be evaluated on."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig, SplitConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import scan, shard_writer
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.executors import Each


@dataclass(frozen=True)
class Outside:
    """Images of another data set.

    Attributes:
        images: uint8 [N, size, size, C], by id; read from where they are staged when they are looked at.
        labels: int64 [N], indices into ``classes``.
        ids: of the pixels.
        paths: where each was found.
        classes: sorted.
        rejected: reason -> number of images.
        excluded: how many usable images were left out as known.
    """

    images: shard_writer.Staged
    labels: np.ndarray
    ids: list[str]
    paths: list[str]
    classes: list[str]
    rejected: dict[str, int]
    excluded: int


def read(
    config: DataConfig, source: str, model: dict[str, Any], staged: Folder, each: Each, known: Collection[str]
) -> Outside:
    """Read a source as a job reads its own, in the size that a model wants.

    Args:
        config: of the job: how labels are found and images judged.
        source: as in data.source.
        model: its image_size, resize and channels.
        staged: an empty folder that whoever reads can write to; the images are there.
        each: who reads.
        known: ids of images to leave out.

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
    found = scan.judged(own, staged, each)
    usable = found.filter(pc.is_null(found["reason"]))
    reasons = found.filter(pc.is_valid(found["reason"]))["reason"].value_counts().to_pylist()
    rejected = {one["values"]: one["counts"] for one in sorted(reasons, key=lambda one: one["values"])}
    if not len(usable):
        why = ", ".join(f"{n} × {reason}" for reason, n in rejected.items())
        raise UserError(f"{source}: no usable image (found {why or 'none'})")
    kept = usable.filter(pc.invert(pc.is_in(usable["id"], pa.array(known, pa.string())))).combine_chunks()
    names = kept["label"].to_pylist()
    classes = sorted(set(names))
    index = {name: number for number, name in enumerate(classes)}
    return Outside(
        images=shard_writer.Staged(staged, kept, model["image_size"], model["channels"]),
        labels=np.array([index[name] for name in names], np.int64),
        ids=kept["id"].to_pylist(),
        paths=kept["path"].to_pylist(),
        classes=classes,
        rejected=rejected,
        excluded=len(usable) - len(kept),
    )
