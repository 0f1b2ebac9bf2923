"""The jobs, search spaces and schemas that come with the package."""

from __future__ import annotations

from pathlib import Path

import yaml

from ganaug_ray.errors import UserError

FOLDER = Path(__file__).parent.parent / "examples"
KINDS = {"jobs": "job", "spaces": "space"}
"""Folder of the examples -> what the files in it are."""
SCHEMA_LINE = "# yaml-language-server: $schema="


def locate_schema(kind: str) -> Path:
    """Return the path of the JSON schema of a ``job`` or a ``space``, as it comes with the package."""
    return FOLDER / f"{kind}.schema.json"


def format_schema_line(kind: str) -> str:
    """Return the first line of a file outside the package, by which editors complete and explain what is in it."""
    return f"{SCHEMA_LINE}{locate_schema(kind).as_uri()}"


def list_examples() -> list[Path]:
    """List the files: jobs first, by name."""
    paths: list[Path] = []
    for folder in KINDS:
        paths += sorted((FOLDER / folder).glob("*.yaml"))
    return paths


def find_example(name: str) -> Path:
    """Return the path of a job or search space by its name. Raises UserError if there is none of it."""
    for path in list_examples():
        if name in (path.stem, path.name):
            return path
    known = ", ".join(path.stem for path in list_examples())
    raise UserError(f"{name}: there is no such example; expected one of {known}")


def read_about(path: Path) -> str:
    """Return what an example says it is about."""
    return str(yaml.safe_load(path.read_text(encoding="utf-8"))["about"])


def needs_data(path: Path) -> bool:
    """Return whether an example reads images that do not come with the package."""
    return "GANAUG_DATA" in path.read_text(encoding="utf-8")


def copy_example(name: str, out: Path | None) -> Path:
    """Copy an example to a file, by default of its name in the working directory.

    Returns:
        The new file.

    Raises:
        UserError: there is no such example, the file is there already, or it cannot be written.
    """
    path = find_example(name)
    target = out or Path(path.name)
    first, body = path.read_text(encoding="utf-8").split("\n", 1)
    assert first.startswith(SCHEMA_LINE), "its own path to the schema holds in the package alone"
    write_new_file(target, f"{format_schema_line(KINDS[path.parent.name])}\n{body}")
    return target


def write_new_file(path: Path, text: str) -> None:
    """Write a file that is not there yet. Raises UserError if it is, or if it cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UserError(f"{path}: already exists; give --out another name") from None
    except OSError as error:
        if path.is_file():  # half of it, on a full disk: it is not to be in the way of the same command
            path.unlink()
        raise UserError(f"{path}: cannot be written ({error.strerror}); give another --out") from None
