"""Chooses among several columns of a table that are called as usual for images: the one whose cells fit files best."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ganaug_ray.data.sources.paths import is_image_name, normalize_path, strip_query
from ganaug_ray.errors import UserError

NEARLY_EQUAL = 0.1  # difference of two columns' fits, of 1
STEM_FIT = 0.5  # of a cell that is a file's name but for the suffix: a row number is that too
GENERIC_WEIGHT = 0.5  # of the fit of a column called id or name, which may be those of the row


class ImageColumn(NamedTuple):
    """The column of images, and one that fits other images about as well but is called as what has none."""

    name: str
    other: str | None = None


def choose_image_column(
    candidates: Sequence[str], rows: Sequence[Mapping[str, Any]], files: Iterable[str], table: str
) -> ImageColumn:
    """Return the column of images.

    Where no cell of any column fits a file, it is the first of those whose cells have suffixes of images, or else the
    first. A column called id or name gives way to one of a plainer name, such as image_id, that fits half as well.

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
    weighted = {column: fit * (GENERIC_WEIGHT if _is_generic(column) else 1.0) for column, fit in fits.items()}
    best = max(candidates, key=weighted.__getitem__)
    if not fits[best]:
        named = {column: _average(float(is_image_name(path)) for path in paths) for column, paths in cells.items()}
        return ImageColumn(next((column for column in candidates if named[column] > 0.5), candidates[0]))
    chosen, *near = (column for column in candidates if weighted[best] - weighted[column] <= NEARLY_EQUAL)
    for other in near:
        if difference := _find_difference(cells[chosen], cells[other]):
            raise UserError(
                f"{table}: columns {chosen} and {other} both fit images, such as {' and '.join(difference)} in one "
                f"row; choose one with data.columns: {{image: {chosen}}} or {{image: {other}}}"
            )
    differing = [column for column in candidates if _find_difference(cells[chosen], cells[column])]
    fullest = max((column for column in candidates if column not in differing), key=fits.__getitem__)
    others = (column for column in differing if fits[column] >= fits[chosen] - NEARLY_EQUAL)
    return ImageColumn(fullest if fits[fullest] > fits[chosen] else chosen, next(others, None))


def _is_generic(column: str) -> bool:
    return re.sub(r"[\s_-]", "", column).lower() in ("id", "name")


def _find_difference(cells: Sequence[str], other_cells: Sequence[str]) -> tuple[str, str] | None:
    """Find a row whose cells in two columns name different files."""
    pairs = zip(cells, other_cells, strict=True)
    return next(
        ((cell, other) for cell, other in pairs if cell and other and _get_stem(cell) != _get_stem(other)), None
    )


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
