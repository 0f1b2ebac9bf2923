"""Finds the names of classes that tables give as numbers: their schemas have them, or those of other files beside them.

Hugging Face's library keeps numbers, and their names in the schema; other programs lose the latter.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from ganaug_ray.core.wording import format_count
from ganaug_ray.data.sources.label_text import is_number
from ganaug_ray.data.sources.parquet_listing import ClassNames, TableRows
from ganaug_ray.errors import UserError


def share_class_names(source: str, tables: Mapping[str, TableRows]) -> tuple[dict[str, ClassNames], list[str]]:
    """Give the names of classes to tables that have numbers alone, where other tables beside them have the names.

    Args:
        source: what they lie in, or the table itself.
        tables: file -> its rows; the empty file where the source is the table.

    Returns:
        File -> its names, and remarks.

    Raises:
        UserError: what the numbers mean cannot be known: others have different names, or labels in text.
    """
    names_by_file: dict[str, ClassNames] = {file: rows.class_names for file, rows in tables.items()}
    files_with_numbers: dict[str, list[str]] = defaultdict(list)
    for file, rows in tables.items():
        for column in rows.columns.labels:
            cells = rows.list_cells(column)
            if cells and not rows.class_names[column] and all(map(is_number, cells)):
                files_with_numbers[column].append(file)
    remarks = []
    for column, files in files_with_numbers.items():
        distinct = {tuple(names[column] or ()) for names in names_by_file.values() if column in names} - {()}
        if len(distinct) > 1:
            raise UserError(
                f"{_name_table(source, files[0])}: column {column} has numbers without names, and other files give "
                "them different names; write the names of classes in place of the numbers"
            )
        if not distinct:
            _refuse_text_beside_numbers(source, tables, column, files)
        for names in distinct:
            for file in files:
                names_by_file[file] = {**names_by_file[file], column: names}
            remarks.append(
                f"{source.rstrip('/').rpartition('/')[2]}: column {column} of {format_count(len(files), 'file')}, such "
                f"as {files[0]}, has numbers without names; these are taken from the other files"
            )
    return names_by_file, remarks


def _refuse_text_beside_numbers(
    source: str, tables: Mapping[str, TableRows], column: str, files_with_numbers: Sequence[str]
) -> None:
    """Raise an error if the labels of some files are numbers and those of others are words."""
    cells_by_file = {file: rows.list_cells(column) for file, rows in tables.items() if rows.columns.labels == (column,)}
    words = ((file, cell) for file, cells in cells_by_file.items() for cell in cells if not is_number(cell))
    other, word = next(words, ("", None))
    for file in files_with_numbers:
        number = next((cell for cell in cells_by_file.get(file, ()) if isinstance(cell, int | float)), None)
        if word is not None and number is not None:
            raise UserError(
                f"{_name_table(source, file)}: column {column} has numbers, such as {number}, but that of {other} has "
                f"text, such as {word!r}; write the names of classes in place of the numbers"
            )


def _name_table(source: str, file: str) -> str:
    return f"data.source {source}" + (f": {file}" if file else "")
