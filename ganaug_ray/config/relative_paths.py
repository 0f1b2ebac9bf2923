"""The paths of a job file: they are relative to it, and a job has them absolute."""

import copy
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from ganaug_ray.addresses import make_absolute
from ganaug_ray.config.synthetic_sources import expand_source, name_images

IDX_SCHEME = "idx:"  # the one scheme that has a path of this machine behind it


def resolve_paths(content: dict[str, Any], base: Path) -> None:
    """Make the paths of a job file's content absolute, in place.

    Args:
        content: sections and keys, not yet checked.
        base: the folder that relative paths start from.

    Raises:
        UserError: an address holds credentials.
    """
    _map_paths(content, lambda path: make_absolute(path, base))


def shorten_paths(content: dict[str, Any], base: Path, relative: Collection[str] = ()) -> None:
    """Name the paths of a job's content as its file in a folder would, in place: the reverse of ``resolve_paths``.

    Args:
        content: sections and keys, with absolute paths.
        base: the folder of the file; what lies in it is named from there.
        relative: absolute paths that are named from there as well.
    """
    folder = base.absolute()

    def shorten(address: str) -> str:
        scheme = IDX_SCHEME if address.startswith(IDX_SCHEME) else ""
        path = Path(address.removeprefix(scheme))
        if path.is_absolute() and (address in relative or path.is_relative_to(folder)):
            return scheme + os.path.relpath(path, folder)
        return address

    _map_paths(content, shorten)


def list_relative_paths(content: dict[str, Any], base: Path) -> set[str]:
    """List, as absolute ones, the paths that a job file's content gives relative to a folder."""
    relative = set()

    def note(path: str) -> str:
        absolute = make_absolute(path, base)
        if absolute != path and not path.removeprefix(IDX_SCHEME).startswith("~"):
            relative.add(absolute)
        return path

    _map_paths(copy.deepcopy(content), note)
    return relative


def _map_paths(content: dict[str, Any], function: Callable[[str], str]) -> None:
    """Replace the paths of a job's content, in place; what is no path, the schema refuses later."""
    _map_key(content, "registry", function)
    _map_key(content.get("tracking"), "mlflow", function, word="databricks")
    data = content.get("data")
    if not isinstance(data, dict):
        return
    _map_key(data, "source", function)
    _map_key(data, "unlabelled", function, word="unused")
    _map_key(data, "extends", function)
    _map_key(data, "metadata", function)
    _map_key(content.get("gan"), "inception", function)
    _map_key(content.get("gan"), "init_from", function)
    _map_synthetic_sources(content.get("augment"), function)
    classifiers = [content.get("classifier")]
    models = content.get("models")
    if isinstance(models, dict):
        classifiers += models.values()
    for classifier in classifiers:
        _map_key(classifier, "weights", function, word="pretrained")
        _map_key(classifier, "init_from", function, word="champion")
    _map_key(data.get("label_from"), "csv", function)


def _map_synthetic_sources(augment: Any, function: Callable[[str], str]) -> None:
    """Replace the paths of synthetic images and of a shared generator, in whichever form they are given."""
    if not isinstance(augment, dict):
        return
    sections: list[Any] = []
    if "images" in augment:
        augment["images"] = name_images(augment["images"])
        if isinstance(augment["images"], dict):
            sections += augment["images"].values()
    if "generator" in augment:
        augment["generator"] = expand_source(augment["generator"])
        sections.append(augment["generator"])
    for section in sections:
        _map_key(section, "source", function)
        if isinstance(section, dict):
            _map_key(section.get("label_from"), "csv", function)


def _map_key(section: Any, key: str, function: Callable[[str], str], word: str = "") -> None:
    """Replace a path, or a list of them, but the value ``word``."""
    if not isinstance(section, dict) or key not in section:
        return
    value = section[key]
    if isinstance(value, list):
        section[key] = [_map_path(path, function, word) for path in value]
    else:
        section[key] = _map_path(value, function, word)


def _map_path(value: Any, function: Callable[[str], str], word: str) -> Any:
    if not isinstance(value, str) or value == word:
        return value
    return function(value)
