"""Immutable model versions and the one champion among them.

registry/
  versions/1/  model.json  model.safetensors  model.onnx  version.json (lineage and figures; written last)
  champion.json  {version, model, ...}, replaced in one piece
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ganaug_ray import runs
from ganaug_ray.errors import UserError
from ganaug_ray.storage import Folder

FILES = ("model.safetensors", "model.json")


def promote(
    registry: Folder, model: Folder, lineage: dict[str, Any], complete: Callable[[Folder], None] = lambda version: None
) -> dict[str, Any]:
    """Copy a finished model to a new version and make it the champion. The same model is not copied twice.

    Args:
        registry: where versions are kept.
        model: a finished model folder.
        lineage: what the model came from and what was measured of it, kept beside it.
        complete: adds to the new version's folder what else belongs there.

    Returns:
        The content of champion.json.
    """
    record = model.read_json("model.json")
    champion = runs.done(registry, "champion.json")
    if champion and champion["model"] == record["hash"] and champion["lineage"] == lineage:
        return champion
    number = max((int(name) for name in (registry / "versions").folders()), default=0) + 1
    version = (registry / "versions" / str(number)).make()
    for name in FILES:
        version.write(name, model.read(name))
    complete(version)
    version.write_json("version.json", {"version": number, "model": record["hash"], "lineage": lineage})
    champion = {"version": number, "model": record["hash"], "lineage": lineage}
    registry.write_json("champion.json", champion)
    return champion


def champion_model(registry: Folder) -> Folder:
    """Return the folder of the champion's version. Raises UserError where there is no champion yet."""
    champion = runs.done(registry, "champion.json")
    if champion is None:
        raise UserError(f"{registry}: no model has been promoted yet")
    return registry / "versions" / str(champion["version"])


def model_folder(path: str | Path) -> Folder:
    """Return the folder of a finished model: one of a run, a registry's version, or the champion of what is given.

    Args:
        path: a model folder, a registry or one of its versions, or an experiment; local or a URI.

    Raises:
        UserError: there is no finished model.
    """
    found = find_model(Folder.at(path))
    if found is None:
        raise UserError(f"{path}: no experiment with a promoted model, registry, model or generator here")
    return found


def find_model(folder: Folder) -> Folder | None:
    """Return the model meant by a model folder, a registry or an experiment: of the latter two the champion's."""
    if folder.has("model.json"):
        return folder
    registry = find_registry(folder)
    return None if registry is None else champion_model(registry)


def find_registry(folder: Folder) -> Folder | None:
    """Return the registry that a folder is or, being an experiment, has; None before anything was promoted to it."""
    return next((place for place in (folder, folder / "registry") if place.has("champion.json")), None)
