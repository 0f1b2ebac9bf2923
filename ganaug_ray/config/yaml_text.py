"""Parses the YAML of jobs: 1e-4 is a number, a key given twice is a mistake, and names stay the text as written."""

import re
from typing import Any

import yaml

from ganaug_ray.errors import UserError

# Their values are text, such as of classes, columns and files, which may be called no, 007 or 2020-01-01.
TEXT_KEYS = frozenset((
    "about", "arch", "classes", "csv", "extends", "generator", "image", "images", "inception", "init_from", "label",
    "metadata", "mlflow", "rare", "regex", "registry", "separator", "source", "tracking", "unlabelled", "wandb",
    "weights",
))  # fmt: skip
_TEXT_TAG = "tag:yaml.org,2002:str"
_NULL_TAG = "tag:yaml.org,2002:null"
_MERGE_TAG = "tag:yaml.org,2002:merge"


class _JobLoader(yaml.SafeLoader):
    """YAML as jobs are written in."""


_JobLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def _construct_mapping(loader: _JobLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    for key, _ in node.value:
        if key.tag != _MERGE_TAG:
            _keep_scalar(key)  # a name of the user's own, say of a model
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice", problem_mark=node.start_mark)
    for key, (_, value) in zip(keys, node.value, strict=True):
        if key in TEXT_KEYS:
            _keep_text(value, key)
    return loader.construct_mapping(node, deep=True)


_JobLoader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def _keep_text(node: yaml.Node, key: str) -> None:
    """Make the value of a key, or each of a list, the text that stands there; null by itself still means none."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _keep_scalar(item)
    elif isinstance(node, yaml.MappingNode) and key == "classes":  # what others call them -> what they are called here
        for _, name in node.value:
            _keep_scalar(name)
    elif node.tag != _NULL_TAG:
        _keep_scalar(node)


def _keep_scalar(node: yaml.Node) -> None:
    if isinstance(node, yaml.ScalarNode) and node.value:
        node.tag = _TEXT_TAG


def parse_yaml(text: str, name: str, key: str = "") -> Any:
    """Parse YAML text, which is the value of a key or a whole file; ``name`` is what to call it in messages.

    >>> parse_yaml("{rare: [no, 10], factor: 1e1}", "job.yaml"), parse_yaml("[no]", "--set", "rare")
    ({'rare': ['no', '10'], 'factor': 10.0}, ['no'])
    >>> parse_yaml("{source: 2020-01-01, columns: {image: 007, label: null}}", "job.yaml")
    {'source': '2020-01-01', 'columns': {'image': '007', 'label': None}}

    Raises:
        UserError: it is no YAML.
    """
    loader = _JobLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if key in TEXT_KEYS:
            _keep_text(node, key)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise UserError(f"{name}:{place} is not valid YAML: {problem}") from None
    finally:
        loader.dispose()
