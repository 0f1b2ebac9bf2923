"""Reads images from outside the data set in the same way as its own, so that a model can be evaluated on them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig, SplitConfig
from ganaug_ray.core.records import ModelSpec
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import shard_writer, source_audit
from ganaug_ray.data.sources import foreign_advice
from ganaug_ray.errors import UserError
from ganaug_ray.runtime.executors import Executor


@dataclass(frozen=True)
class ExternalImages:
    """The usable images of another data set, with their labels.

    Attributes:
        images: uint8 [N, size, size, C], by id; read from where they are staged when they are looked at.
        labels: int64 [N], indices into ``classes``.
        ids: of the pixels.
        paths: where each was found.
        classes: sorted.
        rejected: reason -> number of images.
        excluded: how many usable images were left out as known.
    """

    images: shard_writer.StagedImages
    labels: np.ndarray
    ids: list[str]
    paths: list[str]
    classes: list[str]
    rejected: dict[str, int]
    excluded: int


def read_images(
    config: DataConfig,
    source: str,
    model: ModelSpec,
    staged: Folder,
    executor: Executor,
    known_ids: Collection[str],
) -> ExternalImages:
    """Read a source as a job reads its own, in the size that a model takes.

    Args:
        config: of the job: how labels are found and images judged.
        source: as in data.source.
        model: its image_size, resize, value_range and channels.
        staged: an empty folder that whoever reads can write to; the images are there.
        executor: who reads.
        known_ids: ids of images to leave out.

    Raises:
        UserError: no such source, or no usable image in it.
    """
    model_config = config.model_copy(
        update={
            "source": [source],
            "image_size": model.image_size,
            "resize": model.resize,
            "split": SplitConfig(),  # nothing is split, whatever the folders are called
        }
    )
    try:
        records = source_audit.audit_source(model_config, staged, executor, model.value_range).images
    except UserError as error:
        raise UserError(foreign_advice.name_option(str(error), "--data")) from None
    usable = records.filter(pc.is_null(records["reason"]))
    reasons = records.filter(pc.is_valid(records["reason"]))["reason"].value_counts().to_pylist()
    reasons.sort(key=lambda count: count["values"])
    rejected = {count["values"]: count["counts"] for count in reasons}
    if not len(usable):
        why = ", ".join(f"{n} × {reason}" for reason, n in rejected.items())
        raise UserError(f"--data {source}: no usable image (found {why or 'none'})")
    unknown_images = usable.filter(pc.invert(pc.is_in(usable["id"], pa.array(known_ids, pa.string())))).combine_chunks()
    names = unknown_images["label"].to_pylist()
    classes = sorted(set(names))
    index = {name: number for number, name in enumerate(classes)}
    return ExternalImages(
        images=shard_writer.StagedImages(staged, unknown_images, model.image_size, model.channels),
        labels=np.array([index[name] for name in names], np.int64),
        ids=unknown_images["id"].to_pylist(),
        paths=unknown_images["path"].to_pylist(),
        classes=classes,
        rejected=rejected,
        excluded=len(usable) - len(unknown_images),
    )
