"""Facts on the classes from a table such as artists.csv, joined by name however the name is written.

Folders are called Albrecht_Dürer, Albrecht_Duerer or albrecht-durer, and the same letters come in one piece or as u
and two dots. Names are brought together in three rounds, each looser than the one before, and who has met is out of
the next: so the spelling that fits best wins, and Manuel is never taken for Manul.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Sequence

from ganaug_ray.core.storage import parent_and_name
from ganaug_ray.errors import UserError

KEY_COLUMNS = ("name", "class", "label")
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "æ": "ae", "œ": "oe", "å": "aa"})
_BARE = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
# An umlaut written out, such as in Duerer, is told by its place: the first vowel of a word, and a consonant after it.
# Manuel and Michael have a vowel before it, Chloe has no consonant after it: they are what they seem to be.
_WRITTEN_OUT = re.compile(r"\b([^\W\d_aeiou]*)([aou])e(?=[^\W\d_aeiou])")

Row = dict[str, str]


def join(classes: Sequence[str], path: str) -> tuple[dict[str, Row], list[str]]:
    """Find each class's row.

    Args:
        classes: their names.
        path: of a CSV file in UTF-8; the first of the columns name, class and label that it has holds the names.

    Returns:
        Class -> its row (column -> text), without the column of names; and the classes that have none, as given.

    Raises:
        UserError: no such file, not such a table, or a class and a row that are not each other's only match.
    """
    rows = read(path)
    found: dict[str, str] = {}
    for keys in (_same, _alike, _loose):
        open_classes = [name for name in classes if name not in found]
        open_rows = [name for name in rows if name not in found.values()]
        found |= _round(open_classes, open_rows, keys, path)
    return {name: rows[found[name]] for name in classes if name in found}, [n for n in classes if n not in found]


def read(path: str) -> dict[str, Row]:
    """Return the table's rows by name.

    Raises:
        UserError: as in join.
    """
    folder, name = parent_and_name(path)
    try:
        text = folder.read(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start}); save the table as CSV in UTF-8") from None
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise UserError(f"{path}: {why}; expected a CSV file of facts on the classes") from None
    table = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
    try:
        columns = list(table.fieldnames or [])
        key = next((column for wanted in KEY_COLUMNS for column in columns if column.strip().lower() == wanted), None)
        if key is None:
            found = f"the columns {', '.join(columns)}" if columns else "nothing"
            raise UserError(f"{path}: found {found}; expected one of {', '.join(KEY_COLUMNS)}")
        rows: dict[str, Row] = {}
        seen: dict[str, str] = {}
        for row in table:
            if not (own := row[key].strip()):
                continue
            (same,) = _same(own)
            if same in seen:
                raise UserError(f"{path}: two rows for one class, {seen[same]!r} and {own!r} (line {table.line_num})")
            seen[same] = own
            # Cells beyond the last column come under None.
            rows[own] = {column: cell.strip() for column, cell in row.items() if column and column != key}
    except csv.Error as error:
        raise UserError(f"{path}: is no CSV table (line {table.line_num}: {error})") from None
    return rows


def _round(classes: list[str], rows: list[str], keys: Callable[[str], set[str]], path: str) -> dict[str, str]:
    """Match names that share a key; each with one other at most."""
    holders: dict[str, list[str]] = {}
    for row in rows:
        for key in keys(row):
            holders.setdefault(key, []).append(row)
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in classes:
        matches = sorted({row for key in keys(name) for row in holders.get(key, ())})
        if len(matches) > 1:
            raise UserError(
                f"{path}: class {name!r} could be {' or '.join(map(repr, matches))}; write it as one of them"
            )
        for row in matches:
            if row in taken:
                raise UserError(f"{path}: the row {row!r} could be of class {taken[row]!r} or {name!r}")
            taken[row], found[name] = name, row
    return found


def _same(name: str) -> set[str]:
    """The name but for case, composed letters, and what stands between its words."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())
    return {" ".join(re.split(r"[\s_\-‐‑–]+", folded)).strip()}


def _alike(name: str) -> set[str]:
    """The name without accents, and with its umlauts written out."""
    (same,) = _same(name)
    return {_without_accents(same.translate(_BARE)), _without_accents(same.translate(_GERMAN))}


def _loose(name: str) -> set[str]:
    """The name without accents, and with what may be an umlaut written out taken for one."""
    return {_WRITTEN_OUT.sub(r"\1\2", key) for key in _alike(name)}


def _without_accents(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
