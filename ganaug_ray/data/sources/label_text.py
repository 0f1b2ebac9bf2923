"""Understands what a value means as the name of a class: it is text, whatever a table or a program made of it."""

import functools
import math
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from ganaug_ray.data.sources.paths import repair_encoding
from ganaug_ray.data.sources.raw import LABEL_CONFLICT, NO_CLASS, Label

# What pandas reads as a missing value. Of folders and of names in a schema, such are classes.
MISSING_VALUES = frozenset((
    "#N/A", "#N/A N/A", "#NA", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "-NaN", "-nan", "n/a", "nan", "null", "NAN",
))  # fmt: skip

_HALVES = re.compile("[\ud800-\udfff]")  # of characters, as JSON may hold, and nothing can write
_ONES = ("1", "true", "yes")  # in a column for each class
_ZEROS = ("0", "false", "no")
# Characters that nobody sees: classes that differ in one alone would look the same. Joiners shape the letters of some
# scripts, and emoji, and stay between them.
_INVISIBLE = re.compile(
    "[\\x00-\\x08\\x0e-\\x1f\\x7f]"
    "|[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
    "|(?<![^\\x00-\\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\\x00-\\x7f])"
)


def make_class_name(value: Any) -> str | None:
    """Return the name of a class as text, or None where there is none.

    Raises:
        ValueError: the value is bytes that are no UTF-8, or holds several values.

    >>> [make_class_name(value) for value in (b"cat", " cat ", "b'cat'", 3, 1.0, "0.0", True, None, float("nan"), "")]
    ['cat', 'cat', 'cat', '3', '1', '0', 'True', None, None, None]
    >>> make_class_name("-0.0"), make_class_name("c\\0at")
    ('0', 'cat')
    """
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str):
        return _clean_text(value)
    if value is None or value != value:
        return None
    if isinstance(value, float | Decimal):
        return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)
    if isinstance(value, dict | list | tuple):
        raise ValueError("holds several values")
    return str(value)


def is_number(cell: Any) -> bool:
    """Whether a label is a number, maybe as text.

    >>> [is_number(cell) for cell in (3, 1.0, "2", b"4", "cat", "B2")]
    [True, True, True, True, False, False]
    """
    with suppress(ValueError):  # bytes that are no text
        return re.fullmatch(r"-?\d+(\.\d+)?", make_class_name(cell) or "") is not None
    return False


def make_path_class(text: str | None) -> str | None:
    """Return the class that a part of a path means: the text itself, in one form of Unicode; None where it is empty.

    >>> make_path_class("1.0"), make_path_class("b'cat'"), make_path_class(" ")
    ('1.0', "b'cat'", None)
    """
    return _unify_text(text or "") or None


def read_label_cell(value: Any) -> str | None:
    """Return the class in a cell of a table, or None where it is empty or says that its value is missing.

    Raises:
        ValueError: as ``make_class_name``.

    >>> [read_label_cell(value) for value in ("cat", "NA", "none", "", 1.0)]
    ['cat', None, 'none', None, '1']
    """
    name = make_class_name(value)
    return None if name in MISSING_VALUES else name


def name_missing_value(value: Any) -> str | None:
    """Return what stands in a cell that says that its value is missing; None for any other, and for an empty text.

    >>> [name_missing_value(value) for value in ("cat", "", " NA ", None, float("nan"))]
    [None, None, 'NA', 'null', 'NaN']
    """
    if value is None:
        return "null"
    if value != value:
        return "NaN"
    name = make_class_name(value)
    return name if name in MISSING_VALUES else None


def read_split_cell(value: Any) -> str:
    """Return the text of a cell in a column of splits; empty where there is none.

    >>> [read_split_cell(value) for value in ("train ", b"test", 1.0, None)]
    ['train', 'test', '1', '']
    """
    try:
        return make_class_name(value) or ""
    except ValueError:
        return str(value)


@functools.lru_cache(maxsize=4096)  # of millions of labels few differ
def _clean_text(text: str) -> str | None:
    text = _unify_text(text)
    if quoted := re.fullmatch(r"""b(['"])(.*)\1""", text):  # bytes that a program wrote as it shows them
        text = quoted[2]
    if whole := re.fullmatch(r"(-?\d+)\.0+", text):  # a whole number that was kept as a float
        text = "0" if whole[1] == "-0" else whole[1]
    text = _unify_text(text)
    return sys.intern(text) if text else None


def _unify_text(text: str) -> str:
    """Return a text in one form of Unicode, without what is not seen."""
    text = _HALVES.sub("\N{REPLACEMENT CHARACTER}", text)
    return _INVISIBLE.sub("", unicodedata.normalize("NFC", repair_encoding(text))).strip()


def read_one_hot(names: Sequence[str], cells: Sequence[Any]) -> list[str] | None:
    """Return the columns that hold a one; None if a cell is neither zero nor one.

    >>> read_one_hot(["cat", "dog"], ["NaN", "1.0"]), read_one_hot(["cat", "dog"], [0, 7])
    (['dog'], None)
    >>> read_one_hot(["cat", "dog"], ["Yes", "no"])
    ['cat']
    """
    ones = []
    for name, cell in zip(names, cells, strict=True):
        value = (read_label_cell(cell) or "0").lower()
        if value not in (*_ZEROS, *_ONES):
            return None
        if value in _ONES:
            ones.append(name)
    return ones


def may_be_class_column(cells: Iterable[Any]) -> bool:
    """Whether no cell of a column is anything but one, zero, empty, or a score between them.

    >>> [may_be_class_column(cells) for cells in (["1", "0"], [0.9, None], ["yes", "no"], ["cat", "1"], [80, 1])]
    [True, True, True, False, False]
    """
    return all(map(_is_one_or_less, cells))


def _is_one_or_less(cell: Any) -> bool:
    with suppress(ValueError):  # it holds several values
        name = (read_label_cell(cell) or "0").lower()
        return name in (*_ZEROS, *_ONES) or 0 <= float(name) <= 1
    return False


def make_label(names: Sequence[str], where: str) -> Label:
    """Return the label of an image to which a table gives these names of classes; ``where`` says which rows."""
    distinct = sorted(set(names))
    if len(distinct) == 1:
        return Label(distinct[0])
    if distinct:
        return Label(None, (LABEL_CONFLICT, f"{where}: labelled {', '.join(distinct)}"))
    return Label(None, (NO_CLASS, f"{where}: no label"))
