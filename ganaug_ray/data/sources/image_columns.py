"""Chooses among several columns of a table that are called as usual for images: the one whose cells fit files best."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ganaug_ray.data.sources.paths import is_image_name, normalize_path, strip_query
from ganaug_ray.errors import UserError

NEARLY_EQUAL = 0.1  # difference of two columns' fits, of 1
STEM_FIT = 0.5  # of a cell that is a file's name but for the suffix: a row number is that too


def choose_image_column(
    candidates: Sequence[str], rows: Sequence[Mapping[str, Any]], files: Iterable[str], table: str
) -> str:
    """Return the column of images.

    Where no cell of any column fits a file, it is the first of those whose cells have suffixes of images, or else the
    first.

    Args:
        candidates: columns, the most usual name first.
        rows: some of the table's.
        files: paths of the images that it may mean.
        table: what to call it.

    Raises:
        UserError: two columns fit files about equally, and other files.
    """
    names = {_get_name(path) for path in files}
    stems = {_get_stem(name) for name in names}
    cells = {column: [_read_path(row.get(column)) for row in rows] for column in candidates}
    fits = {column: _average(_fit(path, names, stems) for path in paths) for column, paths in cells.items()}
    best = max(candidates, key=fits.__getitem__)
    if not fits[best]:
        named = {column: _average(float(is_image_name(path)) for path in paths) for column, paths in cells.items()}
        return next((column for column in candidates if named[column] > 0.5), candidates[0])
    near = [column for column in candidates if fits[best] - fits[column] <= NEARLY_EQUAL]
    for other in near[1:]:
        pairs = zip(cells[near[0]], cells[other], strict=True)
        for first, second in pairs:
            if first and second and _get_stem(first) != _get_stem(second):
                raise UserError(
                    f"{table}: columns {near[0]} and {other} both fit images, such as {first} and {second} in one row; "
                    f"choose one with data.columns: {{image: {near[0]}}} or {{image: {other}}}"
                )
    return near[0]


def _read_path(cell: Any) -> str:
    if isinstance(cell, dict):
        cell = cell.get("path")
    return strip_query(normalize_path(str(cell))) if isinstance(cell, str | int) else ""


def _fit(path: str, names: set[str], stems: set[str]) -> float:
    if not path:
        return 0.0
    name = _get_name(path)
    return 1.0 if name in names else STEM_FIT * (name in stems)


def _average(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def _get_name(path: str) -> str:
    return path.rpartition("/")[2].lower()


def _get_stem(path: str) -> str:
    name = _get_name(path)
    return name.rpartition(".")[0] if is_image_name(name) else name
