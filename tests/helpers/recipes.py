"""Applies the recipes of the documentation to a copy of the package, as a contributor would by hand.

A comment above each block says where it goes: ``new file F``, ``before the line "X" in F``, ``after the line "X" in
F``, ``behind "X" in F`` (within the line), or ``check``: code that is run when all are applied.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.helpers.prose import list_code_blocks

_EDIT = re.compile(r'(before the line|after the line|behind) "(.+)" in (\S+)')


def apply_recipes(page: Path, root: Path) -> list[str]:
    """Apply all recipes of a page to the copy of the package in ``root``, and return the code of their checks."""
    checks = []
    for block in list_code_blocks(page):
        if block.recipe is None:
            continue
        if block.recipe == "check":
            checks.append(block.text)
        elif block.recipe.startswith("new file "):
            path = root / block.recipe.removeprefix("new file ")
            assert not path.exists(), f"{block}: {path} is there already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        else:
            edit = _EDIT.fullmatch(block.recipe)
            assert edit is not None, f"{block}: {block.recipe}"
            _edit_file(root / edit[3], edit[1], edit[2], block.text)
    return checks


def _edit_file(path: Path, place: str, anchor: str, text: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    number = next((n for n, line in enumerate(lines) if anchor in line), None)
    assert number is not None, f"{path.name} has no line with {anchor!r}"
    if place == "behind":
        lines[number] = lines[number].replace(anchor, f"{anchor}{text.strip()} ", 1)
    elif place == "after the line":
        lines.insert(number + 1, text)
    else:
        lines.insert(number, f"{text.rstrip()}\n\n\n")
    path.write_text("".join(lines))
