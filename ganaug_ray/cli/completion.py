"""What the shell completes: settings, examples and experiments.

The shell waits for it at every press of the key: it reads files, and imports nothing of the package.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parent.parent / "examples"
MAX_DEPTH = 4  # folders below the one that experiments are in


def complete_setting(incomplete: str) -> list[str]:
    """Return the settings of a job that begin so, one section deep, such as gan.filters for ``gan.fi``."""
    section, dot, begun = incomplete.rpartition(".")
    schema = json.loads((EXAMPLES / "job.schema.json").read_text(encoding="utf-8"))
    node = schema
    for part in section.split(".") if section else ():
        node = _find_settings(schema, node).get(part, {})
    return [f"{section}{dot}{name}" for name in _find_settings(schema, node) if name.startswith(begun)]


def complete_example(incomplete: str) -> list[str]:
    """Return the names of jobs and search spaces that come with the package and begin so."""
    return [path.stem for path in sorted(EXAMPLES.glob("*/*.yaml")) if path.stem.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """Return the names of experiments that begin so, in the folder that experiments are in without --out."""
    home = _locate_home()
    names = [path.relative_to(home).as_posix() for path in _list_runs(home, MAX_DEPTH)]
    return [name for name in names if name.startswith(incomplete)]


def complete_run_folder(incomplete: str) -> list[str]:
    """Return the folders of experiments that begin so, of those in the folder that experiments are in."""
    return [path for path in map(str, _list_runs(_locate_home(), MAX_DEPTH)) if path.startswith(incomplete)]


def _find_settings(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a section by name; of a list, or of sections that the user names, those of each."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    if "properties" in node:
        return dict(node["properties"])
    inner = [*node.get("anyOf", ()), *node.get("patternProperties", {}).values()]
    if "items" in node:
        inner.append(node["items"])
    return next(filter(None, (_find_settings(schema, part) for part in inner)), {})


def _locate_home() -> Path:
    """Return the folder that experiments are in; one elsewhere is none here, and nothing of it is completed."""
    return Path(os.environ.get("GANAUG_HOME") or "runs").expanduser()


def _list_runs(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folder of every experiment below a folder; what is inside one is a part of it."""
    with suppress(OSError):  # there is no such folder, or it cannot be read
        for path in sorted(folder.iterdir()):
            if (path / "job.yaml").is_file():
                yield path
            elif depth > 1 and path.is_dir():
                yield from _list_runs(path, depth - 1)
