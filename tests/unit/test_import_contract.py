"""The order of the rooms, no circle of files, and Ray only where it is listed: the contract of the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.helpers import import_graph

# From the bottom to the top: a room imports from those above it in this list alone. Rooms side by side know nothing of
# each other.
LAYERS = (
    ("errors", "version"),
    ("addresses",),
    ("config",),
    ("core",),
    ("runtime",),
    ("data",),
    ("classify",),
    ("gan", "serve"),
    ("augment",),
    ("evaluate",),
    ("verdict",),
    ("report", "tracking"),
    ("pipeline",),
    ("search",),
    ("cli",),
    ("", "__main__"),  # ganaug_ray.load, and python -m ganaug_ray
)
LEVELS = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# The only modules that may import Ray, besides all of runtime/.
RAY_MODULES = frozenset(
    f"ganaug_ray.{name}"
    for name in (
        "augment.generate",
        "classify.batch_inference",
        "classify.launch",
        "cli.submit",
        "data.loading.object_store",
        "data.loading.streaming_loader",
        "gan.launch",
        "search.searcher",
        "search.tune_runner",
        "serve.metrics",
        "serve.ray_deployment",
        "serve.serve_config",
    )
)


def find_violations(root: Path) -> Iterator[str]:
    """Yield a sentence for each import that breaks the contract."""
    modules = import_graph.read_modules(root)
    graph = import_graph.build_import_graph(modules)
    edges = [(importer, imported) for importer in sorted(graph) for imported in sorted(graph[importer])]
    for importer, imported in edges:
        rooms = import_graph.get_room(importer), import_graph.get_room(imported)
        if rooms[0] != rooms[1] and LEVELS[rooms[1]] >= LEVELS[rooms[0]]:
            yield f"{importer} imports {imported}: {rooms[0] or 'the package'} stands below or beside {rooms[1]}"
    if circle := import_graph.find_circle(graph):
        yield f"a circle of imports: {' <- '.join(circle)}"
    for module, tree in modules.items():
        uses_ray = any(name.split(".")[0] == "ray" for name in import_graph.iter_imports(tree))
        if uses_ray and import_graph.get_room(module) != "runtime" and module not in RAY_MODULES:
            yield f"{module} imports ray, and is not on the list"


def test_imports_keep_the_contract() -> None:
    """Rooms import downwards only, no files in a circle, and Ray where the list allows it."""
    assert list(find_violations(ROOT / import_graph.PACKAGE)) == []


def test_every_listed_ray_module_imports_ray() -> None:
    """A module that no longer needs Ray leaves the list."""
    modules = import_graph.read_modules(ROOT / import_graph.PACKAGE)
    imports = {name: {item.split(".")[0] for item in import_graph.iter_imports(modules[name])} for name in RAY_MODULES}
    assert [name for name, tops in imports.items() if "ray" not in tops] == []


@pytest.mark.parametrize(
    ("file", "source", "violation"),
    [
        ("core/storage.py", "from ganaug_ray.data import images", "core stands below or beside data"),
        ("gan/sampler.py", "def load():\n    from ganaug_ray.serve import app", "gan stands below or beside serve"),
        ("data/images.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import ray.data", "imports ray"),
        ("data/images.py", "from ganaug_ray.data import prepare", "a circle of imports"),
    ],
    ids=["upwards", "sideways and lazy", "ray for a type checker", "circle"],
)
def test_planted_violation_is_found(tmp_path: Path, file: str, source: str, violation: str) -> None:
    """Each kind of violation is named, also where the import is lazy or for a type checker."""
    root = tmp_path / import_graph.PACKAGE
    modules = {
        "core/storage.py": "",
        "data/images.py": "",
        "data/prepare.py": "from ganaug_ray.data import images",
        "gan/sampler.py": "",
        "serve/app.py": "",
    }
    for name, text in (modules | {file: source}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    found = list(find_violations(root))
    assert len(found) == 1
    assert violation in found[0]


def test_parser_sees_every_import() -> None:
    """The graph rests on absolute imports: a relative one would be missed."""
    modules = import_graph.read_modules(ROOT / import_graph.PACKAGE)
    relative = [
        name
        for name, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []
