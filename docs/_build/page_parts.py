"""Pieces of Markdown that the generated pages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def build_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; its cells are Markdown, and must hold no bar but in ``code``."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cell or ' ' for cell in line)} |" for line in lines) + "\n"


def escape_text(text: str) -> str:
    """Return plain text as Markdown on one line, in which nothing but ``code`` in single backticks is markup."""
    parts = " ".join(text.split()).split("`")
    parts[::2] = map(_escape_marks, parts[::2])
    return "`".join(parts)


def _escape_marks(text: str) -> str:
    for mark in "\\*_[]#|":
        text = text.replace(mark, f"\\{mark}")
    return text.replace("<", "&lt;")
