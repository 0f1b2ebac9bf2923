"""Summarises the tables of a dataset folder as plain values for its card.

A table may have a million rows: columns are counted by Arrow, and only the rows that are shown become Python's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.card.class_metadata import join_classes
from ganaug_ray.data.images import NOTE_SEPARATOR

IMBALANCE_RATIO = 3.0  # times the smallest class
MIN_TRAIN_IMAGES = 20  # training images

MAX_BARS = 40  # classes; of more, the largest and the smallest are drawn
MAX_LISTED_ROWS = 20  # files or sources
REJECTS_PER_REASON = 6  # of each reason
MAX_GROUPS = 12  # of near-duplicates
MAX_MEMBERS = 6  # of each group
MAX_CELL_CHARS = 48  # characters; a column of metadata with longer ones is left out

Counts = Mapping[str, int]  # class -> images
Bar = tuple[str, dict[str, int] | None]  # class and split -> images; words and None where classes are left out


def compose_headline(record: Mapping[str, Any], totals: Counts, duplicates: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether there is something to know before training, and a sentence that says what.

    Args:
        record: the marker of the dataset.
        totals: kept images of each class.
        duplicates: as ``summarize_near_duplicates`` returns them.
    """
    train = record["counts"]["train"]
    warnings = []
    uneven = _describe_imbalance(totals)
    uneven_in_training = _describe_imbalance(train)
    if uneven and uneven_in_training:
        warnings.append(uneven)
    elif uneven:
        warnings.append(f"{uneven}, though not in training")
    elif uneven_in_training:
        warnings.append(f"in training, {uneven_in_training}")
    if tiny := sorted((name for name in train if train[name] < MIN_TRAIN_IMAGES), key=train.__getitem__):
        has = "has" if len(tiny) == 1 else "have"
        warnings.append(
            f"{format_count(len(tiny), 'class', 'classes')} {has} fewer than {MIN_TRAIN_IMAGES} training images "
            f"({_join_names(tiny)})"
        )
    if n := record["rejected"].get("label conflict"):
        warnings.append(
            f"{format_count(n, 'image was', 'images were')} left out because the same picture lies under two labels"
        )
    for where, key in (("lie under two classes", "across_classes"), ("lie in two splits", "across_splits")):
        if n := duplicates[key]:
            warnings.append(f"near-duplicates {where} ({format_count(n, 'group')})")
    if warnings:
        return True, f"Worth a look: {'; '.join(warnings)}."
    return False, (
        f"Nothing stands out: no class has {IMBALANCE_RATIO:.0f} times the images of another or fewer than "
        f"{MIN_TRAIN_IMAGES} to train on, and no picture was found under two labels."
    )


def _describe_imbalance(counts: Counts) -> str:
    """Name the largest and the smallest class where they are far apart."""
    small = min(counts, key=counts.__getitem__)
    large = max(counts, key=counts.__getitem__)
    times = counts[large] / max(1, counts[small])
    if times < IMBALANCE_RATIO:
        return ""
    return (
        f"the largest class, {large} ({counts[large]:,}), has {times:.0f} times the images of the smallest, "
        f"{small} ({counts[small]:,})"
    )


def format_count(n: int, singular: str, plural: str = "") -> str:
    """Format a number with its noun, in the singular for one.

    >>> format_count(1, "image"), format_count(1234, "image"), format_count(2, "class", "classes")
    ('1 image', '1,234 images', '2 classes')
    """
    if n == 1:
        return f"{n:,} {singular}"
    return f"{n:,} {plural or singular + 's'}"


def _join_names(names: Sequence[str], max_names: int = 3) -> str:
    text = ", ".join(names[:max_names])
    if len(names) > max_names:
        text += f" and {len(names) - max_names:,} more"
    return text


def select_extremes(counts: Counts, max_classes: int) -> tuple[list[str], list[str]]:
    """Return ``max_classes`` classes: (the largest, the smallest), the latter only if some are left out."""
    order = sorted(counts, key=lambda name: (-counts[name], name))
    if len(order) <= max_classes:
        return order, []
    smallest = max_classes // 2
    return order[: max_classes - smallest], order[-smallest:]


def build_bars(counts: Mapping[str, Counts], totals: Counts) -> list[Bar]:
    """Return the rows of a bar chart from the largest class to the smallest; classes left out are one row of words."""
    top, bottom = select_extremes(totals, MAX_BARS)

    def build_bar(name: str) -> Bar:
        return name, {split: split_counts[name] for split, split_counts in counts.items()}

    rows = [build_bar(name) for name in top]
    if bottom:
        between = [totals[name] for name in totals.keys() - {*top, *bottom}]
        words = f"{format_count(len(between), 'class', 'classes')} between, {sum(between):,} images"
        rows.append((words, None))
    return rows + [build_bar(name) for name in bottom]


def summarize_files(dataset: Folder, size: int) -> dict[str, Any]:
    """Count the kept files by native size, format, note and source; ``size`` is what they are stored at."""
    table = dataset.read_table("split.parquet", ["path", "provenance", "width", "height", "format", "note"])
    width = table["width"].to_numpy().astype(np.int64)
    height = table["height"].to_numpy().astype(np.int64)
    short_side = np.minimum(width, height)
    long_side = np.maximum(width, height)
    area = width * height
    noted = table.filter(pc.not_equal(table["note"], ""))
    accepted_by_source = _count_values(table["provenance"])
    rejected_by_source = _count_values(dataset.read_table("rejected.parquet")["provenance"])
    sources = sorted(accepted_by_source | rejected_by_source, key=lambda name: (-accepted_by_source.get(name, 0), name))
    largest_sources = []
    for name in sources[:MAX_LISTED_ROWS]:
        largest_sources.append((name, accepted_by_source.get(name, 0), rejected_by_source.get(name, 0)))
    return {
        "width": width,
        "height": height,
        "one_size": bool((width == width[0]).all() and (height == height[0]).all()),
        "smallest": (int(width[area.argmin()]), int(height[area.argmin()])),
        "largest": (int(width[area.argmax()]), int(height[area.argmax()])),
        "median": (int(np.median(width)), int(np.median(height))),
        "below_stored": int((short_side < size).sum()),
        "beside_square": float(np.mean(1 - short_side / long_side)),
        "formats": _count_values(table["format"]),
        "notes": len(noted),
        "note_counts": _count_values(pc.list_flatten(pc.split_pattern(noted["note"], NOTE_SEPARATOR))),
        "noted": noted.slice(0, MAX_LISTED_ROWS).select(["path", "note"]).to_pylist(),
        "sources": len(sources),
        "largest_sources": largest_sources,
    }


def _count_values(column: pa.ChunkedArray) -> dict[str, int]:
    """Value -> how often it comes, the most frequent first."""
    value_counts = {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}
    return dict(sorted(value_counts.items(), key=lambda item: (-item[1], item[0])))


def list_rejects(dataset: Folder) -> list[dict[str, Any]]:
    """List the reasons for rejecting images, the most frequent first, each with some of its rows."""
    table = dataset.read_table("rejected.parquet")
    reasons = []
    for reason, n in _count_values(table["reason"]).items():
        reason_rows = table.filter(pc.equal(table["reason"], reason))
        has_thumbnail = pc.is_valid(reason_rows["thumbnail"])
        examples = pa.concat_tables(
            [
                reason_rows.filter(has_thumbnail).slice(0, REJECTS_PER_REASON),
                reason_rows.filter(pc.invert(has_thumbnail)).slice(0, REJECTS_PER_REASON),
            ]
        )
        reasons.append({"reason": reason, "images": n, "rows": examples.slice(0, REJECTS_PER_REASON).to_pylist()})
    return reasons


def summarize_near_duplicates(dataset: Folder) -> dict[str, Any]:
    """Count the groups of near-duplicates that span classes or splits, and return some groups, these first."""
    table = dataset.read_table("near_duplicates.parquet")
    counted = table.group_by("group").aggregate(
        [("class", "count_distinct"), ("split", "count_distinct"), ("group", "count")]
    )
    across = {key: pc.greater(counted[f"{key}_count_distinct"], 1).to_numpy() for key in ("class", "split")}
    order = np.lexsort((counted["group"], -counted["group_count"].to_numpy(), ~across["split"], ~across["class"]))
    shown_groups = []
    for row in order[:MAX_GROUPS]:
        group_rows = table.filter(pc.equal(table["group"], counted["group"][row]))
        members = group_rows.slice(0, MAX_MEMBERS).to_pylist()
        shown_groups.append(
            {
                "images": len(group_rows),
                "members": members,
                "class": bool(across["class"][row]),
                "split": bool(across["split"][row]),
            }
        )
    return {
        "across_classes": int(across["class"].sum()),
        "across_splits": int(across["split"].sum()),
        "shown": shown_groups,
    }


def describe_classes(classes: Sequence[str], path: str | None) -> dict[str, Any] | None:
    """Return the facts on the classes without very long columns; None if there is no such table."""
    if path is None:
        return None
    rows, missing = join_classes(classes, path)
    columns = []
    for column in next(iter(rows.values()), {}):
        longest_cell = max(len(row[column]) for row in rows.values())
        if column != "id" and 0 < longest_cell <= MAX_CELL_CHARS:
            columns.append(column)
    return {"file": path.rpartition("/")[2], "columns": columns, "rows": rows, "missing": missing}
