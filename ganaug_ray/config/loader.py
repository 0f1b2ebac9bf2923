"""Reading a job: YAML and --set overrides in, a checked Job out, mistakes named by file and key."""

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
from ganaug_ray.config.addresses import refuse_credentials
from ganaug_ray.config.classifier import CheckNetwork
from ganaug_ray.errors import UserError

MOST_MISTAKES = 5  # named at a time; an error stays within six lines


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number and a key given twice is a mistake."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _mapping_without_doubles(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_doubles)


def load_job(path: Path, overrides: list[str] | None = None, check_network: CheckNetwork | None = None) -> Job:
    """Read a job file and apply ``key=value`` overrides.

    Args:
        path: the job file.
        overrides: of its keys.
        check_network: asked about the classifier's architecture; absent: any name is taken.

    Raises:
        UserError: the file is missing or malformed, or a key or value is wrong.
    """
    content = read_mapping(path, "job file")
    for override in overrides or []:
        _apply(content, override)
    content = _expand(content, str(path))
    _resolve_source(content, path.parent)
    try:
        return Job.model_validate(content, context=_context(check_network))
    except ValidationError as error:
        raise UserError(_explain(error, str(path), overrides or [])) from None


def with_settings(job: Job, settings: Mapping[str, Any], name: str, check_network: CheckNetwork | None = None) -> Job:
    """The job with other values of some keys, such as ``{"gan.lr": 1e-4}``.

    Args:
        job: as it was.
        settings: dotted key -> value.
        name: what to call the place they come from in messages.
        check_network: as of ``load_job``.

    Raises:
        UserError: a key is unknown, or the values go neither alone nor together.
    """
    content = job.model_dump(exclude_none=True)
    for key, value in settings.items():
        _put(content, key.split("."), value, f"{name}: {key}")
    try:
        return Job.model_validate(content, context=_context(check_network))
    except ValidationError as error:
        raise UserError(_explain(error, name, [])) from None


def _context(check_network: CheckNetwork | None) -> dict[str, Any] | None:
    return None if check_network is None else {"check_network": check_network}


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, as it stands.

    Raises:
        UserError: it is missing or malformed; ``what`` says what it should have been, such as a job file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as a {what} ({error})") from None
    content = _parse(text, str(path))
    if not isinstance(content, dict):
        raise UserError(f"{path}: found {_kind(content)}, expected a mapping with keys of its own")
    return content


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return dotted key -> (old, new) for every setting in which two resolved jobs differ.

    >>> differences({"gan": {"lr": 1, "steps": 2}}, {"gan": {"lr": 3, "steps": 2}})
    {'gan.lr': (1, 3)}
    """
    found: dict[str, tuple[Any, Any]] = {}
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found |= differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found[prefix + key] = (before, after)
    return found


def dump(job: Job) -> str:
    """The resolved job as YAML that load_job takes back."""
    return yaml.safe_dump(job.model_dump(exclude_none=True), sort_keys=False, allow_unicode=True)


def _parse(text: str, name: str) -> Any:
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise UserError(f"{name}:{place} is not valid YAML: {problem}") from None


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UserError(f"--set {override}: expected key=value, such as gan.lr=1e-4")
    _put(content, parts, _parse(text, f"--set {override}"), f"--set {override}")


def _put(content: dict[str, Any], parts: list[str], value: Any, name: str) -> None:
    """Set a key of nested sections; steps take the place of epochs, and the reverse."""
    here = content
    for part in parts[:-1]:
        inner = here.get(part)
        if inner is None:
            inner = here[part] = {}
        if not isinstance(inner, dict):
            raise UserError(f"{name}: {part} is {_kind(inner)}, not a section with keys of its own")
        here = inner
    here[parts[-1]] = value
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if parts[-1] == one:
            here.pop(other, None)


def _expand(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, name) for item in value]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UserError(f"{name}: {value!r} needs the environment variable {match[1]}, which is not set")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", replace, value)


def _resolve_source(content: dict[str, Any], base: Path) -> None:
    """Make paths of the job file's own absolute: they are relative to it, not to where the command is run."""
    if isinstance(content.get("registry"), str):
        content["registry"] = _absolute(content["registry"], base)
    data = content.get("data")
    if not isinstance(data, dict):
        return
    for key, word in (("source", ""), ("unlabelled", "unused")):
        found = data.get(key)
        each = [
            _absolute(one, base) if isinstance(one, str) and one != word else one
            for one in (found if isinstance(found, list) else [found])
        ]
        if key in data:
            data[key] = each if isinstance(found, list) else each[0]
    if isinstance(data.get("extends"), str):
        data["extends"] = _absolute(data["extends"], base)
    if isinstance(data.get("metadata"), str):
        data["metadata"] = _absolute(data["metadata"], base)
    gan = content.get("gan")
    if isinstance(gan, dict) and isinstance(gan.get("inception"), str):
        gan["inception"] = _absolute(gan["inception"], base)
    models = content.get("models")
    for classifier in (content.get("classifier"), *(models.values() if isinstance(models, dict) else ())):
        _resolve_weights(classifier, base)
    labels = data.get("label_from")
    if isinstance(labels, dict) and isinstance(labels.get("csv"), str):
        labels["csv"] = _absolute(labels["csv"], base)


def _resolve_weights(classifier: Any, base: Path) -> None:
    for key, word in (("weights", "pretrained"), ("init_from", "champion")):
        if isinstance(classifier, dict) and isinstance(classifier.get(key), str) and classifier[key] != word:
            classifier[key] = _absolute(classifier[key], base)


def source_here(source: str) -> str:
    """Make a source that was given on the command line absolute: it is relative to where that is run."""
    return _absolute(source, Path.cwd())


def _absolute(source: str, base: Path) -> str:
    refuse_credentials(source)  # here, before anything of the job is logged or written
    scheme, colon, rest = source.partition(":")
    if scheme == "idx":
        return f"idx:{_absolute(rest, base)}"
    if not source or (colon and re.fullmatch(r"\w[\w+.-]+", scheme)):
        return source
    return str((base / Path(source).expanduser()).absolute())


_EXPECTED = {
    "missing": "this key is missing",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "list_type": "expected text or a list of texts",
    "model_type": "expected a section with keys of its own",
}


def _explain(error: ValidationError, name: str, overrides: list[str]) -> str:
    by_hand = {override.partition("=")[0].strip() for override in overrides}
    lines = []
    mistakes = error.errors()
    for mistake in mistakes[:MOST_MISTAKES]:
        key = ".".join(str(part) for part in mistake["loc"])
        where = f"--set {key}" if key in by_hand else f"{name}: {key}" if key else name
        lines.append(f"{where}: {_sentence(mistake)}")
    if len(mistakes) > MOST_MISTAKES:
        lines.append(f"... and {len(mistakes) - MOST_MISTAKES} more")
    return "\n".join(lines)


def _sentence(mistake: ErrorDetails) -> str:
    kind, found = mistake["type"], mistake["input"]
    if kind == "extra_forbidden":
        known = _known_keys(mistake["loc"][:-1])
        close = difflib.get_close_matches(str(mistake["loc"][-1]), known, n=1)
        return "unknown key; " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}")
    if kind == "missing":
        return _EXPECTED[kind]
    if kind == "value_error":
        return mistake["msg"].removeprefix("Value error, ")
    expected = _EXPECTED.get(kind) or mistake["msg"].replace("Input should be", "expected")
    return f"found {_kind(found)}, {expected}"


def _known_keys(section: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Job
    for part in section:
        if str(part) not in model.model_fields:  # a name of the user's own, such as a model's
            continue
        annotation = model.model_fields[str(part)].annotation
        options = [annotation, *get_args(annotation)]
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    return f"{value!r}"[:60]
