"""Decides whether images stay in the folders train, val and test they came in, and says what was done with these."""

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.config import DataConfig
from ganaug_ray.data.ingest.split import SPLITS
from ganaug_ray.data.sources.listing import SourceListing
from ganaug_ray.data.sources.raw import NO_CLASS

HOLDOUT = re.compile(r"(^|/)(hold[ _-]?out|held[ _-]?out)/", re.IGNORECASE)
KEEPS_SPLITS = "data.split: given keeps them there"
DEALS_ANEW = "data.split: {given: false} splits the images anew"


def resolve_given(config: DataConfig, listing: SourceListing | None = None) -> DataConfig:
    """Return the settings with ``split.given`` decided: true where the source has labelled folders train and test.

    Whoever sets another key of the section split, or an earlier data set, wants the images dealt out.

    Args:
        config: the settings.
        listing: of their sources; absent: they are listed here.

    Raises:
        UserError: there is no such source.
    """
    if config.split.given is not None:
        return config
    given = False
    if not config.extends and not config.split.model_fields_set - {"given"}:
        given = {"train", "test"} <= find_labelled_splits(listing or SourceListing(config))
    return config.model_copy(update={"split": config.split.model_copy(update={"given": given})})


def find_labelled_splits(listing: SourceListing) -> set[str]:
    """Find the splits in whose folders labelled images lie, without reading any."""
    splits: set[str] = set()
    for part in listing.parts:
        splits |= part.labelled_splits
    return splits - {""}


def describe_given(config: DataConfig, usable: pa.Table, rejected: pa.Table) -> list[str]:
    """Say, a sentence each, what was done with folders train, val and test, and how to have it otherwise.

    Args:
        config: with ``split.given`` decided.
        usable: images that are kept, the fields of audit.ImageRecord.
        rejected: those that are not.
    """
    sentences = []
    labelled = _list_splits(usable)
    if labelled and config.split.given:
        sentences.append(f"images stay in the splits they came in, {_join_names(labelled)}; {DEALS_ANEW}")
    elif labelled and (len(labelled) > 1 or usable["came_in"].null_count) and not config.extends:
        remedy = KEEPS_SPLITS if {"train", "test"} <= {*labelled} else f"{KEEPS_SPLITS}, if there are train and test"
        noun = "split" if len(labelled) == 1 else "splits"
        sentences.append(
            f"images came in the {noun} {_join_names(labelled)} and were split anew; {remedy}{advise_holdout(usable)}"
        )
    bare = rejected.filter(pc.and_(pc.equal(rejected["reason"], NO_CLASS), pc.is_valid(rejected["came_in"])))
    if len(bare):
        sentences.append(
            f"{len(bare)} × no class in {_join_names(_list_splits(bare))}: these are left out, since such a folder "
            "is not a class; data.unlabelled can use them, and split: given needs a folder a class in each split"
        )
    return sentences


def advise_holdout(rows: pa.Table) -> str:
    """Say of images that a folder such as holdout names no split, if they lie in one: the end of a sentence."""
    paths = rows.filter(pc.is_null(rows["came_in"]))["path"]
    held_out = paths.filter(pc.match_substring_regex(paths, HOLDOUT.pattern, ignore_case=True))
    return describe_holdout(held_out[0].as_py()) if len(held_out) else ""


def describe_holdout(path: str) -> str:
    """Say that the folder of an image names no split, if it is called holdout: the end of a sentence, or nothing.

    >>> describe_holdout("holdout/cat/1.png"), describe_holdout("test/cat/1.png")
    ('; holdout names no split, so rename it to test if it is the test split', '')
    """
    match = HOLDOUT.search(path)
    return f"; {match[2]} names no split, so rename it to test if it is the test split" if match else ""


def _list_splits(rows: pa.Table) -> list[str]:
    return sorted(pc.unique(rows["came_in"]).drop_null().to_pylist(), key=SPLITS.index)


def _join_names(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
