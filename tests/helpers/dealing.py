"""Dealing out images by their ids, as tests like to write them down."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from ganaug_ray.config import SplitConfig
from ganaug_ray.data.ingest import split


def rows_of(
    ids: Mapping[str, list[str]],
    config: SplitConfig,
    places: Mapping[str, str] | None = None,
    together: Mapping[str, str] | None = None,
) -> tuple[list[str], split.SplitRows]:
    """Return ids in order, and the rows that they are.

    Args:
        ids: class -> its content ids.
        config: with the seed.
        places: content id -> where it is already.
        together: content id -> any name of its group of near-duplicates.
    """
    classes = sorted(ids)
    label_of = {id_: label for label, name in enumerate(classes) for id_ in ids[name]}
    ordered = sorted(label_of)
    first_of: dict[str, int] = {}
    first = [first_of.setdefault((together or {}).get(id_, f"{id_} alone"), row) for row, id_ in enumerate(ordered)]
    where = [split.PLACES.index(places[id_]) if places and id_ in places else split.UNASSIGNED for id_ in ordered]
    labels = np.array([label_of[id_] for id_ in ordered])
    draws = split.hash_ids(pa.chunked_array([ordered], pa.string()), config)
    return ordered, split.SplitRows(classes, labels, draws, np.array(first), np.array(where, np.int8))


def assign(
    ids: Mapping[str, list[str]],
    config: SplitConfig,
    train_cap: split.ClassCap = None,
    val_cap: split.ClassCap = None,
    old: Mapping[str, str] | None = None,
    together: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Deal out. Return the split of each content id."""
    ordered, rows = rows_of(ids, config, old, together)
    places = split.assign_splits(rows, config, train_cap, val_cap)
    return {id_: split.PLACES[place] for id_, place in zip(ordered, places, strict=True)}
