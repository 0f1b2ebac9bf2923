"""Opens a text that may be a table: decodes it, and finds out what separates its columns."""

import csv
import io
import json
import re
from _csv import Reader
from collections.abc import Sequence

from ganaug_ray.config import ColumnsConfig
from ganaug_ray.data.sources import json_lines
from ganaug_ray.data.sources.columns import has_image_and_label
from ganaug_ray.data.sources.paths import is_image_name, strip_query
from ganaug_ray.data.sources.raw import open_file
from ganaug_ray.data.sources.remedies import find_other_content, find_source_remedy
from ganaug_ray.errors import UserError

SEPARATORS = ",;\t|"
MAX_SIGNS = 20  # that are tried as separators
NO_SEPARATORS = "\"'_-./\\ " + SEPARATORS  # of what is no letter in a first line, not asked whether it separates


def read_text(path: str) -> str:
    """Return the text of a file, its lines ending in line feeds. Raises UserError where it is none."""
    folder, name = open_file(path)
    content = folder.read_bytes(name)
    remedy = find_source_remedy(strip_query(path))
    if remedy is None and (other := find_other_content(content)):
        raise UserError(f"{path}: is {other}")
    try:
        text = content.decode(_find_encoding(content))
    except UnicodeDecodeError:
        if remedy:
            raise UserError(f"{path}: is of a kind that is not read; {remedy}") from None
        cause = "is not UTF-8 text" if b"\0" in content else "is text, but not in UTF-8; save it as UTF-8"
        raise UserError(f"{path}: {cause}; expected a CSV file with the columns image and label") from None
    _refuse_coco(text, path)
    return text if "\n" in text else text.replace("\r", "\n")  # as old Macs, and Excel still, end lines


def _find_encoding(content: bytes) -> str:
    """Return UTF-8, or UTF-16 where a mark says so, or zeros beside the first characters."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    zeros = tuple(at for at, byte in enumerate(content[:8]) if byte == 0)
    if zeros == (1, 3, 5, 7):
        return "utf-16-le"
    return "utf-16-be" if zeros == (0, 2, 4, 6) else "utf-8-sig"


def _refuse_coco(text: str, path: str) -> None:
    """Raise an error if a text is one object for all images, as COCO has its annotations."""
    if not json_lines.is_json(text) or '"annotations"' not in text:
        return
    try:
        content = json.loads(text)
    except ValueError:
        return
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        raise UserError(
            f"{path}: holds annotations in COCO's format, one object for all images; write a line for each image, such "
            'as {"image": "1.png", "label": "cat"}, with the suffix .jsonl'
        )


def _split_declaration(text: str) -> tuple[str | None, str]:
    """Return the separator that Excel declares in a first line of its own, and the text with that line blank."""
    declaration = re.match(r"sep=(.)(?=\r?\n)", text, re.IGNORECASE)
    return (declaration[1], text[declaration.end() :]) if declaration else (None, text)


def _guess_separator(text: str, path: str, setting: ColumnsConfig) -> str:
    """Return the separator that is most often in the first line, of those that give columns that are known, if any.

    In a file without any it is a space.

    Raises:
        UserError: there is another sign between columns that are known.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    fitting = [separator for separator in SEPARATORS if _is_first_row(first.split(separator), setting)]
    signs = [sign for sign in dict.fromkeys(first) if not sign.isalnum() and sign not in NO_SEPARATORS][:MAX_SIGNS]
    others = [sign for sign in signs if not fitting and _is_first_row(first.split(sign), setting)]
    if others:
        advice = f"set data.columns: {{separator: {json.dumps(others[0], ensure_ascii=False)}}}"
        raise UserError(f"{path}: its columns seem to be separated by {others[0]!r}, in {first[:60]!r}; {advice}")
    best = max(fitting or SEPARATORS, key=first.count)
    return best if best in first or " " not in first.strip() else " "


def _is_first_row(cells: Sequence[str], setting: ColumnsConfig) -> bool:
    """Whether a first row names columns of images and labels, or is an image and its label."""
    names = [cell.strip().strip("\"'") for cell in cells]
    return has_image_and_label(names, setting) or (len(names) == 2 and is_image_name(names[0]))


def is_json_lines(text: str, path: str) -> bool:
    """Whether a text is JSON Lines, by its file's name or its beginning."""
    return strip_query(path).lower().endswith(json_lines.SUFFIXES) or json_lines.is_json(text)


def open_lines(text: str, path: str, setting: ColumnsConfig) -> Reader:
    """Return the rows of a table of text, the first of them included, blank ones too."""
    declared, text = _split_declaration(text)
    separator = setting.separator or declared or _guess_separator(text, path, setting)
    return csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
