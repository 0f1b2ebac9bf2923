"""The registry: model versions that never change, and the one champion among them; of one experiment or of many.

registry/
  versions/1/  model.json  model.safetensors  model.onnx  ...  version.json (lineage; written last)
  champion.json  {version, model, lineage, changes}, replaced in one piece; changes tell every promotion and rollback
"""

from __future__ import annotations

import fcntl
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ganaug_ray.core import experiment_dir
from ganaug_ray.core.experiment_dir import Record
from ganaug_ray.core.records import ModelRecord
from ganaug_ray.core.storage import Folder
from ganaug_ray.errors import UserError

if TYPE_CHECKING:
    from ganaug_ray.config import Job

MODEL_FILES = ("model.safetensors", ModelRecord.FILE)
ChampionCheck = Callable[[Record | None], Record]
"""Takes the champion that is to be replaced, if there is one; returns what belongs to the change, or raises."""


def promote_model(
    registry: Folder,
    model: Folder,
    lineage: dict[str, Any],
    complete: Callable[[Folder], None] = lambda version: None,
    judge: ChampionCheck = lambda champion: {},
) -> Record:
    """Copy a finished model to a new version and make it champion, unless it is champion with this lineage already.

    Several may do so at a time: each gets a version of its own, and is judged by the champion that it replaces, which
    may have become that while its files were written. On an object store, which has no lock, two that end within the
    same instant may both replace the same champion.

    Args:
        registry: where versions are kept.
        model: a finished model folder.
        lineage: what the model came from and what was measured of it, kept beside it.
        complete: adds to the new version's folder what else belongs there.
        judge: called with the content of champion.json, or None where there is no champion. What it returns is kept
            with the change, and an error that it raises ends the promotion. It is called again where another model has
            become champion in the meantime.

    Returns:
        The content of champion.json.
    """
    record = ModelRecord.read(model)
    champion = experiment_dir.read_marker(registry, "champion.json")
    if champion and champion["model"] == record.hash and champion["lineage"] == lineage:
        return champion
    facts = judge(champion)
    number = claim_version(registry)
    version = (registry / "versions" / str(number)).create()
    for name in MODEL_FILES:
        version.write_bytes(name, model.read_bytes(name))
    complete(version)
    version.write_json("version.json", {"version": number, "model": record.hash, "lineage": lineage})
    with _lock_registry(registry):
        while (current := experiment_dir.read_marker(registry, "champion.json")) != champion:
            champion = current
            facts = judge(champion)
        return _write_change(registry, champion, number, {"why": "promoted", **facts})


def roll_back(registry: Folder, to: int | None = None) -> Record:
    """Make an earlier version the champion again.

    Args:
        registry: where versions are kept.
        to: a version; absent: the champion before this one, those that were rolled back left out.

    Returns:
        The content of champion.json.

    Raises:
        UserError: there is no such version, or none before the champion.
    """
    with _lock_registry(registry):
        champion = experiment_dir.read_marker(registry, "champion.json")
        if champion is None:
            raise UserError(f"{registry}: no model has been promoted yet; `ganaug promote` does it")
        versions = [
            name
            for name in _list_version_numbers(registry)
            if (registry / "versions" / str(name)).has_file("version.json")
        ]
        other_versions = [version for version in versions if version != champion["version"]]
        hint = f"others are {', '.join(map(str, other_versions))}" if other_versions else "there is no other version"
        if to is None:
            past_champions = list_champions(list_changes(champion))
            if len(past_champions) < 2:
                remedy = f"give a version with --to ({hint})" if other_versions else hint
                raise UserError(f"{registry}: there was no champion before version {champion['version']}; {remedy}")
            to = past_champions[-2]
        if to not in versions:
            raise UserError(f"{registry}: there is no version {to}; {hint}")
        if to == champion["version"]:
            raise UserError(f"{registry}: version {to} is the champion already; {hint}")
        return _write_change(registry, champion, to, {"why": "rolled back"})


def list_changes(champion: Record) -> list[Record]:
    """List every promotion and rollback up to a champion, oldest first: version, model, instead_of, why and at."""
    first = {"version": champion["version"], "model": champion["model"], "instead_of": None, "why": "promoted"}
    return champion.get("changes") or [first]


def list_champions(changes: Sequence[Record]) -> list[int]:
    """List the versions that were champion one after another, without those that were rolled back.

    >>> promoted = [{"version": n, "why": "promoted"} for n in (1, 2, 3)]
    >>> list_champions(promoted), list_champions([*promoted, {"version": 2, "why": "rolled back"}])
    ([1, 2, 3], [1, 2])
    """
    past_champions: list[int] = []
    for change in changes:
        if change["why"] == "rolled back" and change["version"] in past_champions:
            del past_champions[past_champions.index(change["version"]) :]
        past_champions.append(change["version"])
    return past_champions


def find_withdrawn_models(changes: Sequence[Record]) -> set[str]:
    """Return the hashes of the models that were champion and were rolled back."""
    past_champions = list_champions(changes)
    models = {change["version"]: change["model"] for change in changes}
    return set(models.values()) - {models[version] for version in past_champions}


def _write_change(registry: Folder, champion: Record | None, number: int, facts: Record) -> Record:
    version = (registry / "versions" / str(number)).read_json("version.json")
    earlier_version = None
    history = []
    if champion is not None:
        earlier_version = champion["version"]
        history = list_changes(champion)
    change = {
        "version": number,
        "model": version["model"],
        "instead_of": earlier_version,
        **facts,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    record = {**version, "changes": [*history, change]}
    registry.write_json("champion.json", record)
    return record


@contextmanager
def _lock_registry(registry: Folder) -> Iterator[None]:
    """Let nobody else change the champion while the block runs, where the filesystem has locks."""
    if registry.local_path is None:
        yield
        return
    registry.create()
    with (registry.local_path / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def claim_version(registry: Folder) -> int:
    """Reserve the next version number; of several processes that ask at a time each gets another one.

    A disk makes a folder for one alone. An object store has no such thing, but shows every object to all as soon as it
    is written: who leaves a note and then finds it the only one was first, and whoever comes later finds both. Where
    two find both, neither takes the number, and it stays unused.
    """
    versions = registry / "versions"
    while True:
        number = max(_list_version_numbers(registry), default=0) + 1
        if versions.local_path is not None:
            versions.create()
            try:
                (versions.local_path / str(number)).mkdir()
            except FileExistsError:
                continue
            return number
        notes = versions / str(number) / "claims"
        notes.write_bytes(uuid.uuid4().hex, b"")
        if len(notes.list_files()) == 1:
            return number


def _list_version_numbers(registry: Folder) -> list[int]:
    return sorted(int(name) for name in (registry / "versions").list_folders() if name.isdigit())


def locate_job_registry(job: Job, run: experiment_dir.Run) -> Folder:
    """Return the folder of the registry that a job's champion goes to."""
    return run.registry if job.registry is None else Folder.from_uri(job.registry)


def find_champion_model(registry: Folder) -> Folder:
    """Return the folder of the champion's version. Raises UserError where there is no champion yet."""
    champion = experiment_dir.read_marker(registry, "champion.json")
    if champion is None:
        raise UserError(f"{registry}: no model has been promoted yet; `ganaug promote` does it")
    return registry / "versions" / str(champion["version"])


def resolve_model(path: str | Path) -> Folder:
    """Return the folder of a finished model, given a model folder, a version, a registry or an experiment.

    Args:
        path: a model folder, a registry or one of its versions, or an experiment; local or a URI.

    Raises:
        UserError: there is no finished model.
    """
    model = find_model(Folder.from_uri(path))
    if model is None:
        raise UserError(f"{path}: no experiment with a promoted model, registry, model or generator here")
    return model


def find_model(folder: Folder) -> Folder | None:
    """Return the model that a folder is, or the champion of a registry or experiment; None if there is none."""
    if folder.has_file(ModelRecord.FILE):
        return folder
    registry = find_registry(folder)
    return None if registry is None else find_champion_model(registry)


def find_registry(folder: Folder) -> Folder | None:
    """Return the registry that a folder is, or that an experiment uses; None before anything was promoted to it."""
    return next(
        (registry for registry in (folder, _find_experiment_registry(folder)) if registry.has_file("champion.json")),
        None,
    )


def _find_experiment_registry(folder: Folder) -> Folder:
    registry_address = (
        yaml.safe_load(folder.read_bytes("job.yaml")).get("registry") if folder.has_file("job.yaml") else None
    )
    return folder / "registry" if registry_address is None else Folder.from_uri(registry_address)
