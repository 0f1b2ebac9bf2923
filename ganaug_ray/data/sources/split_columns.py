"""Finds the column of a table that has the split of each row, by its name or its cells, and reads these."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ganaug_ray.data.sources.label_text import MISSING_VALUES, read_split_cell
from ganaug_ray.data.sources.paths import name_split

SPLIT_NAMES = ("split", "datasplit", "datasetsplit", "subset", "partition")
OTHER_SPLIT_NAMES = ("set", "fold")  # which mean other things too: taken where the cells name splits
FLAGS = {  # column -> the splits of its ones and its zeros
    "istrain": ("train", "test"),
    "istraining": ("train", "test"),
    "istest": ("test", "train"),
    "istesting": ("test", "train"),
    "isval": ("val", "train"),
    "isvalid": ("val", "train"),
    "isvalidation": ("val", "train"),
}
FLAG_CELLS = {"1": 0, "true": 0, "0": 1, "false": 1}


def choose_split_column(names: Sequence[str], unused: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the column of splits: one of a usual name, or else an unused one whose cells all name splits.

    Args:
        names: of all columns.
        unused: those that are neither of images nor of labels.
        sample: some rows.
    """
    by_key = {make_key(name): name for name in reversed(names)}
    if usual := next((by_key[key] for key in SPLIT_NAMES if key in by_key), None):
        return usual
    for name in (by_key[key] for key in OTHER_SPLIT_NAMES if key in by_key):
        cells = _list_cells(name, sample)
        if cells and 2 * sum(name_split(cell) is not None for cell in cells) > len(cells):
            return name
    for name in unused:
        cells = _list_cells(name, sample)
        if cells and not is_flag(name) and all(map(name_split, cells)):
            return name
    flags = [name for name in unused if is_flag(name)]
    is_read = len(flags) == 1 and all(cell.lower() in FLAG_CELLS for cell in _list_cells(flags[0], sample))
    return flags[0] if is_read else None


def is_usual_split(name: str) -> bool:
    """Whether a column is called as one of splits is, so that it is none of classes.

    >>> [is_usual_split(name) for name in ("Split", "is_test", "fold", "cat")]
    [True, True, True, False]
    """
    return make_key(name) in (*SPLIT_NAMES, *OTHER_SPLIT_NAMES, *FLAGS)


def is_flag(name: str) -> bool:
    """Whether a column is called as one with a one for the rows of a split."""
    return make_key(name) in FLAGS


def read_split_text(column: str, cell: Any) -> str:
    """Return the text of a cell in a column of splits; of a one or a zero, the split that it means.

    >>> read_split_text("split", "train "), read_split_text("is_train", "0"), read_split_text("is_test", True)
    ('train', 'test', 'test')
    """
    text = read_split_cell(cell)
    if is_flag(column) and text.lower() in FLAG_CELLS:
        return FLAGS[make_key(column)][FLAG_CELLS[text.lower()]]
    return text


def make_key(name: str) -> str:
    """Return what a column's name has in common with other spellings of it.

    >>> {make_key(name) for name in ("image_id", "ImageId", " Image ID", "image-id")}
    {'imageid'}
    """
    return re.sub(r"[\s_-]", "", name).lower()


def _list_cells(name: str, sample: Sequence[Mapping[str, Any]]) -> list[str]:
    cells = (read_split_cell(row.get(name)) for row in sample)
    return [cell for cell in cells if cell and cell not in MISSING_VALUES]
