"""Finds the splits in which a data set that is extended has its images."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.ingest import split
from ganaug_ray.errors import UserError


def read_old_places(dataset: str, ids: pa.ChunkedArray) -> np.ndarray:
    """Return where an earlier data set has each image, see split.SplitRows.

    Raises:
        UserError: there is no such data set.
    """
    folder = Folder.from_uri(dataset)
    try:
        table = folder.read_table("split.parquet", ["id", "split"])
    except (OSError, pa.ArrowException):
        is_experiment = (folder / "dataset").has_file("split.parquet")
        remedy = f"; give {dataset.rstrip('/')}/dataset" if is_experiment else ""
        raise UserError(f"data.extends {dataset}: no finished dataset folder (split.parquet) there{remedy}") from None
    rows = pc.fill_null(pc.index_in(ids, table["id"].combine_chunks()), -1).to_numpy()
    return np.where(rows < 0, split.UNASSIGNED, find_indices(table["split"], split.PLACES)[rows])


def find_indices(texts: pa.ChunkedArray, known_texts: Sequence[str]) -> np.ndarray:
    """Return the position of each text among others that have it, int32 [N]."""
    return pc.index_in(texts, pa.array(known_texts, pa.string())).to_numpy()
