"""Whether further splits can be made of the images of a finished data set, so that no image is tested twice."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig
from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import split
from ganaug_ray.errors import UserError


def refuse_added_splits(dataset: Folder, data: DataConfig, splits: int) -> None:
    """Raise UserError if a finished data set cannot become the first of several splits as it is.

    Args:
        dataset: the folder of the first split.
        data: what it was made with, without the number of splits.
        splits: that there are to be in all.
    """
    if obstacle := find_obstacle(dataset, data, splits):
        raise UserError(f"{dataset}: {obstacle}; leave compare.splits as it was")


def find_obstacle(dataset: Folder, data: DataConfig, splits: int) -> str | None:
    """Say in a clause why a finished data set cannot become the first of several splits; None where it can.

    The images are dealt out again, without being read: by their ids, classes and groups of near-duplicates.

    Args:
        dataset: as ``refuse_added_splits``.
        data: likewise.
        splits: likewise.
    """
    table = dataset.read_table("split.parquet", ["id", "class", "split"])
    rows = _read_rows(dataset, table, data)
    tested = pc.equal(table["split"], "test").to_numpy()
    for fold in range(splits):
        config = data.split.model_copy(update={"fold": fold, "folds": splits})
        try:
            places = split.assign_splits(rows, config, None, None)  # what makes training scarce leaves test as it is
        except UserError as error:
            return str(error)
        if fold == 0 and not np.array_equal(places == split.TEST, tested):
            return (
                f"tests images that another of {splits} splits would test too, as near-duplicates stay together "
                "(another --out splits them anew)"
            )
    return None


def _read_rows(dataset: Folder, table: pa.Table, data: DataConfig) -> split.SplitRows:
    """Read the images as they were before they were dealt out."""
    classes = sorted(pc.unique(table["class"]).to_pylist())
    labels = pc.index_in(table["class"], pa.array(classes, pa.string())).to_numpy()
    leaders = np.arange(len(table))
    duplicates = dataset.read_table("near_duplicates.parquet", ["group", "id"])
    duplicate_rows = pc.index_in(duplicates["id"], table["id"].combine_chunks()).to_numpy()
    _, first, group = np.unique(duplicates["group"].to_numpy(), return_index=True, return_inverse=True)
    leaders[duplicate_rows] = duplicate_rows[first][group]
    places = np.full(len(table), split.UNASSIGNED, np.int8)
    return split.SplitRows(classes, labels, split.hash_ids(table["id"], data.split), leaders, places)
