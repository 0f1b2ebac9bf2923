"""Says which values in a table are read in a way that a user may not expect."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.label_text import MISSING_VALUES, make_class_name, name_missing_value
from ganaug_ray.data.sources.paths import name_split

DOWNLOAD = "download the images, and name their files in the table (data.columns: {image: ...} names the column)"
SEPARATED = re.compile(r"[|;,]")
PLACEHOLDERS = ("-", "--", "?", "none")  # labels that may stand for none
MAX_NAMED = 4  # values


def describe_labels(cells: Counter[Any], table: str) -> Iterator[str]:
    """Say which labels stand for missing values, may stand for them, or are one class that is written twice.

    Args:
        cells: of the column of labels, each with its number of rows.
        table: its name.
    """
    texts_by_class: dict[str, list[str]] = defaultdict(list)
    for cell, n in cells.items():
        rows = format_count(n, "row is", "rows are")
        missing = name_missing_value(cell)
        left_out = "it is left out" if n == 1 else "they are left out"
        if missing and isinstance(cell, str | bytes):
            yield (
                f"{table}: {rows} labelled {missing!r}, which stands for a missing label, as in pandas, so {left_out}; "
                f"if it is a class, rename it in the table, for instance to 'class {missing}'"
            )
        elif missing:
            yield f"{table}: {rows} labelled {missing}, which stands for a missing label, so {left_out}"
        elif cell in PLACEHOLDERS:
            yield f"{table}: {rows} labelled {cell!r}, which is taken for a class; leave the cell empty if it is none"
        elif name := make_class_name(cell):
            texts_by_class[name].append(str(cell))
    for name, texts in texts_by_class.items():
        if len(texts) > 1:
            yield f"{table}: labels {' and '.join(texts)} are one class, {name}"
    yield from _describe_combinations(texts_by_class, table)


def _describe_combinations(names: Iterable[str], table: str) -> Iterator[str]:
    """Say that labels seem to hold several classes each, where some have parts in common."""
    parts_by_name = {name: {part.strip() for part in SEPARATED.split(name)} for name in names if SEPARATED.search(name)}
    counts = Counter(part for parts in parts_by_name.values() for part in parts)
    shared = [name for name, parts in parts_by_name.items() if max(counts[part] for part in parts) > 1]
    if shared:
        yield (
            f"{table}: labels such as {min(shared)!r} seem to hold several classes, and each such text is taken for a "
            "class of its own; an image can have only one class"
        )


def describe_splits(cells: Counter[str], column: str, table: str) -> Iterator[str]:
    """Say which values of a column of splits name none.

    Args:
        cells: the values as text, each with its number of rows.
        column: its name.
        table: the table's.
    """
    unknown = {cell: n for cell, n in cells.items() if cell and cell not in MISSING_VALUES and not name_split(cell)}
    if not unknown:
        return
    named = ", ".join(sorted(unknown)[:MAX_NAMED])
    more = f" and {len(unknown) - MAX_NAMED} more" if len(unknown) > MAX_NAMED else ""
    rows = format_count(sum(unknown.values()), "row has", "rows have")
    yield (
        f"{table}: column {column} has values that name no split, {named}{more}, so {rows} none; "
        "write train, val (or valid, validation, dev) and test"
    )


def describe_moved_images(splits: Mapping[str, tuple[str | None, str | None]], table: str) -> list[str]:
    """Say of how many images a table's column of splits contradicts the folders that they lie in.

    Args:
        splits: image -> the split of its folder, and that of its row; None where there is none.
        table: its name.
    """
    moved = {path: pair for path, pair in splits.items() if None not in pair and pair[0] != pair[1]}
    if not moved:
        return []
    path, (folder_split, row_split) = min(moved.items())
    images = format_count(len(moved), "image lies", "images lie")
    return [
        f"{table}: {images} in a folder of another split than the table gives, such as {path} in {folder_split} with "
        f"{row_split}; the table's splits are used; to use those of the folders, remove its column"
    ]


def describe_several_splits(paths: Sequence[str], table: str) -> list[str]:
    """Say how many images a table puts into several splits.

    >>> describe_several_splits(["1.png"], "t.csv")
    ['t.csv: 1 image is in several splits, such as 1.png, and is used only in the last of train, val and test']
    """
    if not paths:
        return []
    verb = "is" if len(paths) == 1 else "are"
    return [
        f"{table}: {format_count(len(paths), 'image')} {verb} in several splits, such as {min(paths)}, and "
        f"{verb} used only in the last of train, val and test"
    ]


def describe_repeated_images(lines: Mapping[str, Sequence[int]], table: str) -> list[str]:
    """Say how many images have several rows in a table; ``lines`` has those of each.

    >>> describe_repeated_images({"1.png": [2, 3]}, "t.csv")
    ['t.csv: 1 image has several rows, such as 1.png in lines 2 and 3, and is read once']
    """
    if not lines:
        return []
    image, (first, second, *_) = min(lines.items())
    images = format_count(len(lines), "image has", "images have")
    return [
        f"{table}: {images} several rows, such as {image} in lines {first} and {second}, and "
        f"{'is' if len(lines) == 1 else 'each is'} read once"
    ]


def describe_other_suffixes(files: Mapping[str, str], table: str) -> list[str]:
    """Say how many images of a table are there under another suffix alone; ``files`` has these.

    >>> describe_other_suffixes({"1.jpeg": "1.jpg"}, "t.csv")
    ['t.csv: 1 image is there with another suffix, such as 1.jpg for 1.jpeg; write the suffixes of the files']
    """
    if not files:
        return []
    path, file = min(files.items())
    images = format_count(len(files), "image is", "images are")
    return [f"{table}: {images} there with another suffix, such as {file} for {path}; write the suffixes of the files"]


def describe_nameless_rows(lines: Sequence[int], rows: int, table: str) -> list[str]:
    """Say how many rows of a table of labels name no image, so that their labels are lost; ``lines`` are theirs.

    >>> describe_nameless_rows([3], 40, "t.csv")
    ['t.csv: 1 of 40 rows names no image, such as line 3, and is left out']
    """
    if not lines:
        return []
    verb, left_out = ("names", "is") if len(lines) == 1 else ("name", "are")
    rows_text = format_count(rows, "row")
    return [f"{table}: {len(lines)} of {rows_text} {verb} no image, such as line {lines[0]}, and {left_out} left out"]


def describe_addresses(addresses: Sequence[tuple[str, str]], rows: int, table: str) -> list[str]:
    """Say how many rows of a table name addresses, so that they have no image.

    Args:
        addresses: each with what its row is called.
        rows: of the table, with images.
        table: its name.
    """
    if not addresses:
        return []
    address, where = addresses[0]
    is_single = len(addresses) == 1
    verb, download = ("names an address", "is") if is_single else ("name addresses", "are")
    return [
        f"{table}: {len(addresses)} of {format_count(rows, 'row')} {verb}, such as {address:.100} in {where}, which "
        f"{download} not downloaded; {DOWNLOAD}"
    ]


def describe_found_addresses(files: Mapping[str, str], table: str) -> list[str]:
    """Say how many addresses in a table are taken for files that are called as they end; ``files`` has these."""
    if not files:
        return []
    address, file = min(files.items())
    addresses = format_count(len(files), "address is", "addresses are")
    return [f"{table}: {addresses} not downloaded; files of the same name are used, such as {file} for {address:.100}"]


def describe_listed_masks(masks: Collection[str], table: str) -> list[str]:
    """Say how many of the images that a table lists are named like masks or annotations of others."""
    if not masks:
        return []
    files = format_count(len(masks), "image that it lists is", "images that it lists are")
    return [
        f"{table}: {files} named like masks or annotations of other images, such as {min(masks)}, and used with the "
        "labels of their rows; remove these rows if they are not images"
    ]
