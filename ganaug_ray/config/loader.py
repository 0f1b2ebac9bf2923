"""Reads a job: YAML and --set overrides in, a checked Job out; mistakes are named by file and key."""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ganaug_ray.config import Job
from ganaug_ray.config.classifier import CheckNetwork
from ganaug_ray.config.compare import AIMS
from ganaug_ray.config.job_dump import dump_given_settings, dump_job_settings
from ganaug_ray.config.relative_paths import list_relative_paths, resolve_paths
from ganaug_ray.config.yaml_text import parse_yaml
from ganaug_ray.errors import UserError

MAX_MISTAKES_SHOWN = 5  # named at a time; an error stays within six lines


def load_job(path: Path, overrides: list[str] | None = None, check_network: CheckNetwork | None = None) -> Job:
    """Read a job file and apply ``key=value`` overrides.

    Each ``${VARIABLE}`` is replaced by the environment variable, and relative paths are taken from the job file's
    folder, also those in overrides.

    Args:
        path: the job file.
        overrides: of its keys.
        check_network: asked about the classifier's architecture; absent: any name is taken.

    Raises:
        UserError: the file is missing or malformed, a key or value is wrong, or an environment variable is not set.
    """
    return build_job(read_mapping(path, "job file"), str(path), path.parent, overrides, check_network)


def build_job(
    content: dict[str, Any],
    name: str,
    base: Path,
    overrides: list[str] | None = None,
    check_network: CheckNetwork | None = None,
) -> Job:
    """Build a job from the content of a job file, as ``load_job`` does.

    Args:
        content: sections and keys; it is changed.
        name: what to call it in messages.
        base: the folder that relative paths start from.
        overrides: as of ``load_job``.
        check_network: likewise.

    Raises:
        UserError: as ``load_job``.
    """
    aims = _read_aims(content)
    for override in overrides or []:
        _apply_override(content, override)
    if _read_aims(content) != aims:
        _drop_plan(content["compare"], overrides or [])
    content = _expand_variables(content, name)
    resolve_paths(content, base)
    try:
        return Job.model_validate(content, context=_build_context(check_network))
    except ValidationError as error:
        raise UserError(_explain_mistakes(error, name, overrides or [])) from None


def apply_settings(
    job: Job,
    settings: Mapping[str, Any],
    name: str,
    check_network: CheckNetwork | None = None,
    only_given: bool = False,
) -> Job:
    """Return the job with other values of some keys, such as ``{"gan.lr": 1e-4}``.

    Args:
        job: as it was.
        settings: dotted key -> value.
        name: what to call the place they come from in messages.
        check_network: as of ``load_job``.
        only_given: whether the job that is returned gives no more keys than the old one and these; else it gives all.

    Raises:
        UserError: a key is unknown, or the values go neither alone nor together.
    """
    content = dump_given_settings(job) if only_given else dump_job_settings(job)
    for key, value in settings.items():
        _set_key(content, key.split("."), value, f"{name}: {key}")
    try:
        return Job.model_validate(content, context=_build_context(check_network))
    except ValidationError as error:
        raise UserError(_explain_mistakes(error, name, [])) from None


def _build_context(check_network: CheckNetwork | None) -> dict[str, Any] | None:
    return None if check_network is None else {"check_network": check_network}


def list_relative_job_paths(path: Path) -> set[str]:
    """List, as absolute ones, the paths that a job file gives relative to itself. Raises UserError as ``load_job``."""
    content = _expand_variables(read_mapping(path, "job file"), str(path))
    return list_relative_paths(content, path.parent)


def read_mapping(path: Path, kind: str) -> dict[str, Any]:
    """Read a YAML file whose content must be a mapping; variables and paths in it are not resolved.

    Raises:
        UserError: it is missing or malformed; ``kind`` says what it should have been, such as a job file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such {kind}") from None
    except IsADirectoryError:
        advice = f"; `ganaug run {path}` takes a folder of images" if kind == "job file" else ""
        raise UserError(f"{path}: is a folder, expected a {kind}{advice}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a {kind} ({error})") from None
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: found {_describe_value(content)}, expected a mapping with keys of its own")
    return content


def find_differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return dotted key -> (old, new) for every setting in which two resolved jobs differ.

    >>> find_differences({"gan": {"lr": 1, "steps": 2}}, {"gan": {"lr": 3, "steps": 2}})
    {'gan.lr': (1, 3)}
    """
    changed: dict[str, tuple[Any, Any]] = {}
    for key in sorted(old.keys() | new.keys()):
        before = old.get(key)
        after = new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changed |= find_differences(before, after, f"{prefix}{key}.")
        elif before != after:
            changed[prefix + key] = (before, after)
    return changed


def dump_job(job: Job) -> str:
    """Return the resolved job as YAML that ``load_job`` reads back."""
    return yaml.safe_dump(dump_job_settings(job), sort_keys=False, allow_unicode=True)


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"--set {override}: expected key=value, such as gan.lr=1e-4")
    _set_key(content, parts, parse_yaml(text, f"--set {override}", parts[-1]), f"--set {override}")


def _read_aims(content: dict[str, Any]) -> list[Any]:
    section = content.get("compare")
    return [section.get(aim) for aim in AIMS] if isinstance(section, dict) else [None] * len(AIMS)


def _drop_plan(compare: dict[str, Any], overrides: list[str]) -> None:
    """Drop the splits and seeds that were planned for another aim, except those that an override gives."""
    given = {override.partition("=")[0].strip() for override in overrides}
    for name in ("seeds", "splits"):
        if f"planned_{name}" in compare and f"compare.planned_{name}" not in given:
            del compare[f"planned_{name}"]
            if f"compare.{name}" not in given:
                compare.pop(name, None)


def _set_key(content: dict[str, Any], parts: list[str], value: Any, name: str) -> None:
    """Set a key of nested sections; steps take the place of epochs, and the reverse."""
    section = content
    for part in parts[:-1]:
        inner = section.get(part)
        if inner is None:
            inner = section[part] = {}
        if not isinstance(inner, dict):
            raise UserError(f"{name}: {part} is {_describe_value(inner)}, not a section with keys of its own")
        section = inner
    section[parts[-1]] = value
    for key, other in (("steps", "epochs"), ("epochs", "steps")):
        if parts[-1] == key:
            section.pop(other, None)


def _expand_variables(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _expand_variables(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand_variables(item, name) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UserError(f"{name}: {value!r} needs the environment variable {match[1]}, which is not set")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", replace, value)


_EXPECTED_BY_TYPE = {
    "missing": "this key is missing",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "list_type": "expected text or a list of texts",
    "model_type": "expected a section with keys of its own",
}


def _explain_mistakes(error: ValidationError, name: str, overrides: list[str]) -> str:
    by_hand = {override.partition("=")[0].strip() for override in overrides}
    lines = []
    mistakes = error.errors()
    for mistake in mistakes[:MAX_MISTAKES_SHOWN]:
        key = ".".join(str(part) for part in mistake["loc"])
        where = name
        if key in by_hand:
            where = f"--set {key}"
        elif key:
            where = f"{name}: {key}"
        lines.append(f"{where}: {_describe_mistake(mistake)}")
    if len(mistakes) > MAX_MISTAKES_SHOWN:
        lines.append(f"... and {len(mistakes) - MAX_MISTAKES_SHOWN} more")
    return "\n".join(lines)


def _describe_mistake(mistake: ErrorDetails) -> str:
    kind = mistake["type"]
    if kind == "extra_forbidden":
        known = _list_known_keys(mistake["loc"][:-1])
        close = difflib.get_close_matches(str(mistake["loc"][-1]), known, n=1)
        if close:
            return f"unknown key; did you mean {close[0]}?"
        return f"unknown key; expected one of {', '.join(known)}"
    if kind == "missing":
        return _EXPECTED_BY_TYPE[kind]
    if kind == "value_error":
        return mistake["msg"].removeprefix("Value error, ")
    expected = _EXPECTED_BY_TYPE.get(kind) or mistake["msg"].replace("Input should be", "expected")
    return f"found {_describe_value(mistake['input'])}, {expected}"


def _list_known_keys(section: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Job
    for part in section:
        if str(part) not in model.model_fields:  # a name of the user's own, such as a model's
            continue
        annotation = model.model_fields[str(part)].annotation
        options = [annotation, *get_args(annotation)]
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)


def _describe_value(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    return f"{value!r}"[:60]
