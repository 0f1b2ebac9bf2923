"""The imports of the package, read from its syntax trees: lazy ones and those for type checkers count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "ganaug_ray"


def read_modules(root: Path) -> dict[str, ast.Module]:
    """Parse every module below a package's folder.

    Args:
        root: the folder of the package; its name is the package's.

    Returns:
        Dotted name -> syntax tree. A package's ``__init__`` goes by the name of the package.
    """
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = [root.name, *path.relative_to(root).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        modules[".".join(parts)] = ast.parse(path.read_text())
    return modules


def iter_imports(tree: ast.Module) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports, wherever in it; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def resolve_module(name: str, modules: Mapping[str, ast.Module]) -> str | None:
    """Find the module that a dotted name lies in, or None where it is none of the package's.

    >>> modules = {"p": ast.parse(""), "p.a": ast.parse("")}
    >>> [resolve_module(name, modules) for name in ("p.a.function", "p.a", "os.path")]
    ['p.a', 'p.a', None]
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in modules:
            return prefix
    return None


def build_import_graph(modules: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Build the graph of the package's own imports: module -> the modules that it imports."""
    graph: dict[str, set[str]] = {}
    for module, tree in modules.items():
        targets = {resolve_module(name, modules) for name in iter_imports(tree)}
        graph[module] = {target for target in targets if target is not None and target != module}
    return graph


def find_circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Find modules that import each other in a circle, the first one again at the end; empty where there are none.

    >>> find_circle({"a": {"b"}, "b": {"c"}, "c": set()})
    []
    >>> len(find_circle({"a": {"b"}, "b": {"a"}}))
    3
    """
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def get_room(module: str) -> str:
    """Return the folder below the package that a module lies in; empty for a module beside the folders.

    >>> get_room("ganaug_ray.data.ingest.scan"), get_room("ganaug_ray.errors")
    ('data', 'errors')
    """
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""
