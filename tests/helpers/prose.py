"""Reads Markdown for the tests of the documentation: its words, its sentences and its code blocks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_LIST_ITEM = re.compile(r"^\s*(?:[-*]|\d+\.)\s+")
_END = re.compile(r"[.!?](?=\s|$)|\n{2,}")
_TEMPLATE_CODE = re.compile(r"<(script|style)\b.*?</\1>|{#.*?#}|{%.*?%}|<!--.*?-->", re.DOTALL)
_TEMPLATE_VALUE = re.compile(r"{{.*?}}", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_MARK = re.compile(r"<!-- (not run|recipe): (.+) -->\s*$")


@dataclass(frozen=True)
class CodeBlock:
    """A fenced block.

    Attributes:
        page: that it stands on.
        line: of its fence.
        language: after the fence.
        text: between the fences, without the indentation of the fence.
        not_run: why no test runs it; None where one does.
        recipe: of a recipe's block, where it goes; see ``recipes``.
    """

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None
    recipe: str | None

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def list_code_blocks(page: Path) -> Iterator[CodeBlock]:
    """Yield the fenced blocks of a page. A comment above one, ``not run: why``, says that no test runs it."""
    text = page.read_text()
    for match in _FENCE.finditer(text):
        before = text[: match.start()]
        mark = _MARK.search(before)
        marks = {mark[1]: mark[2]} if mark else {}
        indent = len(match[1])
        lines = [line[indent:] for line in match[3].splitlines()]
        line = before.count("\n") + 1
        text_of_block = "\n".join(lines) + "\n"
        yield CodeBlock(page, line, match[2], text_of_block, marks.get("not run"), marks.get("recipe"))


def read_prose(page: Path) -> str:
    """Return a page without code blocks, comments and addresses; tables, lists and headings stay."""
    text = _COMMENT.sub("", _FENCE.sub("", page.read_text()))
    return _LINK.sub(r"\1", text)


def read_template(text: str) -> str:
    """Return the words of a page's template: a value is one word; tags, styles and scripts are left out.

    >>> " ".join(read_template("<p>{% if arms %}{{ arms[0] }} <b>helped</b>{% endif %}.</p>").split())
    'value helped .'
    """
    return _TAG.sub(" ", _TEMPLATE_VALUE.sub("value", _TEMPLATE_CODE.sub(" ", text)))


def list_strings(code: str) -> list[str]:
    """List the strings of Python code, without docstrings. In f-strings a value is one word.

    >>> list_strings('def f(n):\\n    "Docstring."\\n    raise ValueError(f"{n} is too large" + "!")')
    ['value is too large', '!']
    """
    tree = ast.parse(code)
    nodes = list(ast.walk(tree))
    skipped = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    skipped |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    strings = []
    for node in nodes:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            strings.append(
                "".join(str(part.value) if isinstance(part, ast.Constant) else "value" for part in node.values)
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.append(node.value)
    return strings


def count_words(text: str) -> int:
    """Count the words; a word has a letter or a digit in it.

    >>> count_words("| `gan.lr` | 2e-4 – the *rate* |")
    4
    """
    return sum(bool(re.search(r"\w", token)) for token in text.replace("|", " ").split())


def list_sentences(text: str) -> list[str]:
    """List the sentences of prose, without headings and tables. Each item of a list ends one; code is one word.

    >>> list_sentences("# Title\\n\\nOne. Two is\\nlonger.\\n\\n- three\\n- four\\n\\n| a. | b |")
    ['One', 'Two is longer', 'three', 'four']
    """
    paragraphs = []
    for line in _CODE.sub("code", text).splitlines():
        if line.startswith(("#", "|")):
            paragraphs.append("\n\n")
        elif item := _LIST_ITEM.match(line):
            paragraphs.append("\n\n" + line[item.end() :])
        else:
            paragraphs.append("\n" + line)
    sentences = []
    for sentence in _END.split("".join(paragraphs)):
        words = " ".join(sentence.split())
        if count_words(words):
            sentences.append(words)
    return sentences
