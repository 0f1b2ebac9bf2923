"""Makes the paths of a job file absolute: they are relative to it."""

from pathlib import Path
from typing import Any

from ganaug_ray.addresses import make_absolute
from ganaug_ray.config.synthetic_sources import expand_source, name_images


def resolve_paths(content: dict[str, Any], base: Path) -> None:
    """Make the paths of a job file's content absolute, in place.

    Args:
        content: sections and keys, not yet checked.
        base: the folder that relative paths start from.

    Raises:
        UserError: an address holds credentials.
    """
    _resolve_key(content, "registry", base)
    _resolve_key(content.get("tracking"), "mlflow", base, word="databricks")
    data = content.get("data")
    if not isinstance(data, dict):
        return
    _resolve_key(data, "source", base)
    _resolve_key(data, "unlabelled", base, word="unused")
    _resolve_key(data, "extends", base)
    _resolve_key(data, "metadata", base)
    _resolve_key(content.get("gan"), "inception", base)
    _resolve_key(content.get("gan"), "init_from", base)
    _resolve_synthetic_sources(content.get("augment"), base)
    classifiers = [content.get("classifier")]
    models = content.get("models")
    if isinstance(models, dict):
        classifiers += models.values()
    for classifier in classifiers:
        _resolve_key(classifier, "weights", base, word="pretrained")
        _resolve_key(classifier, "init_from", base, word="champion")
    _resolve_key(data.get("label_from"), "csv", base)


def _resolve_synthetic_sources(augment: Any, base: Path) -> None:
    """Make the paths of synthetic images and of a shared generator absolute, in whichever form they are given."""
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
        _resolve_key(section, "source", base)
        if isinstance(section, dict):
            _resolve_key(section.get("label_from"), "csv", base)


def _resolve_key(section: Any, key: str, base: Path, word: str = "") -> None:
    """Make a path, or a list of them, absolute, but the value ``word``; what is no path, the schema refuses later."""
    if not isinstance(section, dict) or key not in section:
        return
    value = section[key]
    if isinstance(value, list):
        section[key] = [_resolve_path(path, base, word) for path in value]
    else:
        section[key] = _resolve_path(value, base, word)


def _resolve_path(value: Any, base: Path, word: str) -> Any:
    if not isinstance(value, str) or value == word:
        return value
    return make_absolute(value, base)
