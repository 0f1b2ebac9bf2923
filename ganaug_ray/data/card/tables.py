"""What the tables of a dataset folder say, as the plain values of its card.

A table may have a million rows: columns are counted by Arrow, and only the rows that are shown become Python's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ganaug_ray.core.storage import Folder
from ganaug_ray.data.card.class_metadata import join

UNEVEN = 3.0  # times the smallest class
TINY = 20  # training images

BARS = 40  # classes; of more, the largest and the smallest are drawn
LISTED = 20  # files or sources
REJECTS = 6  # of each reason
GROUPS, MEMBERS = 12, 6  # of near-duplicates
LONGEST_CELL = 48  # characters; a column of metadata with longer ones is left out

Counts = Mapping[str, int]  # class -> images
Bar = tuple[str, dict[str, int] | None]  # class and split -> images; words and None where classes are left out


def remark(record: Mapping[str, Any], totals: Counts, twins: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether there is something to know before training, and one sentence that says what.

    Args:
        record: the marker of the dataset.
        totals: kept images of each class.
        twins: as near_duplicates returns them.
    """
    train = record["counts"]["train"]
    found = []
    if uneven := _uneven(totals):
        found.append(uneven + ("" if _uneven(train) else ", though not in training"))
    elif uneven := _uneven(train):
        found.append(f"in training, {uneven}")
    if tiny := sorted((name for name in train if train[name] < TINY), key=train.__getitem__):
        has = "has" if len(tiny) == 1 else "have"
        found.append(f"{number(len(tiny), 'class', 'classes')} {has} fewer than {TINY} training images ({_some(tiny)})")
    if n := record["rejected"].get("label conflict"):
        found.append(f"{number(n, 'image was', 'images were')} left out because the same picture lies under two labels")
    for where, key in (("lie under two classes", "across_classes"), ("lie in two splits", "across_splits")):
        if n := twins[key]:
            found.append(f"near-duplicates {where} ({number(n, 'group')})")
    if found:
        return True, f"Worth a look: {'; '.join(found)}."
    return False, (
        f"Nothing stands out: no class has {UNEVEN:.0f} times the images of another or fewer than {TINY} to train on, "
        "and no picture was found under two labels."
    )


def _uneven(counts: Counts) -> str:
    """Name the largest and the smallest class where they are far apart."""
    small, large = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    times = counts[large] / max(1, counts[small])
    if times < UNEVEN:
        return ""
    return (
        f"the largest class, {large} ({counts[large]:,}), has {times:.0f} times the images of the smallest, "
        f"{small} ({counts[small]:,})"
    )


def number(n: int, one: str, more: str = "") -> str:
    """Say how many.

    >>> number(1, "image"), number(1234, "image"), number(2, "class", "classes")
    ('1 image', '1,234 images', '2 classes')
    """
    return f"{n:,} {one if n == 1 else more or one + 's'}"


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def extremes(counts: Counts, most: int) -> tuple[list[str], list[str]]:
    """Return as many classes as asked for: the largest, and where that leaves some out, the smallest."""
    order = sorted(counts, key=lambda name: (-counts[name], name))
    return (order, []) if len(order) <= most else (order[: most - most // 2], order[-(most // 2) :])


def bars(counts: Mapping[str, Counts], totals: Counts) -> list[Bar]:
    """Return a bar a class, from the largest to the smallest; where there are many, words for those between."""
    top, bottom = extremes(totals, BARS)
    rows: list[Bar] = [(name, {split: own[name] for split, own in counts.items()}) for name in (*top, *bottom)]
    if bottom:
        between = [totals[name] for name in totals.keys() - {*top, *bottom}]
        rows.insert(len(top), (f"{number(len(between), 'class', 'classes')} between, {sum(between):,} images", None))
    return rows


def files(dataset: Folder, size: int) -> dict[str, Any]:
    """Count the kept files by native size, format, note and source; ``size`` is what they are stored at."""
    table = dataset.read_table("split.parquet", ["path", "provenance", "width", "height", "format", "note"])
    width, height = (table[name].to_numpy().astype(np.int64) for name in ("width", "height"))
    short, long = np.minimum(width, height), np.maximum(width, height)
    area = width * height
    noted = table.filter(pc.not_equal(table["note"], ""))
    kept, left_out = _count(table["provenance"]), _count(dataset.read_table("rejected.parquet")["provenance"])
    sources = sorted(kept | left_out, key=lambda name: (-kept.get(name, 0), name))
    return {
        "width": width,
        "height": height,
        "one_size": bool((width == width[0]).all() and (height == height[0]).all()),
        "smallest": (int(width[area.argmin()]), int(height[area.argmin()])),
        "largest": (int(width[area.argmax()]), int(height[area.argmax()])),
        "median": (int(np.median(width)), int(np.median(height))),
        "below_stored": int((short < size).sum()),
        "beside_square": float(np.mean(1 - short / long)),
        "formats": _count(table["format"]),
        "notes": len(noted),
        "noted": noted.slice(0, LISTED).select(["path", "note"]).to_pylist(),
        "sources": len(sources),
        "largest_sources": [(name, kept.get(name, 0), left_out.get(name, 0)) for name in sources[:LISTED]],
    }


def _count(column: pa.ChunkedArray) -> dict[str, int]:
    """Value -> how often it comes, the most frequent first."""
    found = {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def rejects(dataset: Folder) -> list[dict[str, Any]]:
    """Return the reasons, the most frequent first, each with some rows: those that have a picture before others."""
    table = dataset.read_table("rejected.parquet")
    found = []
    for reason, n in _count(table["reason"]).items():
        own = table.filter(pc.equal(table["reason"], reason))
        seen = pc.is_valid(own["thumbnail"])
        some = pa.concat_tables([own.filter(seen).slice(0, REJECTS), own.filter(pc.invert(seen)).slice(0, REJECTS)])
        found.append({"reason": reason, "images": n, "rows": some.slice(0, REJECTS).to_pylist()})
    return found


def near_duplicates(dataset: Folder) -> dict[str, Any]:
    """Count the groups that span classes or splits, and return some groups: first those, then the largest."""
    table = dataset.read_table("near_duplicates.parquet")
    counted = table.group_by("group").aggregate(
        [("class", "count_distinct"), ("split", "count_distinct"), ("group", "count")]
    )
    across = {key: pc.greater(counted[f"{key}_count_distinct"], 1).to_numpy() for key in ("class", "split")}
    order = np.lexsort((counted["group"], -counted["group_count"].to_numpy(), ~across["split"], ~across["class"]))
    shown = []
    for row in order[:GROUPS]:
        own = table.filter(pc.equal(table["group"], counted["group"][row]))
        members = own.slice(0, MEMBERS).to_pylist()
        shown.append(
            {"images": len(own), "members": members} | {key: bool(spans[row]) for key, spans in across.items()}
        )
    return {
        "across_classes": int(across["class"].sum()),
        "across_splits": int(across["split"].sum()),
        "shown": shown,
    }


def about_classes(classes: Sequence[str], path: str | None) -> dict[str, Any] | None:
    """Return the metadata joined to the classes, without its long columns; None where there is no metadata."""
    if path is None:
        return None
    rows, missing = join(classes, path)
    columns = [
        column
        for column in next(iter(rows.values()), {})
        if column != "id" and 0 < max(len(row[column]) for row in rows.values()) <= LONGEST_CELL
    ]
    return {"file": path.rpartition("/")[2], "columns": columns, "rows": rows, "missing": missing}
