"""Extension of griffe: shows the examples in docstrings as code; they stand below the sections, without a heading."""

from __future__ import annotations

from typing import Any

import griffe


class DoctestFences(griffe.Extension):
    """Puts each block of ``>>>`` into a fence, so that it is not taken for a quotation."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of whatever has one."""
        if obj.docstring:
            obj.docstring.value = fence_examples(obj.docstring.value)


def fence_examples(docstring: str) -> str:
    """Put each paragraph that begins with ``>>>`` into a fence.

    >>> fence_examples("Add.\\n\\n>>> 1 + 1\\n2").splitlines()
    ['Add.', '', '```pycon', '>>> 1 + 1', '2', '```']
    """
    paragraphs = docstring.split("\n\n")
    fenced = [f"```pycon\n{text}\n```" if text.startswith(">>>") else text for text in paragraphs]
    return "\n\n".join(fenced)
