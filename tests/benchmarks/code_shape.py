"""How a package reads, in numbers: names, density of lines, sizes of files and functions, docstrings.

    python -m tests.benchmarks.code_shape [FOLDER ...]

One column a folder; without any, this package. Names, files and functions are counted over the syntax trees; tests are
left out by naming the package alone. Material for a judgement, no limits.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

FUNCTION_TYPES = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSION_TYPES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LONG_FUNCTION_LINES = 50
# Names that say nothing: not to be used for anything.
FILLER_WORDS = ("found", "own", "one", "each", "look", "looks", "told", "kept", "wanted", "whose", "others")
BANNED_NAMES = frozenset((*FILLER_WORDS, "stand", "hands", "far"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def iter_functions(tree: ast.Module) -> Iterator[Function]:
    """Yield every function and method but the magic ones."""
    for node in ast.walk(tree):
        if isinstance(node, FUNCTION_TYPES) and not node.name.startswith("__"):
            yield node


def iter_bound_names(tree: ast.Module) -> Iterator[str]:
    """Yield every name that a module gives: functions, classes, parameters, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, (*FUNCTION_TYPES, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def split_words(name: str) -> list[str]:
    """Split a name at underscores and capitals.

    >>> split_words("_read_manifest"), split_words("ImageStore")
    (['read', 'manifest'], ['Image', 'Store'])
    """
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)


def count_docstring_lines(function: Function) -> int:
    """Count the lines of a docstring; 0 where there is none."""
    text = ast.get_docstring(function)
    return len(text.splitlines()) if text else 0


def get_percentile(values: list[int], percent: int) -> int:
    """Return the value that so many percent of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


def measure(folder: Path) -> dict[str, str]:
    """Measure all modules below a folder: what is measured -> the figure, as text."""
    sources = [path.read_text() for path in sorted(folder.rglob("*.py"))]
    trees = [ast.parse(source) for source in sources]
    file_lines = [source.count("\n") for source in sources]
    functions = [function for tree in trees for function in iter_functions(tree)]
    names = [function.name.strip("_") for function in functions]
    function_lines = [(function.end_lineno or 0) - function.lineno + 1 for function in functions]
    public = [function for function in functions if not function.name.startswith("_")]
    docstring_lines = [count_docstring_lines(function) for function in public]
    nodes = Counter(type(node) for tree in trees for node in ast.walk(tree))
    thousands = sum(file_lines) / 1000
    comprehensions = sum(nodes[kind] for kind in COMPREHENSION_TYPES)
    bound = Counter(name.strip("_") for tree in trees for name in iter_bound_names(tree))
    banned = sum(bound[name] for name in BANNED_NAMES)
    documented = [lines for lines in docstring_lines if lines]
    long_functions = [lines for lines in function_lines if lines > LONG_FUNCTION_LINES]
    one_word = [name for name in names if len(split_words(name)) < 2]
    file_sizes = f"{statistics.median(file_lines):.0f} / {get_percentile(file_lines, 90)} / {max(file_lines)}"
    docstring_sizes = f"{statistics.median(docstring_lines):.0f} / {statistics.mean(docstring_lines):.1f}"
    return {
        "files": f"{len(sources)}",
        "lines": f"{sum(file_lines)}",
        "file, median / 90 % / longest": file_sizes,
        "functions": f"{len(functions)}",
        "functions over 50 lines": f"{len(long_functions) / len(functions):.1%}",
        "one-word function names": f"{len(one_word) / len(functions):.0%}",
        "mean length of a function's name": f"{statistics.mean(map(len, names)):.1f}",
        "public functions with a docstring": f"{len(documented) / len(public):.0%}",
        "docstring, median / mean lines": docstring_sizes,
        "comprehensions in 1,000 lines": f"{comprehensions / thousands:.1f}",
        "conditional expressions in 1,000 lines": f"{nodes[ast.IfExp] / thousands:.1f}",
        "banned names given": f"{banned}",
    }


def main(folders: list[Path]) -> None:
    """Print a table: a row a measure, a column a folder."""
    columns = [measure(folder) for folder in folders]
    print(f"{'':40}" + "".join(f"{folder.name[-18:]:>20}" for folder in folders))
    for label in columns[0]:
        print(f"{label:40}" + "".join(f"{column[label]:>20}" for column in columns))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or [ROOT / "ganaug_ray"])
