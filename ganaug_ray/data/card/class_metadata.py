"""Joins facts on the classes from a table such as artists.csv, by name, however the name is spelled.

Folders are called Albrecht_Dürer, Albrecht_Duerer or albrecht-durer, and the same letters come in one piece or as u
and two dots. Names are brought together in three rounds, each looser than the one before, and who has met is out of
the next: so the spelling that fits best wins, and Manuel is never taken for Manul.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Callable, Sequence

from ganaug_ray.core.storage import split_address
from ganaug_ray.errors import UserError

NAME_COLUMNS = ("name", "class", "label")
_GERMAN_SPELLINGS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "æ": "ae", "œ": "oe", "å": "aa"})
_BARE_CHARS = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
# An umlaut written out, such as in Duerer, is told by its place: the first vowel of a word, and a consonant after it.
# Manuel and Michael have a vowel before it, Chloe has no consonant after it: they are what they seem to be.
_WRITTEN_OUT_UMLAUT = re.compile(r"\b([^\W\d_aeiou]*)([aou])e(?=[^\W\d_aeiou])")

Row = dict[str, str]


def join_classes(classes: Sequence[str], path: str) -> tuple[dict[str, Row], list[str]]:
    """Find each class's row in a CSV file of facts.

    Args:
        classes: their names.
        path: of a CSV file in UTF-8; the first of the columns name, class and label that it has holds the names.

    Returns:
        Class -> its row (column -> text), without the column of names; and the classes that have none, as given.

    Raises:
        UserError: no such file, not such a table, or a class and a row that are not each other's only match.
    """
    rows = read_rows(path)
    row_names: dict[str, str] = {}
    for keys in (_spelling_key, _accentless_keys, _umlautless_keys):
        open_classes = [name for name in classes if name not in row_names]
        open_rows = [name for name in rows if name not in row_names.values()]
        row_names |= _match_names(open_classes, open_rows, keys, path)
    return {name: rows[row_names[name]] for name in classes if name in row_names}, [
        n for n in classes if n not in row_names
    ]


def read_rows(path: str) -> dict[str, Row]:
    """Read a CSV file of facts on the classes: name -> column -> text.

    Raises:
        UserError: as in ``join_classes``, but for matches.
    """
    folder, name = split_address(path)
    try:
        text = folder.read_bytes(name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start}); save the table as CSV in UTF-8") from None
    except OSError as error:
        why = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise UserError(f"{path}: {why}; expected a CSV file of facts on the classes") from None
    table = csv.DictReader(io.StringIO(text, newline=""), restval="", strict=True)
    try:
        columns = list(table.fieldnames or [])
        column_by_key = {column.strip().lower(): column for column in reversed(columns)}
        name_column = next((column_by_key[key] for key in NAME_COLUMNS if key in column_by_key), None)
        if name_column is None:
            columns_text = f"the columns {', '.join(columns)}" if columns else "nothing"
            raise UserError(f"{path}: found {columns_text}; expected one of {', '.join(NAME_COLUMNS)}")
        rows: dict[str, Row] = {}
        names_by_spelling: dict[str, str] = {}
        for row in table:
            class_name = row[name_column].strip()
            if not class_name:
                continue
            (spelling,) = _spelling_key(class_name)
            if spelling in names_by_spelling:
                raise UserError(
                    f"{path}: two rows for one class, {names_by_spelling[spelling]!r} and {class_name!r} "
                    f"(line {table.line_num}); keep one of them"
                )
            names_by_spelling[spelling] = class_name
            # Cells beyond the last column come under None.
            rows[class_name] = {
                column: cell.strip() for column, cell in row.items() if column and column != name_column
            }
    except csv.Error as error:
        raise UserError(f"{path}: is not a CSV table (line {table.line_num}: {error})") from None
    return rows


def _match_names(
    classes: list[str], rows: list[str], make_keys: Callable[[str], set[str]], path: str
) -> dict[str, str]:
    """Match names that share a key; each with one other at most."""
    rows_by_key: dict[str, list[str]] = {}
    for row in rows:
        for key in make_keys(row):
            rows_by_key.setdefault(key, []).append(row)
    matched_rows: dict[str, str] = {}
    matched_classes: dict[str, str] = {}
    for name in classes:
        matching_rows: set[str] = set()
        for key in make_keys(name):
            matching_rows.update(rows_by_key.get(key, ()))
        matches = sorted(matching_rows)
        if len(matches) > 1:
            raise UserError(
                f"{path}: class {name!r} could be {' or '.join(map(repr, matches))}; write it as one of them"
            )
        for row in matches:
            if row in matched_classes:
                raise UserError(
                    f"{path}: the row {row!r} could be of class {matched_classes[row]!r} or {name!r}; write it as one "
                    "of them"
                )
            matched_classes[row] = name
            matched_rows[name] = row
    return matched_rows


def _spelling_key(name: str) -> set[str]:
    """The name but for case, composed letters, and what stands between its words."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())
    return {" ".join(re.split(r"[\s_\-‐‑–]+", folded)).strip()}


def _accentless_keys(name: str) -> set[str]:
    """The name without accents, and with its umlauts written out."""
    (spelling,) = _spelling_key(name)
    return {_strip_accents(spelling.translate(_BARE_CHARS)), _strip_accents(spelling.translate(_GERMAN_SPELLINGS))}


def _umlautless_keys(name: str) -> set[str]:
    """The name without accents, and with what may be an umlaut written out taken for one."""
    return {_WRITTEN_OUT_UMLAUT.sub(r"\1\2", key) for key in _accentless_keys(name)}


def _strip_accents(text: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
